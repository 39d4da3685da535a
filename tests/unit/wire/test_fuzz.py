"""A mutating fuzzer over the codec: true conversations, damaged in thousands of ways, cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from atoll.wire import Connection, Data, WireError, frames
from atoll.wire.connection import WINDOW

ROUNDS = 20_000
# What a decoder may hold of a frame that is not complete, and of what it was just fed.
MAX_HELD = frames.MAX_GUEST_CONTROL_BYTES + 8 + 128 * 1024

Mutation = Callable[[bytearray, random.Random], None]


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at : at + 4] = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0\0\0\x80"])


def remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 40)]


def insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.randrange(1, 40))


def repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + chance.randrange(1, 200)]


MUTATIONS: list[Mutation] = [flip, overwrite, remove, insert, repeat]


def opened() -> tuple[Connection, list[int], list[int]]:
    """A host in the middle of its work: requests pending, streams open both ways, some of them full or given up."""
    host = Connection(peer_is_guest=True)
    for _ in range(4):
        host.request("spawn", {"argv": ["true"]})
    incoming, outgoing = [host.new_stream() for _ in range(3)], [host.new_stream() for _ in range(2)]
    for stream in incoming:
        host.open_receiving(stream)
    for stream in outgoing:
        host.open_sending(stream)
        for _ in range(4):
            host.data(stream, b"x" * frames.MAX_DATA_BYTES)
    host.reset(incoming[2], "ECANCELED", "gone")
    return host, incoming, outgoing


def conversation() -> bytearray:
    """What an honest guest could say to that host."""
    _, incoming, outgoing = opened()
    guest = Connection(peer_is_guest=False)
    for stream in incoming:
        guest.open_sending(stream)
    said = bytearray(
        guest.reply(1, {"pid": 7}) + guest.fail(2, "ENOENT", "no such file") + guest.reply(3, None, b"blob")
    )
    for stream in incoming:
        for size in (1, 500, 3000):
            said += guest.data(stream, b"y" * size) + b"y" * size
    said += frames.credit(outgoing[0], WINDOW // 2) + guest.notice("process.exited", {"pid": 7, "code": 0})
    said += guest.end(incoming[0]) + guest.end(incoming[2]) + guest.reset(outgoing[1], "EPIPE", "closed")
    return said


def feed(host: Connection, data: bytes, chance: random.Random) -> int:
    """The bytes of stream data that the host accepted."""
    accepted = 0
    while data:
        cut = chance.choice([1, 7, 64, 1000, len(data)])
        for event in host.receive(data[:cut]):
            accepted += len(event.data) if isinstance(event, Data) else 0
        assert host.buffered <= MAX_HELD
        data = data[cut:]
    return accepted


def test_the_honest_conversation_is_accepted() -> None:
    host, _, _ = opened()
    assert feed(host, bytes(conversation()), random.Random(0)) == 2 * 3501


@pytest.mark.parametrize("seed", range(4))
def test_damage_ends_in_events_or_in_the_one_error(seed: int) -> None:
    chance = random.Random(seed)
    whole = conversation()
    errors = 0
    for _ in range(ROUNDS):
        said = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            chance.choice(MUTATIONS)(said, chance)
        host, _, _ = opened()
        try:
            assert feed(host, bytes(said), chance) <= 3 * WINDOW
        except WireError:
            errors += 1
    assert ROUNDS // 10 < errors < ROUNDS
