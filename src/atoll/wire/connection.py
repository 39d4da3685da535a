"""One end of a connection: requests and replies by id, streams with windows of credit.

The host allocates all ids: of requests, and of the streams that a request names. So the
guest can only speak of what the host opened. A stream has one direction. Its sender may
have at most the window outstanding; the receiver gives credit back as its consumer reads.
A data frame costs its length but at least `MIN_COST`, or a peer could send a window full
of one-byte frames and make the receiver's book-keeping the bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from atoll.wire import frames
from atoll.wire.frames import WireError

WINDOW: Final = 1024 * 1024
MIN_COST: Final = 512
# Credit is given back in pieces of this size or more, so that it cannot be dribbled either.
MIN_CREDIT: Final = WINDOW // 4


@dataclass(frozen=True, slots=True)
class Request:
    """The peer asks for `method`; answer with `reply` or `fail` under the same id."""

    id: int
    method: str
    params: dict[str, Any]
    blob: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The peer's answer to request `id`: `error` is None, or a dict with `errno` and `message`."""

    id: int
    result: Any
    error: dict[str, Any] | None
    blob: bytes


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened at the peer, as a process's exit."""

    name: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of stream `stream`; tell `consumed` when they were used."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Stream `stream` is complete."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Stream `stream` was given up, by its sender or by its receiver."""

    stream: int
    errno: str
    message: str


@dataclass(frozen=True, slots=True)
class Credit:
    """More of stream `stream` may be sent."""

    stream: int


WireEvent = Request | Reply | Notice | Data | End | Reset | Credit


@dataclass(slots=True)
class _Sending:
    credit: int = WINDOW
    outstanding: int = 0


@dataclass(slots=True)
class _Receiving:
    window: int = WINDOW
    owed: int = 0


class Connection:
    """The state of one end. `peer_is_guest` sets the bounds: a guest is hostile, a host is not."""

    def __init__(self, *, peer_is_guest: bool) -> None:
        limit = frames.MAX_GUEST_CONTROL_BYTES if peer_is_guest else frames.MAX_HOST_CONTROL_BYTES
        self._decoder = frames.FrameDecoder(limit)
        self._peer_is_guest = peer_is_guest
        self._next_request = 0
        self._next_stream = 0
        self._pending: set[int] = set()
        self._sending: dict[int, _Sending] = {}
        self._receiving: dict[int, _Receiving] = {}
        # Receiving streams that we reset: what was in flight is dropped until the peer's own end of it arrives.
        self._forsaken: dict[int, int] = {}
        # Frames about streams that are over: an honest peer's last words cross with ours, a few for each stream.
        self._late_allowed = 0

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return self._decoder.buffered

    # -- requests

    def request(self, method: str, params: dict[str, Any], blob: bytes = b"") -> tuple[int, bytes]:
        """The id of a new request, and its bytes."""
        self._next_request = self._next_request % 0xFFFFFFFF + 1
        ident = self._next_request
        frame = frames.control(frames.REQUEST, ident, {"m": method, "p": params}, blob)
        self._pending.add(ident)
        return ident, frame

    def reply(self, ident: int, result: Any, blob: bytes = b"") -> bytes:
        return frames.control(frames.RESPONSE, ident, {"ok": result}, blob)

    def fail(self, ident: int, errno: str, message: str) -> bytes:
        return frames.control(frames.RESPONSE, ident, {"error": {"errno": errno, "message": message}})

    def notice(self, name: str, params: dict[str, Any]) -> bytes:
        return frames.control(frames.NOTICE, 0, {"n": name, "p": params})

    # -- streams

    def new_stream(self) -> int:
        """A stream id for a request to name; then `open_receiving` or `open_sending` it."""
        self._next_stream = self._next_stream % 0xFFFFFFFF + 1
        return self._next_stream

    def open_sending(self, stream: int) -> None:
        self._sending[stream] = _Sending()
        # A credit frame stands for a quarter of the window at least, and one reset may follow.
        self._late_allowed += 6

    def open_receiving(self, stream: int) -> None:
        self._receiving[stream] = _Receiving()
        self._late_allowed += 2

    def sendable(self, stream: int) -> int:
        """How many bytes the next data frame of `stream` may have: 0 when its window is used up."""
        sending = self._sending.get(stream)
        if sending is None or sending.credit < MIN_COST:
            return 0
        return min(sending.credit, frames.MAX_DATA_BYTES)

    def is_sending(self, stream: int) -> bool:
        return stream in self._sending

    def data(self, stream: int, chunk: bytes | memoryview) -> bytes:
        """The header to put before `chunk`, which must not be longer than `sendable` said."""
        size = len(chunk)
        if not 0 < size <= self.sendable(stream):
            raise ValueError(f"{size} bytes do not fit into the window of stream {stream}")
        cost = max(size, MIN_COST)
        sending = self._sending[stream]
        sending.credit -= cost
        sending.outstanding += cost
        return frames.header(frames.DATA, stream, size)

    def end(self, stream: int) -> bytes:
        self._sending.pop(stream, None)
        return frames.header(frames.END, stream, 0)

    def reset(self, stream: int, errno: str, message: str) -> bytes:
        """Give the stream up, whichever end of it this is."""
        self._sending.pop(stream, None)
        receiving = self._receiving.pop(stream, None)
        if receiving is not None:
            self._forsaken[stream] = receiving.window
        return frames.control(frames.RESET, stream, {"errno": errno, "message": message})

    def forget(self, stream: int) -> None:
        """Drop a stream that the peer never opened, because the request that named it failed."""
        self._sending.pop(stream, None)
        self._receiving.pop(stream, None)

    def consumed(self, stream: int, sizes: Iterable[int]) -> bytes:
        """Note that data frames of these sizes were used; the CREDIT frame to send, or nothing yet."""
        receiving = self._receiving.get(stream)
        if receiving is None:
            return b""
        receiving.owed += sum(max(size, MIN_COST) for size in sizes)
        if receiving.owed < MIN_CREDIT:
            return b""
        amount, receiving.owed = receiving.owed, 0
        receiving.window += amount
        return frames.credit(stream, amount)

    # -- what comes in

    def receive(self, data: bytes | memoryview) -> Iterator[WireEvent]:
        """The events in `data`; WireError when the peer broke the protocol.

        Act on each before the next is taken: data may follow the request that opens its stream in one piece.
        """
        for kind, ident, payload in self._decoder.feed(data):
            if kind == frames.DATA:
                event = self._on_data(ident, payload)
            else:
                event = _CONTROL[kind](self, ident, payload)
            if event is not None:
                yield event

    def _on_data(self, stream: int, payload: bytes) -> WireEvent | None:
        cost = max(len(payload), MIN_COST)
        receiving = self._receiving.get(stream)
        if receiving is None:
            self._on_forsaken_data(stream, cost)
            return None
        if cost > receiving.window:
            raise WireError(f"stream {stream} overran its window")
        receiving.window -= cost
        return Data(stream, payload)

    def _on_forsaken_data(self, stream: int, cost: int) -> None:
        left = self._forsaken.get(stream)
        if left is None or cost > left:
            raise WireError(f"data on stream {stream}, which is not open")
        self._forsaken[stream] = left - cost

    def _on_end(self, stream: int, payload: bytes) -> WireEvent | None:
        if self._receiving.pop(stream, None) is not None:
            return End(stream)
        if self._forsaken.pop(stream, None) is None:
            raise WireError(f"the end of stream {stream}, which is not open")
        return None

    def _on_reset(self, stream: int, payload: bytes) -> WireEvent | None:
        body, _ = frames.parse_control(payload)
        if not isinstance(body, dict):
            raise WireError("a reset without a reason")
        known = self._receiving.pop(stream, None) is not None or self._sending.pop(stream, None) is not None
        # A host may give a stream up before the guest has opened it.
        if known or not self._peer_is_guest:
            return Reset(stream, _text(body, "errno", 32), _text(body, "message", 4096))
        if self._forsaken.pop(stream, None) is None:
            self._count_late(stream)
        return None

    def _on_credit(self, stream: int, payload: bytes) -> WireEvent | None:
        sending = self._sending.get(stream)
        amount = frames.parse_credit(payload)
        if sending is None:
            self._count_late(stream)
            return None
        if not MIN_CREDIT <= amount <= sending.outstanding:
            raise WireError(f"credit of {amount} on stream {stream} for {sending.outstanding} outstanding")
        sending.outstanding -= amount
        sending.credit += amount
        return Credit(stream)

    def _count_late(self, stream: int) -> None:
        """The two ends may give a stream up, or end it, at the same time: no fault, but not without bound."""
        self._late_allowed -= 1
        if self._late_allowed < 0:
            raise WireError(f"a frame about stream {stream}, which is not open")

    def _on_response(self, ident: int, payload: bytes) -> WireEvent:
        if ident not in self._pending:
            raise WireError(f"an answer to request {ident}, which is not pending")
        body, blob = frames.parse_control(payload)
        if not isinstance(body, dict):
            raise WireError("an answer that is not an object")
        self._pending.discard(ident)
        error = body.get("error")
        if error is None:
            return Reply(ident, body.get("ok"), None, blob)
        if not isinstance(error, dict):
            raise WireError("an error that is not an object")
        checked = {"errno": _text(error, "errno", 32), "message": _text(error, "message", 8192)}
        return Reply(ident, None, checked, blob)

    def _on_request(self, ident: int, payload: bytes) -> WireEvent:
        if self._peer_is_guest:
            raise WireError("a guest asks nothing of its host")
        body, blob = frames.parse_control(payload)
        if not isinstance(body, dict) or not isinstance(body.get("m"), str) or not isinstance(body.get("p"), dict):
            raise WireError("a request without a method or parameters")
        return Request(ident, body["m"], body["p"], blob)

    def _on_notice(self, ident: int, payload: bytes) -> WireEvent:
        body, _ = frames.parse_control(payload)
        if not isinstance(body, dict) or not isinstance(body.get("n"), str) or not isinstance(body.get("p"), dict):
            raise WireError("a notice without a name or parameters")
        return Notice(body["n"], body["p"])


def _text(body: dict[str, Any], key: str, limit: int) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise WireError(f"{key} is not text")
    return value[:limit]


_CONTROL = {
    frames.REQUEST: Connection._on_request,
    frames.RESPONSE: Connection._on_response,
    frames.NOTICE: Connection._on_notice,
    frames.END: Connection._on_end,
    frames.RESET: Connection._on_reset,
    frames.CREDIT: Connection._on_credit,
}
