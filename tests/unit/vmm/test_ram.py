"""RAM in memfds: sealed for good, sparse on disk."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from atoll.vmm import ram

PAGE = 4096


def test_a_sealed_memfd_cannot_be_changed_even_through_a_new_descriptor() -> None:
    fd = ram.memfd_of("x", b"a" * PAGE)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    for attempt in (
        lambda: os.pwrite(again, b"b", 0),
        lambda: os.ftruncate(again, 0),
        lambda: os.ftruncate(again, 2 * PAGE),
        lambda: mmap.mmap(again, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    ):
        with pytest.raises(PermissionError):
            attempt()
    private = mmap.mmap(again, PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    private[:1] = b"b"
    assert os.pread(fd, 1, 0) == b"a"
    private.close()
    os.close(again)
    os.close(fd)


def test_save_and_load(tmp_path: Path) -> None:
    fd = ram.new_memfd("x", 64 * PAGE)
    os.pwrite(fd, b"q" * PAGE, 10 * PAGE)
    assert ram.save(fd, tmp_path / "ram") == PAGE
    loaded = ram.load(tmp_path / "ram", "y")
    assert os.pread(loaded, 64 * PAGE, 0) == os.pread(fd, 64 * PAGE, 0)
    assert os.fstat(loaded).st_blocks == os.fstat(fd).st_blocks
    with pytest.raises(PermissionError):
        os.pwrite(loaded, b"x", 0)
    os.close(fd)
    os.close(loaded)


def test_pages_of_zeroes_become_holes() -> None:
    fd = ram.new_memfd("x", 8 * PAGE)
    os.pwrite(fd, bytes(2 * PAGE), 0)
    os.pwrite(fd, b"q" * PAGE, 2 * PAGE)
    assert ram.drop_zero_pages(fd) == 2
    assert os.fstat(fd).st_blocks == PAGE // 512
    assert os.pread(fd, 3 * PAGE, 0) == bytes(2 * PAGE) + b"q" * PAGE
    ram.seal(fd)
    os.close(fd)
