"""Streams from the client: readers that are fast, slow, late, or gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.api import inbound
from atoll.api.inbound import HIGH_WATER_BYTES, Inbound, InboundStreams
from atoll.api.spool import SpoolSpace
from atoll.model.errors import AtollError, CallerError, InvalidSpec, TooLarge


@pytest.fixture
def cancelled() -> list[int]:
    return []


@pytest.fixture
def streams(tmp_path: Path, cancelled: list[int]) -> Iterator[InboundStreams]:
    streams = InboundStreams(SpoolSpace(tmp_path), cancelled.append)
    yield streams
    streams.close()


async def read(stream: Inbound) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def test_data_before_its_reader(streams: InboundStreams) -> None:
    await streams.get(7).feed(b"one ")
    await streams.get(7).feed(b"two")
    streams.end(7)
    assert await read(streams.take(7)) == b"one two"
    # The id is free for a new stream now.
    assert not streams.get(7).ended


async def test_a_reader_before_its_data(streams: InboundStreams) -> None:
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read(streams.take(0)))
        await asyncio.sleep(0)
        for _ in range(100):
            await streams.get(0).feed(b"x" * 100_000)
        streams.end(0)
    assert len(reading.result()) == 10_000_000


async def test_an_error_reaches_the_reader(streams: InboundStreams) -> None:
    await streams.get(1).feed(b"some")
    streams.end(1, CallerError("broke"))
    with pytest.raises(CallerError, match="broke"):
        await read(streams.take(1))


async def test_without_a_reader_nobody_waits(streams: InboundStreams) -> None:
    began = time.monotonic()
    for _ in range(50):
        await streams.get(1).feed(b"x" * 1_000_000)
    assert time.monotonic() - began < 1


async def test_a_slow_reader_slows_the_feeder(streams: InboundStreams) -> None:
    stream = streams.take(1)

    async def read_slowly() -> int:
        size = 0
        async for chunk in stream:
            size += len(chunk)
            await asyncio.sleep(0.001)
        return size

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_slowly())
        await asyncio.sleep(0)
        for _ in range(100):
            await stream.feed(b"x" * 100_000)
            assert stream._spool.size < HIGH_WATER_BYTES + 500_000
        streams.end(1)
    assert reading.result() == 10_000_000


async def test_what_is_discarded_is_dropped_and_told(streams: InboundStreams, cancelled: list[int]) -> None:
    stream = streams.take(5)
    await stream.feed(b"x" * 3_000_000)
    stream.discard()
    stream.discard()
    assert cancelled == [5]
    await streams.get(5).feed(b"more")
    assert await read(stream) == b""
    streams.end(5)
    assert cancelled == [5]


async def test_one_reader_only(streams: InboundStreams) -> None:
    streams.take(1)
    with pytest.raises(InvalidSpec, match="in use"):
        streams.take(1)


async def test_the_number_of_streams_is_bounded(streams: InboundStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "MAX_STREAMS", 10)
    first = streams.get(0)
    for ident in range(1, 50):
        streams.get(ident)
    assert len(streams._streams) == 10
    with pytest.raises(TooLarge):
        await read(first)


async def test_a_full_spool_ends_the_stream(streams: InboundStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "FULL_WAIT_S", 0.01)
    streams._space.left_bytes = 1_000_000
    for _ in range(5):
        await streams.get(1).feed(b"x" * 900_000)
    streams.end(1)
    with pytest.raises(TooLarge):
        await read(streams.take(1))


async def test_the_client_goes_away(streams: InboundStreams) -> None:
    stream = streams.take(1)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(expect_error(stream))
        await asyncio.sleep(0)
        streams.close()
    assert reading.result()


async def expect_error(stream: Inbound) -> bool:
    try:
        await read(stream)
    except AtollError:
        return True
    return stream.discarded
