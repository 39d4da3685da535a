"""The host's end of the link to one guest's agent: `atoll.wire` on a socket, for asyncio.

Everything here is bounded by what the host itself opened: answers by its requests, stream
bytes by the windows that it granted. The first forbidden byte closes the link for good.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, cast

from atoll.model.errors import GuestError, LinkLost, ProtocolViolation
from atoll.wire import GENERATION, Connection, Credit, Data, End, Notice, Reply, Reset, WireError, WireEvent


class ByteSource:
    """Bytes from the guest, in order. Reading gives the guest credit for more; not reading stops it."""

    def __init__(self, link: GuestLink, stream: int) -> None:
        self._link = link
        self.stream = stream
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._arrived = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes (as they came, at most 128 KiB), or b"" at the end."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        chunk = self._chunks.popleft()
        self._link.give_credit(self.stream, len(chunk))
        return chunk

    async def read_all(self, limit: int) -> bytes | None:
        """Everything up to the end, or None when that is more than `limit` bytes (the rest is given up)."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self.read():
            size += len(chunk)
            if size > limit:
                self.cancel()
                return None
            parts.append(chunk)
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    def cancel(self) -> None:
        """Give the rest up: the guest stops sending. Safe at any time."""
        if not self._ended and self._error is None:
            self._link.reset(self.stream, "ECANCELED", "the reader went away")
        self._ended = True
        self._chunks.clear()
        self._arrived.set()

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._arrived.set()

    def finish(self, error: Exception | None = None) -> None:
        """No more will come. Bytes that are here already can still be read."""
        if error is None:
            self._ended = True
        elif not self._ended:
            self._error = error
        self._arrived.set()


class ByteSink:
    """Bytes to the guest, in order; `write` waits while the guest's window is used up."""

    def __init__(self, link: GuestLink, stream: int) -> None:
        self._link = link
        self.stream = stream
        self._closed = False
        self._error: Exception | None = None
        self._credit = asyncio.Event()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. GuestError EPIPE when the guest's end is closed."""
        view = memoryview(data)
        while len(view):
            self._check()
            room = self._link.sendable(self.stream)
            if not room:
                self._credit.clear()
                await self._credit.wait()
                continue
            self._link.send_data(self.stream, view[:room])
            view = view[room:]
            await self._link.drain()

    def close(self) -> None:
        """Tell the guest that this was all. Safe at any time."""
        if not self._closed and self._error is None:
            self._link.end(self.stream)
        self._closed = True

    def fail(self, errno: str, message: str) -> None:
        """Tell the guest that the rest will not come, so that what was sent is not taken for the whole."""
        if not self._closed and self._error is None:
            self._link.reset(self.stream, errno, message)
        self._closed = True

    def finish(self, error: Exception) -> None:
        """The guest gave the stream up, or the link is gone."""
        self._error = error
        self._credit.set()

    def more_credit(self) -> None:
        self._credit.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise GuestError("EPIPE", "the stream is closed")


