"""What is told of a file, in the shape of Deno Sandbox's Python client."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import TypedDict

from atoll.engine.files import DirEntry as EngineEntry
from atoll.engine.files import FileStat


class DirEntry(TypedDict):
    """One entry of a directory; a symbolic link is not followed."""

    name: str
    is_file: bool
    is_directory: bool
    is_symlink: bool


class WalkEntry(DirEntry):
    """One entry of a walk."""

    path: str


class FileInfo(TypedDict):
    """As stat(2) has it. Times are ISO 8601; Linux tells no birth time here, so the earliest known stands for it."""

    is_file: bool
    is_directory: bool
    is_symlink: bool
    is_block_device: bool
    is_char_device: bool
    is_fifo: bool
    is_socket: bool
    size: int
    mtime: str
    atime: str
    birthtime: str
    ctime: str
    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    blocks: int


def dir_entry(entry: EngineEntry) -> DirEntry:
    return {
        "name": entry.name,
        "is_file": entry.is_file,
        "is_directory": entry.is_directory,
        "is_symlink": entry.is_symlink,
    }


def walk_entry(entry: EngineEntry) -> WalkEntry:
    return {"path": entry.path, **dir_entry(entry)}


def file_info(facts: FileStat) -> FileInfo:
    return {
        "is_file": stat.S_ISREG(facts.mode),
        "is_directory": stat.S_ISDIR(facts.mode),
        "is_symlink": stat.S_ISLNK(facts.mode),
        "is_block_device": stat.S_ISBLK(facts.mode),
        "is_char_device": stat.S_ISCHR(facts.mode),
        "is_fifo": stat.S_ISFIFO(facts.mode),
        "is_socket": stat.S_ISSOCK(facts.mode),
        "size": facts.size,
        "mtime": _iso(facts.mtime_ns),
        "atime": _iso(facts.atime_ns),
        "birthtime": _iso(min(facts.mtime_ns, facts.ctime_ns)),
        "ctime": _iso(facts.ctime_ns),
        "dev": facts.dev,
        "ino": facts.ino,
        "mode": facts.mode,
        "nlink": facts.nlink,
        "uid": facts.uid,
        "gid": facts.gid,
        "rdev": facts.rdev,
        "blksize": facts.blksize,
        "blocks": facts.blocks,
    }


def nanoseconds(time: datetime | float) -> int:
    """Since the epoch; a datetime without a zone is local time."""
    return int((time.timestamp() if isinstance(time, datetime) else time) * 1_000_000_000)


def _iso(time_ns: int) -> str:
    # A hostile guest may say any number; datetime has the years 1 to 9999.
    seconds = min(max(time_ns // 1_000_000_000, -62_135_596_800), 253_402_300_799)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=time_ns // 1000 % 1_000_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
