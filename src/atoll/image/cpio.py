"""The `newc` cpio archive that the kernel unpacks as its first root; written the same way every time."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"
# QEMU loads one initrd file; archives that are multiples of this can be put one after the other.
_BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """One directory or regular file, `name` without a leading slash; always owned by root."""

    name: str
    mode: int
    data: bytes = b""


def directory(name: str, permissions: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | permissions)


def regular(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | permissions, data)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, sorted by name, so that a directory comes before what is in it."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    parts = [_member(entry, number) for number, entry in enumerate(ordered, start=1)]
    parts.append(_member(Entry(_TRAILER, 0), 0))
    return _padded(b"".join(parts), _BLOCK)


def _member(entry: Entry, number: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = _MAGIC + "".join(f"{field:08x}" for field in fields)
    return _padded(header.encode() + name, 4) + _padded(entry.data, 4)


def _padded(data: bytes, multiple: int) -> bytes:
    return data + b"\0" * (-len(data) % multiple)
