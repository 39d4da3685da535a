"""A guest that prints without end costs a bounded amount."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from atoll.vmm import console
from atoll.vmm.console import TAIL_BYTES, ConsoleTail


async def until_quiet(tail: ConsoleTail) -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_only_the_end_is_kept() -> None:
    read, write = os.pipe()
    tail = ConsoleTail(read)
    os.write(write, b"a" * 20_000)
    os.write(write, b"the end\r\n\x1b[2J\x00")
    os.close(write)
    await until_quiet(tail)
    assert tail.text().endswith("the end\n[2J")
    assert len(tail.text()) <= TAIL_BYTES
    tail.close()
    tail.close()
    assert tail.text().endswith("the end\n[2J")


async def test_a_flood_of_small_writes_wakes_the_host_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "BURST_READS", 20)
    read, write = os.pipe()
    pieces: list[bytes] = []
    tail = ConsoleTail(read, pieces.append)
    began = time.monotonic()
    for _ in range(500):
        os.write(write, b"x")
        await asyncio.sleep(0)
    allowed = 20 + 1 + (time.monotonic() - began) * console.READS_PER_S
    assert 20 <= len(pieces) <= allowed
    # Nothing is lost but what has left the tail: the writer waits, the bytes do not vanish.
    assert tail.text() == "x" * 500
    tail.close()
    os.close(write)


async def test_a_tap_sees_everything() -> None:
    read, write = os.pipe()
    seen = bytearray()
    tail = ConsoleTail(read, seen.extend)
    os.write(write, b"marker")
    os.close(write)
    await until_quiet(tail)
    assert seen == b"marker"
    tail.close()
