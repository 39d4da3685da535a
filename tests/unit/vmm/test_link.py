"""The host's end against a guest that says anything: the link ends, waiters are told, memory stays bounded."""

from __future__ import annotations

import asyncio
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from atoll.model.errors import GuestError, LinkLost, ProtocolViolation
from atoll.vmm.link import GuestLink
from atoll.wire import Connection, frames
from atoll.wire.connection import MIN_COST, WINDOW


class Guest:
    """The other end of a link, in the test's hands."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.connection = Connection(peer_is_guest=False)

    async def say(self, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except (BrokenPipeError, ConnectionResetError):
            return

    async def hear(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[GuestLink, Guest]]:
    ours, theirs = socket.socketpair()
    with theirs:
        async with GuestLink(ours) as link:
            yield link, Guest(theirs)


async def test_random_bytes_end_the_link_and_tell_who_waits(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    lost: list[Exception] = []
    link.on_lost = lost.append
    answer = link.send_request("ping", {})
    source = link.open_source()
    await guest.say(random.Random(7).randbytes(100_000))
    with pytest.raises(ProtocolViolation):
        await answer
    with pytest.raises(ProtocolViolation):
        await source.read()
    with pytest.raises(ProtocolViolation):
        link.open_sink()
    assert len(lost) == 1 and link.lost is lost[0]


@pytest.mark.parametrize("seed", range(50))
async def test_shuffled_true_frames_never_crash_the_host(ends: tuple[GuestLink, Guest], seed: int) -> None:
    link, guest = ends
    chance = random.Random(seed)
    pending = [link.send_request("spawn", {}) for _ in range(3)]
    streams = [link.open_source() for _ in range(3)] + [link.open_sink() for _ in range(2)]
    said = [
        guest.connection.reply(chance.randint(0, 5), chance.choice([None, {"pid": -1}, [], "x" * 5000])),
        guest.connection.fail(chance.randint(0, 5), "ENOENT", "no"),
        guest.connection.notice("process.exited", {"pid": 3}),
        frames.header(frames.DATA, chance.randint(0, 6), 5) + b"hello",
        frames.header(frames.END, chance.randint(0, 6), 0),
        frames.credit(chance.randint(0, 6), chance.randint(0, WINDOW)),
        guest.connection.reset(chance.randint(0, 6), "EIO", "x"),
    ] * 3
    chance.shuffle(said)
    await guest.say(b"".join(said))
    guest.socket.close()
    results: list[object] = []
    for future in pending:
        try:
            results.append(await future)
        except (GuestError, LinkLost, ProtocolViolation) as error:
            results.append(error)
    assert len(results) == 3
    while link.lost is None:
        await asyncio.sleep(0)
    for stream in streams:
        if hasattr(stream, "read"):
            try:
                while await stream.read():
                    pass
            except (GuestError, LinkLost, ProtocolViolation):
                pass


async def test_a_flood_of_tiny_frames_is_bounded_by_the_window(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    source = link.open_source()
    flood = (frames.header(frames.DATA, source.stream, 1) + b"x") * (2 * WINDOW // MIN_COST)
    tracemalloc.start()
    await guest.say(flood)
    while link.lost is None:
        await asyncio.sleep(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(link.lost, ProtocolViolation) and "overran" in str(link.lost)
    assert peak < 4 * WINDOW


async def test_a_frame_that_never_ends_is_not_waited_for_with_memory(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    answer = link.send_request("ping", {})
    await guest.say(frames.header(frames.RESPONSE, 1, frames.MAX_GUEST_CONTROL_BYTES + 1))
    with pytest.raises(ProtocolViolation, match="control frame"):
        await answer


async def test_an_agent_of_another_generation(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    async with asyncio.TaskGroup() as group:
        hello = group.create_task(refused(link))
        (request,) = guest.connection.receive(await guest.hear())
        await guest.say(guest.connection.reply(request.id, {"generation": 999}))  # type: ignore[union-attr]
    assert "another generation" in hello.result()


async def refused(link: GuestLink) -> str:
    with pytest.raises(ProtocolViolation) as caught:
        await link.hello()
    return str(caught.value)


async def test_an_answer_that_nobody_waits_for_any_more(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    async with asyncio.TaskGroup() as group:
        call = group.create_task(link.request("slow", {}))
        (request,) = guest.connection.receive(await guest.hear())
        call.cancel()
    await guest.say(guest.connection.reply(request.id, None))  # type: ignore[union-attr]
    second = link.send_request("ping", {})
    (request,) = guest.connection.receive(await guest.hear())
    await guest.say(guest.connection.reply(request.id, 5))  # type: ignore[union-attr]
    assert await second == (5, b"")


async def test_a_writer_waits_for_credit(ends: tuple[GuestLink, Guest]) -> None:
    link, guest = ends
    sink = link.open_sink()
    guest.connection.open_receiving(sink.stream)
    total = 3 * WINDOW
    got = 0
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(sink.write(b"y" * total))
        while got < total:
            assert not writing.done() or got + WINDOW >= total
            for event in guest.connection.receive(await guest.hear()):
                got += len(event.data)  # type: ignore[union-attr]
                await guest.say(guest.connection.consumed(sink.stream, [len(event.data)]))  # type: ignore[union-attr]
    assert got == total
