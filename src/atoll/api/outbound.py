"""Streams to the client: start, pieces of 1 to 64 KiB, end, and nothing after a cancel (WIRE 4.3)."""

from __future__ import annotations

import binascii
import itertools
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from atoll.api import json_text
from atoll.api.outbox import Outbox
from atoll.api.quirks import Quirks

PIECE_BYTES = 64 * 1024


class Ids:
    """Numbers for streams and watchers that no other connection or server process gives out at the same time.

    The JavaScript client keeps its streams in tables of the module: equal ids of two sandboxes get mixed up there.
    They stay below 2^53, which is as far as JavaScript counts.
    """

    def __init__(self) -> None:
        self._next: Iterator[int] = itertools.count(secrets.randbits(48))

    def new(self) -> int:
        return next(self._next)


class Outbound:
    """One stream to the client."""

    __slots__ = ("_has_sent", "_outbox", "_quirks", "cancelled", "id", "on_cancel")

    def __init__(self, stream_id: int, outbox: Outbox, quirks: Quirks) -> None:
        self.id = stream_id
        self._quirks = quirks
        self._has_sent = False
        self.cancelled = False
        self.on_cancel: Any = None
        self._outbox = outbox

    async def settle(self) -> None:
        """Wait until the client has reacted to everything so far, if it needs that (`Quirks.must_settle`)."""
        # The first ping is answered together with what came before it, the second after the program's reaction to that.
        for _ in range(2 if self._quirks.must_settle else 0):
            if not self.cancelled:
                await self._outbox.confirm()

    async def start(self) -> None:
        await self._send(_notice("start", {"streamId": self.id}))

    async def write(self, chunk: bytes) -> None:
        """Send all of `chunk`; an empty one would be an error to JavaScript's byte streams, and is not sent."""
        self._has_sent = self._has_sent or bool(chunk)
        for at in range(0, len(chunk), PIECE_BYTES):
            await self._send(_enqueue(self.id, chunk[at : at + PIECE_BYTES]))

    async def write_whole(self, pieces: Sequence[bytes]) -> None:
        """Start, send and end a short stream at once, so that the client cannot cancel it half-way."""
        frames = [_notice("start", {"streamId": self.id}), *(_enqueue(self.id, piece) for piece in pieces)]
        await self._outbox.send_all([*frames, _notice("end", {"streamId": self.id})])

    async def end(self) -> None:
        if self._has_sent:
            await self.settle()
        await self._send(_notice("end", {"streamId": self.id}))

    async def fail(self, error: dict[str, Any]) -> None:
        """Tell why the rest will not come; to a client that does not know such a thing, that it was all."""
        if self._quirks.knows_stream_errors:
            await self._send(_notice("error", {"streamId": self.id, "error": error}))
        else:
            await self.end()

    def cancel(self) -> None:
        """The client wants no more: from now on nothing is sent, not even what waits for its turn."""
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    def _is_wanted(self) -> bool:
        return not self.cancelled

    async def _send(self, frame: bytes) -> None:
        await self._outbox.send(frame, self._is_wanted)


class OutboundStreams:
    """All streams to one client."""

    def __init__(self, outbox: Outbox, quirks: Quirks, ids: Ids) -> None:
        self._outbox = outbox
        self._quirks = quirks
        self._ids = ids
        self._streams: dict[int, Outbound] = {}

    def open(self) -> Outbound:
        stream = Outbound(self._ids.new(), self._outbox, self._quirks)
        self._streams[stream.id] = stream
        return stream

    def close(self, stream: Outbound) -> None:
        """Forget it: it has ended."""
        self._streams.pop(stream.id, None)

    def cancel(self, stream_id: int) -> None:
        """What the client asks for an id that it knows from us; others are none of ours any more."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.cancel()


def stream_cancel(stream_id: int, reason: dict[str, Any]) -> bytes:
    """Ask the client to send no more on a stream of its own."""
    return _notice("cancel", {"streamId": stream_id, "reason": reason})


def watcher_restart(watcher_id: str) -> bytes:
    """Tell the client that a watched program starts anew."""
    return json_text.encode(
        {"jsonrpc": "2.0", "method": "$sandbox.deno.watcher.restart", "params": {"watcherId": watcher_id}}
    )


def _notice(kind: str, params: dict[str, Any]) -> bytes:
    return json_text.encode({"jsonrpc": "2.0", "method": f"$sandbox.stream.{kind}", "params": params})


def _enqueue(stream_id: int, piece: bytes) -> bytes:
    # Put together by hand: a JSON encoder would look at every character of the base64 again.
    return b'{"jsonrpc":"2.0","method":"$sandbox.stream.enqueue","params":{"streamId":%d,"data":"%b"}}' % (
        stream_id,
        binascii.b2a_base64(piece, newline=False),
    )
