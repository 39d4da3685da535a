"""Two ends talk; and a hostile guest can say nothing that the host did not pay for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.wire import Connection, Credit, Data, End, Notice, Reply, Request, Reset, WireError, WireEvent, frames
from atoll.wire.connection import MIN_COST, MIN_CREDIT, WINDOW


@pytest.fixture
def host() -> Connection:
    return Connection(peer_is_guest=True)


@pytest.fixture
def guest() -> Connection:
    return Connection(peer_is_guest=False)


def received(end: Connection, data: bytes) -> list[WireEvent]:
    return list(end.receive(data))


def test_a_request_and_its_answers(host: Connection, guest: Connection) -> None:
    first, sent = host.request("spawn", {"argv": ["true"]}, b"blob")
    assert received(guest, sent) == [Request(first, "spawn", {"argv": ["true"]}, b"blob")]
    assert received(host, guest.reply(first, {"pid": 7}, b"raw")) == [Reply(first, {"pid": 7}, None, b"raw")]
    second, sent = host.request("stat", {})
    received(guest, sent)
    error = {"errno": "ENOENT", "message": "no such file"}
    assert received(host, guest.fail(second, "ENOENT", "no such file")) == [Reply(second, None, error, b"")]


def test_an_answer_counts_once(host: Connection, guest: Connection) -> None:
    ident, _ = host.request("ping", {})
    received(host, guest.reply(ident, None))
    with pytest.raises(WireError, match="not pending"):
        received(host, guest.reply(ident, None))


def test_data_flows_within_the_window_and_credit_reopens_it(host: Connection, guest: Connection) -> None:
    stream = host.new_stream()
    host.open_receiving(stream)
    guest.open_sending(stream)
    chunk = b"x" * frames.MAX_DATA_BYTES
    sizes = []
    while room := guest.sendable(stream):
        piece = chunk[:room]
        assert received(host, guest.data(stream, piece) + piece) == [Data(stream, piece)]
        sizes.append(len(piece))
    assert sum(sizes) == WINDOW
    credit = host.consumed(stream, sizes)
    assert received(guest, credit) == [Credit(stream)]
    assert guest.sendable(stream) == frames.MAX_DATA_BYTES
    assert received(host, guest.end(stream)) == [End(stream)]


def test_small_frames_cost_a_minimum(host: Connection, guest: Connection) -> None:
    stream = host.new_stream()
    host.open_receiving(stream)
    guest.open_sending(stream)
    count = 0
    while guest.sendable(stream):
        received(host, guest.data(stream, b"x") + b"x")
        count += 1
    assert count == WINDOW // MIN_COST


def test_a_guest_cannot_overrun_its_window(host: Connection) -> None:
    stream = host.new_stream()
    host.open_receiving(stream)
    piece = b"x" * frames.MAX_DATA_BYTES
    frame = frames.header(frames.DATA, stream, len(piece)) + piece
    for _ in range(WINDOW // len(piece)):
        received(host, frame)
    with pytest.raises(WireError, match="overran"):
        received(host, frame)


def test_what_was_in_flight_when_the_host_gave_up_is_dropped_but_bounded(host: Connection, guest: Connection) -> None:
    stream = host.new_stream()
    host.open_receiving(stream)
    guest.open_sending(stream)
    late = guest.data(stream, b"late") + b"late"
    assert received(guest, host.reset(stream, "ECANCELED", "gone")) == [Reset(stream, "ECANCELED", "gone")]
    assert received(host, late) == []
    assert received(host, guest.end(stream)) == []
    with pytest.raises(WireError):
        received(host, late)


def test_a_reset_before_the_guest_opened_the_stream_reaches_it(host: Connection, guest: Connection) -> None:
    stream = host.new_stream()
    host.open_receiving(stream)
    assert received(guest, host.reset(stream, "ECANCELED", "gone")) == [Reset(stream, "ECANCELED", "gone")]


def test_events_are_acted_on_one_by_one(host: Connection, guest: Connection) -> None:
    """A request and the first data of the stream that it names may come in one piece."""
    stream = host.new_stream()
    host.open_sending(stream)
    _, request = host.request("write_file", {"stream": stream})
    events = guest.receive(request + host.data(stream, b"abc") + b"abc")
    assert isinstance(next(events), Request)
    guest.open_receiving(stream)
    assert next(events) == Data(stream, b"abc")


def test_the_guests_notices(host: Connection, guest: Connection) -> None:
    assert received(host, guest.notice("process.exited", {"pid": 1})) == [Notice("process.exited", {"pid": 1})]


def raw(kind: int, ident: int, body: object) -> bytes:
    return frames.control(kind, ident, body)


@pytest.mark.parametrize(
    "frame",
    [
        raw(frames.REQUEST, 1, {"m": "x", "p": {}}),
        raw(frames.RESPONSE, 1, {"ok": 1}),
        raw(frames.NOTICE, 0, {"n": 1, "p": {}}),
        raw(frames.NOTICE, 0, []),
        raw(frames.RESET, 9, {"errno": "E", "message": "m"}),
        frames.header(frames.DATA, 3, 1) + b"x",
        frames.header(frames.END, 3, 0),
        frames.credit(3, MIN_CREDIT),
    ],
    ids=["request", "answer", "notice", "list", "reset", "data", "end", "credit"],
)
def test_a_guest_may_only_speak_of_what_the_host_opened(host: Connection, frame: bytes) -> None:
    with pytest.raises(WireError):
        received(host, frame)


@pytest.mark.parametrize("amount", [0, 1, MIN_CREDIT - 1, WINDOW])
def test_credit_is_neither_dribbled_nor_invented(host: Connection, amount: int) -> None:
    stream = host.new_stream()
    host.open_sending(stream)
    sent = 0
    while sent < WINDOW // 2:
        host.data(stream, b"x" * frames.MAX_DATA_BYTES)
        sent += frames.MAX_DATA_BYTES
    with pytest.raises(WireError, match="credit"):
        received(host, frames.credit(stream, amount))


def test_last_words_about_a_closed_stream_are_allowed_a_few_times(host: Connection) -> None:
    stream = host.new_stream()
    host.open_sending(stream)
    host.end(stream)
    with pytest.raises(WireError, match="not open"):
        for _ in range(100):
            received(host, frames.credit(stream, MIN_CREDIT))


@pytest.mark.parametrize(
    "body", [[], "x", {"error": 1}, {"error": {"errno": 1, "message": "m"}}, {"error": {"errno": "E"}}]
)
def test_a_malformed_answer(host: Connection, body: object) -> None:
    ident, _ = host.request("ping", {})
    with pytest.raises(WireError):
        received(host, raw(frames.RESPONSE, ident, body))


hostile_frames = st.builds(
    lambda kind, ident, payload: frames.header(kind, ident, len(payload)) + payload,
    st.sampled_from(sorted(frames.KINDS)),
    st.integers(0, 6),
    st.one_of(
        st.binary(max_size=80),
        st.sampled_from(
            [{"ok": 1}, {"error": {"errno": "E", "message": "m"}}, {"n": "x", "p": {}}, {"errno": "E"}]
        ).map(lambda body: frames.control(0, 0, body)[8:]),
        st.just(json.dumps({"ok": None}).encode()),
    ),
)


@given(st.lists(hostile_frames, max_size=40))
def test_a_hostile_guest_ends_in_an_error_or_in_events(sent: list[bytes]) -> None:
    host = Connection(peer_is_guest=True)
    for _ in range(3):
        host.request("spawn", {})
        host.open_receiving(host.new_stream())
        host.open_sending(host.new_stream())
    try:
        for frame in sent:
            for _ in host.receive(frame):
                pass
    except WireError:
        return
