"""Bytes that wait for their reader: in memory up to a bound, then in a file without a name, up to another.

For what cannot be held back without a deadlock: a process's input that it does not read yet, and its output while the
client is not ready for it (WIRE 4.3, 4.4).
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path
from typing import BinaryIO

MEMORY_BYTES = 1024 * 1024
SPOOL_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


class SpoolSpace:
    """Where spools may write, and how much all of them together may still take."""

    def __init__(self, directory: Path | None, limit_bytes: int = 4 * 1024**3) -> None:
        self.directory = directory
        self.left_bytes = limit_bytes


class Spool:
    """First in, first out; how it was cut into pieces is not kept."""

    def __init__(self, space: SpoolSpace, memory_bytes: int = MEMORY_BYTES, limit_bytes: int = SPOOL_BYTES) -> None:
        self._space = space
        self._memory_bytes = memory_bytes
        self._limit_bytes = limit_bytes
        self._pieces: deque[bytes] = deque()
        self._in_memory = 0
        self._file: BinaryIO | None = None
        self._read_at = 0
        self._written_to = 0

    @property
    def size(self) -> int:
        return self._in_memory + self._in_file

    @property
    def _in_file(self) -> int:
        return self._written_to - self._read_at

    def put(self, chunk: bytes) -> bool:
        """Keep `chunk`, or say False when there is no room for it."""
        if not self._written_to and self._in_memory < self._memory_bytes:
            # May pass the bound by one chunk, which a frame's own limit bounds.
            self._pieces.append(chunk)
            self._in_memory += len(chunk)
            return True
        if self.size + len(chunk) > self._limit_bytes or len(chunk) > self._space.left_bytes:
            return False
        self._append(chunk)
        return True

    def get(self) -> bytes:
        """The next bytes, or b"" when there are none."""
        if self._pieces:
            chunk = self._pieces.popleft()
            self._in_memory -= len(chunk)
            return chunk
        if not self._in_file or self._file is None:
            return b""
        chunk = os.pread(self._file.fileno(), _PIECE_BYTES, self._read_at)
        self._read_at += len(chunk)
        if not self._in_file:
            self._reset()
        return chunk

    def close(self) -> None:
        """Forget everything. Safe to call twice."""
        self._pieces.clear()
        self._in_memory = 0
        if self._file is not None:
            self._reset()
            self._file.close()
            self._file = None

    def _append(self, chunk: bytes) -> None:
        if self._file is None:
            # O_TMPFILE where the file system has it: nothing to clean up after a crash.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._space.directory)  # noqa: SIM115 - close() closes it
        view = memoryview(chunk)
        while len(view):
            written = os.pwrite(self._file.fileno(), view, self._written_to)
            self._written_to += written
            self._space.left_bytes -= written
            view = view[written:]

    def _reset(self) -> None:
        self._space.left_bytes += self._written_to
        self._read_at = self._written_to = 0
        if self._file is not None:
            os.ftruncate(self._file.fileno(), 0)
