"""Spools: order, bounds, and that room comes back."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from atoll.api.spool import Spool, SpoolSpace


@given(st.lists(st.binary(min_size=1, max_size=50) | st.none(), max_size=60))
def test_first_in_first_out(steps: list[bytes | None]) -> None:
    """None takes; bytes are put. In memory up to 100 bytes, so that both halves are used."""
    space = SpoolSpace(None, limit_bytes=10_000)
    spool = Spool(space, memory_bytes=100, limit_bytes=10_000)
    put, got = b"", b""
    for step in steps:
        if step is None:
            got += spool.get()
        else:
            assert spool.put(step)
            put += step
        assert spool.size == len(put) - len(got)
    while chunk := spool.get():
        got += chunk
    assert got == put
    spool.close()
    assert space.left_bytes == 10_000


def test_bounds(tmp_path: Path) -> None:
    space = SpoolSpace(tmp_path, limit_bytes=1000)
    one = Spool(space, memory_bytes=10, limit_bytes=500)
    assert one.put(b"x" * 10)
    assert one.put(b"x" * 490)
    assert not one.put(b"x")
    two = Spool(space, memory_bytes=10, limit_bytes=5000)
    assert two.put(b"y" * 10) and two.put(b"y" * 510)
    assert not two.put(b"y"), "all spools together have a bound too"
    one.close()
    assert two.put(b"y")
    two.close()
    assert space.left_bytes == 1000
    assert not list(tmp_path.iterdir()), "a spool's file has no name"


def test_the_file_is_used_again(tmp_path: Path) -> None:
    space = SpoolSpace(tmp_path, limit_bytes=100)
    spool = Spool(space, memory_bytes=0, limit_bytes=100)
    for _ in range(10):
        assert spool.put(b"x" * 90)
        assert spool.get() == b"x" * 90
        assert spool.get() == b""
        assert space.left_bytes == 100
    spool.close()
