"""Standard streams of every kind, which stay blocking for whoever shares them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.cli.stdio import Input, Output, is_terminal, raw_mode

CONTENT = bytes(range(256)) * 8192

Pair = tuple[int, int]


def a_pipe() -> Pair:
    return os.pipe()


def a_socket() -> Pair:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[a_pipe, a_socket])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    make: Callable[[], Pair] = request.param
    fds = make()
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass


def is_blocking(fd: int) -> bool:
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


async def test_more_than_fits_goes_through_at_the_readers_pace(pair: Pair) -> None:
    read, write = pair
    received = bytearray()
    with Output(write) as output:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(output.write(CONTENT))
            await asyncio.sleep(0)
            assert not writing.done()
            source = Input(read)
            while len(received) < len(CONTENT):
                received += await source.read()
    assert bytes(received) == CONTENT
    assert is_blocking(read) and is_blocking(write)


async def test_the_end_is_seen(pair: Pair) -> None:
    read, write = pair
    os.write(write, b"last")
    os.close(write)
    source = Input(read)
    assert [await source.read(), await source.read()] == [b"last", b""]


async def test_a_reader_that_is_gone_is_an_error(pair: Pair) -> None:
    read, write = pair
    os.close(read)
    with Output(write) as output, pytest.raises(BrokenPipeError):
        await output.write(CONTENT)


async def test_a_reader_that_waits_can_be_cancelled(pair: Pair) -> None:
    source = Input(pair[0])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await source.read()
    os.write(pair[1], b"later")
    assert await source.read() == b"later"


async def test_files_and_devices_that_are_always_ready(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        with Output(file.fileno()) as output:
            await output.write(CONTENT)
        assert (tmp_path / "file").read_bytes() == CONTENT
        file.seek(0)
        source, found = Input(file.fileno()), bytearray()
        while chunk := await source.read():
            found += chunk
        assert bytes(found) == CONTENT
    with open("/dev/null", "r+b", 0) as null:
        with Output(null.fileno()) as output:
            await output.write(CONTENT)
        assert await Input(null.fileno()).read() == b""


async def test_closed_descriptors_are_empty_and_swallow() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    assert await Input(read).read() == b""
    with Output(write) as output:
        await output.write(b"nobody")
    assert not is_terminal(write)


async def test_a_terminal_is_written_without_waiting_for_it() -> None:
    master, slave = pty.openpty()
    try:
        assert is_terminal(slave)
        with raw_mode(slave), Output(slave) as output:
            await output.write(b"shown")
            assert is_blocking(slave)
        assert os.read(master, 100) == b"shown"
    finally:
        os.close(master)
        os.close(slave)
