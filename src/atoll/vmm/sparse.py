"""Copying only what a sparse file holds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_CHUNK_BYTES = 64 * 1024 * 1024


def data_extents(fd: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of everything in `fd` that is not a hole."""
    end = os.fstat(fd).st_size
    offset = 0
    while offset < end:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, offset - start


def copy_extents(source: int, target: int) -> int:
    """Make `target`, an empty file, equal to `source`; the number of bytes that were moved."""
    os.ftruncate(target, os.fstat(source).st_size)
    moved = 0
    for start, length in data_extents(source):
        _copy_range(source, target, start, length)
        moved += length
    return moved


def _copy_range(source: int, target: int, offset: int, length: int) -> None:
    os.lseek(target, offset, os.SEEK_SET)
    while length:
        sent = os.sendfile(target, source, offset, min(length, _CHUNK_BYTES))
        if not sent:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        offset += sent
        length -= sent