class GuestLink(asyncio.Protocol):
    """Requests to one guest's agent and the streams that they name.

    `on_notice(name, params)` is called for what the guest says unasked; it may raise
    ProtocolViolation. `on_lost(error)` is called once, when the link is over.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock
        self._connection = Connection(peer_is_guest=True)
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, asyncio.Future[tuple[Any, bytes]]] = {}
        self._sources: dict[int, ByteSource] = {}
        self._sinks: dict[int, ByteSink] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._error: LinkLost | ProtocolViolation | None = None
        self.on_notice: Callable[[str, dict[str, Any]], None] | None = None
        self.on_lost: Callable[[Exception], None] | None = None

    # -- life

    async def start(self) -> None:
        """Take the socket over; after this requests can be made."""
        assert self._socket is not None
        sock, self._socket = self._socket, None
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def close(self) -> None:
        """End the link: every waiting call fails with LinkLost. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._lose(LinkLost("the link to the guest was closed"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def lost(self) -> Exception | None:
        """Why the link is over, or None while it works."""
        return self._error

    # -- requests

    async def hello(self) -> dict[str, Any]:
        """What the agent says of itself; ProtocolViolation when it is of another generation."""
        answer = await self.request("hello", {"generation": GENERATION})
        if not isinstance(answer, dict) or answer.get("generation") != GENERATION:
            raise ProtocolViolation(
                "the agent in the guest is of another generation of the protocol; rebuild the template"
            )
        return answer

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """The agent's answer. GuestError for its errors, LinkLost when it went away."""
        result, _ = await self.request_with_blob(method, params)
        return result

    async def request_with_blob(self, method: str, params: dict[str, Any], blob: bytes = b"") -> tuple[Any, bytes]:
        """As `request`, with raw bytes beside the JSON each way."""
        future = self.send_request(method, params, blob)
        try:
            return await future
        finally:
            # A cancelled caller leaves the id pending in the connection: its answer may still come and is dropped.
            future.cancel()

    def send_request(self, method: str, params: dict[str, Any], blob: bytes = b"") -> asyncio.Future[tuple[Any, bytes]]:
        """Send now; the answer comes in the future. For callers that send more before they wait."""
        self._check()
        ident, frame = self._connection.request(method, params, blob)
        future: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()
        self._pending[ident] = future
        self._send(frame)
        return future

    # -- streams

    def open_source(self) -> ByteSource:
        """A stream from the guest; name its `stream` in a request."""
        self._check()
        stream = self._connection.new_stream()
        self._connection.open_receiving(stream)
        source = self._sources[stream] = ByteSource(self, stream)
        return source

    def open_sink(self) -> ByteSink:
        """A stream to the guest; name its `stream` in a request."""
        self._check()
        stream = self._connection.new_stream()
        self._connection.open_sending(stream)
        sink = self._sinks[stream] = ByteSink(self, stream)
        return sink

    def forget(self, *streams: ByteSource | ByteSink | None) -> None:
        """Drop streams whose request failed: the guest never opened them."""
        for stream in streams:
            if isinstance(stream, ByteSource):
                self._sources.pop(stream.stream, None)
                self._connection.forget(stream.stream)
                stream.finish()
            elif stream is not None:
                self._sinks.pop(stream.stream, None)
                self._connection.forget(stream.stream)
                stream.finish(GuestError("EPIPE", "the stream was never opened"))

    def give_credit(self, stream: int, size: int) -> None:
        self._send(self._connection.consumed(stream, (size,)))

    def sendable(self, stream: int) -> int:
        return self._connection.sendable(stream)

    def send_data(self, stream: int, chunk: memoryview) -> None:
        if self._transport is not None and self._error is None:
            self._transport.writelines((self._connection.data(stream, chunk), chunk))

    def end(self, stream: int) -> None:
        self._sinks.pop(stream, None)
        self._send(self._connection.end(stream))

    def reset(self, stream: int, errno: str, message: str) -> None:
        self._sinks.pop(stream, None)
        self._sources.pop(stream, None)
        self._send(self._connection.reset(stream, errno, message))

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        await self._writable.wait()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=512 * 1024)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._connection.receive(data):
                self._dispatch(event)
        except (WireError, ProtocolViolation) as error:
            self._lose(ProtocolViolation(f"the guest broke the wire protocol: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(LinkLost("the guest's end of the link is gone"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- inside

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _send(self, frame: bytes) -> None:
        if frame and self._transport is not None and self._error is None:
            self._transport.write(frame)

    def _dispatch(self, event: WireEvent) -> None:
        match event:
            case Data(stream, data):
                if (source := self._sources.get(stream)) is not None:
                    source.feed(data)
            case Reply():
                self._on_reply(event)
            case Credit(stream):
                if (sink := self._sinks.get(stream)) is not None:
                    sink.more_credit()
            case End(stream):
                if (source := self._sources.pop(stream, None)) is not None:
                    source.finish()
            case Reset():
                self._on_reset(event)
            case Notice(name, params) if self.on_notice is not None:
                self.on_notice(name, params)
            case _:
                raise ProtocolViolation("an unexpected message")

    def _on_reply(self, reply: Reply) -> None:
        future = self._pending.pop(reply.id)
        if future.done():
            return
        if reply.error is None:
            future.set_result((reply.result, reply.blob))
        else:
            future.set_exception(GuestError(reply.error["errno"], reply.error["message"]))

    def _on_reset(self, reset: Reset) -> None:
        error = GuestError(reset.errno, reset.message)
        if (sink := self._sinks.pop(reset.stream, None)) is not None:
            sink.finish(error)
            # Its receiver keeps counting what was in flight until our end of the stream arrives.
            self._send(self._connection.end(reset.stream))
        if (source := self._sources.pop(reset.stream, None)) is not None:
            source.finish(error)

    def _lose(self, error: LinkLost | ProtocolViolation) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._transport is not None:
            self._transport.abort()
        self._writable.set()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # Its waiter may be gone; the loop must not report it then.
        self._pending.clear()
        for source in tuple(self._sources.values()):
            source.finish(error)
        for sink in tuple(self._sinks.values()):
            sink.finish(error)
        self._sources.clear()
        self._sinks.clear()
        if self.on_lost is not None:
            self.on_lost(error)
