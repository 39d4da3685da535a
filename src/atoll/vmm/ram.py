"""A guest's RAM as a memfd: shared while a template is made, sealed ever after.

QEMU opens a RAM file O_RDWR even when it maps it privately. A sealed memfd can be opened so and
still not be written by anybody, so that a VMM that was taken over cannot reach other clones.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from atoll.vmm.sparse import copy_extents, data_extents

_MFD_NOEXEC_SEAL = 0x0008  # Linux 6.3; older kernels answer EINVAL.
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_PAGE_BYTES = 4096
_ZERO_PAGE = bytes(_PAGE_BYTES)


def new_memfd(name: str, size_bytes: int = 0) -> int:
    """An empty memfd of that size that can be sealed."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError:
        fd = os.memfd_create(name, flags)
    os.ftruncate(fd, size_bytes)
    return fd


def seal(fd: int) -> None:
    """Nobody can change a byte after this. Every shared writable mapping must be gone before."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


def memfd_of(name: str, content: bytes) -> int:
    """A sealed memfd that holds `content`."""
    fd = new_memfd(name)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    seal(fd)
    return fd


def load(path: Path, name: str) -> int:
    """A sealed memfd equal to the file; holes stay holes."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = new_memfd(name)
        try:
            copy_extents(source, fd)
            seal(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd
    finally:
        os.close(source)


def save(fd: int, path: Path) -> int:
    """Write a memfd to a new file, sparsely and durably; the number of bytes that are not holes."""
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        moved = copy_extents(fd, target)
        os.fsync(target)
        return moved
    finally:
        os.close(target)


def drop_zero_pages(fd: int) -> int:
    """Turn pages of zeroes into holes, which read the same and cost nothing; how many there were."""
    dropped = 0
    with mmap.mmap(fd, 0, mmap.MAP_SHARED) as memory:
        for start, length in tuple(data_extents(fd)):
            for offset in range(start, start + length, _PAGE_BYTES):
                if memory[offset : offset + _PAGE_BYTES] == _ZERO_PAGE:
                    memory.madvise(mmap.MADV_REMOVE, offset, _PAGE_BYTES)
                    dropped += 1
    return dropped
