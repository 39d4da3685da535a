"""Times and file information in the clients' forms: ISO 8601 with Z, or seconds as a number."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import Any

from atoll.engine.files import FileStat
from atoll.model.errors import InvalidSpec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def iso(time_ns: int) -> str:
    """To the millisecond, which is what a JavaScript Date holds; a time out of its range is clamped."""
    milliseconds = time_ns // 1_000_000
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        moment = _FIRST if milliseconds < 0 else _LAST
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def nanoseconds(field: str, given: str | float) -> int:
    """Since the epoch, of an ISO date or of seconds; InvalidSpec for what is neither."""
    try:
        if isinstance(given, str):
            moment = datetime.fromisoformat(given)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
        return int(given * 1_000_000_000)
    except (ValueError, OverflowError):
        raise InvalidSpec(field, "is not a date in ISO 8601, as 2026-01-31T12:00:00Z, and no number") from None


def file_info(info: FileStat) -> dict[str, Any]:
    """All of it is required, and no time may be null: the change time stands in for an unknown birth time."""
    mode = info.mode
    return {
        "isFile": stat.S_ISREG(mode),
        "isDirectory": stat.S_ISDIR(mode),
        "isSymlink": stat.S_ISLNK(mode),
        "isBlockDevice": stat.S_ISBLK(mode),
        "isCharDevice": stat.S_ISCHR(mode),
        "isFifo": stat.S_ISFIFO(mode),
        "isSocket": stat.S_ISSOCK(mode),
        "size": info.size,
        "mode": mode,
        "dev": info.dev,
        "ino": info.ino,
        "nlink": info.nlink,
        "uid": info.uid,
        "gid": info.gid,
        "rdev": info.rdev,
        "blksize": info.blksize,
        "blocks": info.blocks,
        "mtime": iso(info.mtime_ns),
        "atime": iso(info.atime_ns),
        "ctime": iso(info.ctime_ns),
        "birthtime": iso(min(info.ctime_ns, info.mtime_ns)),
    }
