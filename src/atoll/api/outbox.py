"""What goes out on one WebSocket, in the order of asking, no faster than the client reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from aiohttp import ClientConnectionResetError, WSMsgType, web

from atoll.model.errors import Aborted

# A client that does not answer pings, although the protocol says that it must, gets its answer all the same.
CONFIRM_S = 5.0


class Outbox:
    """Frames wait at one lock, so what is queued is bounded by who asks: one frame for each request and stream."""

    def __init__(self, response: web.WebSocketResponse, transport: asyncio.Transport | None, stall_s: float) -> None:
        self._socket = response
        self._transport = transport
        self._stall_s = stall_s
        self._turn = asyncio.Lock()
        self._gone = False
        self._last_ping = 0
        self._pings: dict[bytes, asyncio.Future[None]] = {}

    async def send(self, frame: bytes, wanted: Callable[[], bool] | None = None) -> None:
        """Send one message. Not if it is no longer `wanted` when its turn comes. Aborted when the client is gone.

        A client that reads nothing for `stall_s` is cut off, so that it cannot hold memory here for ever.
        """
        async with self._turn:
            if wanted is None or wanted():
                await self._write((frame,))

    async def send_all(self, frames: Sequence[bytes]) -> None:
        """Send messages that nothing comes between, in one segment as far as that goes, to be taken in together."""
        async with self._turn:
            self._cork(on=True)
            try:
                await self._write(frames)
            finally:
                self._cork(on=False)

    async def _write(self, frames: Sequence[bytes]) -> None:
        if self._gone:
            raise Aborted("the client is gone")
        try:
            async with asyncio.timeout(self._stall_s):
                for frame in frames:
                    await self._socket.send_frame(frame, WSMsgType.TEXT)
        except (TimeoutError, ConnectionError, ClientConnectionResetError):
            self.cut()
            raise Aborted("the client is gone") from None

    def _cork(self, *, on: bool) -> None:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and sock.fileno() >= 0:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    async def confirm(self) -> None:
        """Wait until the client has taken in everything that was sent so far, or has had `CONFIRM_S` to do so."""
        self._last_ping += 1
        token = self._last_ping.to_bytes(8, "big")
        answered = self._pings[token] = asyncio.get_running_loop().create_future()
        try:
            async with self._turn, asyncio.timeout(self._stall_s):
                await self._socket.ping(token)
            async with asyncio.timeout(CONFIRM_S):
                await answered
        except TimeoutError:
            pass
        except (ConnectionError, ClientConnectionResetError):
            raise Aborted("the client is gone") from None
        finally:
            del self._pings[token]

    def on_pong(self, token: bytes) -> None:
        """The client has answered a ping."""
        if (answered := self._pings.get(token)) is not None and not answered.done():
            answered.set_result(None)

    async def answer_ping(self, token: bytes) -> None:
        try:
            async with self._turn, asyncio.timeout(self._stall_s):
                await self._socket.pong(token)
        except (TimeoutError, ConnectionError, ClientConnectionResetError):
            self.cut()

    def cut(self) -> None:
        """End the connection without a word: the client would not read it."""
        self._gone = True
        if self._transport is not None:
            self._transport.abort()
