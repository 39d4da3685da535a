"""Copies that keep holes."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.vmm.ram import new_memfd
from atoll.vmm.sparse import copy_extents, data_extents

PAGE = 4096


@settings(max_examples=50, deadline=None)
@given(pages=st.sets(st.integers(0, 40)), size=st.integers(0, 45 * PAGE))
def test_a_copy_is_equal_and_as_sparse(pages: set[int], size: int) -> None:
    source, target = new_memfd("a", size), new_memfd("b")
    try:
        for page in pages:
            if (page + 1) * PAGE <= size:
                os.pwrite(source, bytes([page + 1]) * PAGE, page * PAGE)
        moved = copy_extents(source, target)
        assert os.pread(target, size + 1, 0) == os.pread(source, size + 1, 0)
        assert os.fstat(target).st_size == size
        assert os.fstat(target).st_blocks == os.fstat(source).st_blocks
        assert moved == sum(length for _, length in data_extents(source))
    finally:
        os.close(source)
        os.close(target)


def test_a_hole_is_not_read(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 40)
    os.pwrite(fd, b"end", (1 << 40) - 3)
    assert sum(length for _, length in data_extents(fd)) < 1 << 20
    os.close(fd)
