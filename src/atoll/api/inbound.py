"""Streams from the client. A buffer exists from the first sight of an id; a request attaches to it later (WIRE 4.3)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

from atoll.api.spool import Spool, SpoolSpace
from atoll.model.errors import Aborted, InvalidSpec, TooLarge

# Above this the receive loop waits a little for a reader that makes progress: the socket slows the client down.
HIGH_WATER_BYTES = 1024 * 1024
# A reader at 4 MiB/s or faster is never outrun.
PACE_BYTES_PER_S = 4 * 1024 * 1024
# How long the receive loop may stand still because a spool is full; clients drop a server that is silent for 20 s.
FULL_WAIT_S = 8.0
MAX_STREAMS = 4096


class Inbound:
    """One stream: the receive loop feeds it, one reader takes from it."""

    def __init__(self, space: SpoolSpace, on_unwanted: Callable[[], None]) -> None:
        self._spool = Spool(space)
        self._on_unwanted = on_unwanted
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._error: Exception | None = None
        # Nobody reads before the request that names the id, which may be behind this data in the same socket.
        self._stuck = True
        self._pieces_taken = 0
        self.attached = False
        self.ended = False
        self.discarded = False

    async def feed(self, chunk: bytes) -> None:
        """Keep `chunk` for the reader; waits a bounded time when the reader is behind."""
        if self.discarded or self.ended or not chunk:
            return
        if not self._spool.put(chunk) and not await self._put_later(chunk):
            self.end(TooLarge("the stream's reader is too far behind, and the server's room for its data is used up"))
            return
        self._changed.set()
        if self._spool.size > HIGH_WATER_BYTES and not self._stuck:
            await self._wait_for_reader(0.05 + len(chunk) / PACE_BYTES_PER_S)

    def attach(self) -> None:
        """There is a reader now."""
        self.attached = True
        self._stuck = False

    def end(self, error: Exception | None = None) -> None:
        """The client has sent everything, or `error` tells why not."""
        self.ended = True
        self._error = self._error or error
        self._changed.set()

    def discard(self) -> None:
        """The reader wants no more: what still comes is dropped, and the client is told if it can be."""
        if not self.discarded:
            self.discarded = True
            self._spool.close()
            self._taken.set()
            self._changed.set()
            if not self.ended:
                self._on_unwanted()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if chunk := self._spool.get():
                self._pieces_taken += 1
                self._stuck = False
                self._taken.set()
                yield chunk
            elif self.ended or self.discarded:
                self._spool.close()
                if self._error is not None:
                    raise self._error
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _wait_for_reader(self, limit_s: float) -> None:
        """Until the reader has caught up, for at most `limit_s`; not again for one that took nothing in that time."""
        before = self._pieces_taken
        try:
            async with asyncio.timeout(limit_s):
                while self._spool.size > HIGH_WATER_BYTES:
                    self._taken.clear()
                    await self._taken.wait()
        except TimeoutError:
            self._stuck = self._pieces_taken == before

    async def _put_later(self, chunk: bytes) -> bool:
        """Keep `chunk` once the reader has made room; False when it takes nothing for too long."""
        while not self.discarded:
            self._taken.clear()
            try:
                async with asyncio.timeout(FULL_WAIT_S):
                    await self._taken.wait()
            except TimeoutError:
                return False
            if self._spool.put(chunk):
                return True
        return True


class InboundStreams:
    """All streams from one client. Its ids are its own; a discarded one is remembered until it ends."""

    def __init__(self, space: SpoolSpace, send_cancel: Callable[[int], None]) -> None:
        self._space = space
        self._send_cancel = send_cancel
        self._streams: OrderedDict[int, Inbound] = OrderedDict()

    def get(self, stream_id: int) -> Inbound:
        """The stream with this id, made at first sight."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._make_room()
            stream = self._streams[stream_id] = Inbound(self._space, lambda: self._send_cancel(stream_id))
        return stream

    def take(self, stream_id: int) -> Inbound:
        """The stream, for its one reader."""
        stream = self.get(stream_id)
        if stream.attached:
            raise InvalidSpec("stream", f"the stream {stream_id} is in use already")
        stream.attach()
        if stream.ended:
            del self._streams[stream_id]
        return stream

    def end(self, stream_id: int, error: Exception | None = None) -> None:
        """It is complete, or `error` tells why it never will be. Without a reader yet, it waits for one."""
        stream = self.get(stream_id)
        stream.end(error)
        if stream.attached:
            del self._streams[stream_id]

    def close(self) -> None:
        """The client is gone."""
        for stream in self._streams.values():
            stream.end(Aborted("the client is gone"))
            stream.discard()
        self._streams.clear()

    def _make_room(self) -> None:
        if len(self._streams) >= MAX_STREAMS:
            _, oldest = self._streams.popitem(last=False)
            oldest.end(TooLarge(f"more than {MAX_STREAMS} streams at once"))
            oldest.discard()
