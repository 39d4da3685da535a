"""JSON-RPC on a WebSocket, from the client's side and bounded (WIRE 3 and 4).

It speaks the dialect of the JavaScript client: output has `start` before data, and the end of a file is null.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from atoll.model.errors import (
    AtollError,
    CallerError,
    GuestError,
    HostError,
    InvalidSpec,
    ProtocolViolation,
    SandboxStopped,
)

MAX_STREAMS = 64
# Pieces of at most 64 KiB that wait for their reader, before the socket is left unread.
MAX_QUEUED_PIECES = 16


class Refused(CallerError):
    """The server's own words; `kind` is its code for them."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Unreachable(HostError):
    """No server answers there, or it stopped answering."""


class Incoming:
    """A stream from the server. Its reader's pace is the whole connection's: there is no other flow control."""

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self._connection = connection
        self._id = stream_id
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_PIECES)
        self._wanted = True
        self._ended = False
        self._error: AtollError | None = None

    async def read(self) -> bytes:
        """The next bytes, or b"" at the end."""
        if self._pieces.empty() and self._error is not None:
            raise self._error
        if self._ended:
            return b""
        piece = await self._pieces.get()
        if not piece and self._error is not None:
            raise self._error
        self._ended = not piece
        return piece

    def cancel(self) -> None:
        """Want no more of it."""
        self._wanted = False
        while not self._pieces.empty():
            self._pieces.get_nowait()
        self._connection.send_soon("$sandbox.stream.cancel", {"streamId": self._id, "reason": None})

    async def put(self, piece: bytes) -> None:
        """b"" is the end."""
        if self._wanted:
            await self._pieces.put(piece)

    def fail(self, error: AtollError) -> None:
        """The rest will not come; what is here can still be read."""
        self._error = error
        if self._pieces.empty():
            self._pieces.put_nowait(b"")


class Outgoing:
    """A stream to the server."""

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self._connection = connection
        self.id = stream_id
        self.cancelled = False

    async def write(self, chunk: bytes) -> None:
        """GuestError EPIPE once nobody reads it any more."""
        if self.cancelled:
            raise GuestError("EPIPE", "nobody reads this stream any more")
        data = binascii.b2a_base64(chunk, newline=False).decode("ascii")
        await self._connection.notify("$sandbox.stream.enqueue", {"streamId": self.id, "data": data})

    async def end(self) -> None:
        await self._connection.notify("$sandbox.stream.end", {"streamId": self.id})

    async def fail(self, message: str) -> None:
        error = {"constructorName": "Error", "message": message}
        await self._connection.notify("$sandbox.stream.error", {"streamId": self.id, "error": error})


class Connection:
    """One WebSocket: requests, answers by their numbers, streams both ways. An async context manager."""

    def __init__(self, web_socket: aiohttp.ClientWebSocketResponse, sandbox_id: str) -> None:
        self._socket = web_socket
        self._sandbox_id = sandbox_id
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._incoming: dict[int, Incoming] = {}
        self._outgoing: dict[int, Outgoing] = {}
        self._last_id = 0
        self._lost: AtollError | None = None
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._receiving = self._group.create_task(self._receive_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._receiving.cancel()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            await self._socket.close()
        # Not told what went wrong: it would wrap it in a group.
        await self._group.__aexit__(None, None, None)

    async def call(self, method: str, **params: Any) -> Any:
        """What the method answers. GuestError for what the guest says, Refused for what the server does."""
        answer = await self.ask(method, **params)
        try:
            return await answer
        finally:
            answer.cancel()

    async def ask(self, method: str, **params: Any) -> asyncio.Future[Any]:
        """Send the request; its answer comes in the future, for callers that send more before they wait."""
        if self._lost is not None:
            raise self._lost
        self._last_id += 1
        answer = self._calls[self._last_id] = asyncio.get_running_loop().create_future()
        await self._send({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return answer

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        if self._lost is not None:
            raise self._lost
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def send_soon(self, method: str, params: dict[str, Any]) -> None:
        self._group.create_task(self._notify_if_possible(method, params))

    async def open_stream(self) -> Outgoing:
        """A stream to the server, for a request to name."""
        self._last_id += 1
        stream = self._outgoing[self._last_id] = Outgoing(self, self._last_id)
        await self.notify("$sandbox.stream.start", {"streamId": stream.id})
        return stream

    def incoming(self, stream_id: Any) -> Incoming:
        """The stream that an answer names. ProtocolViolation for what is no number, and for too many."""
        if not isinstance(stream_id, int):
            raise ProtocolViolation("the server names a stream that is no number")
        if stream_id not in self._incoming and len(self._incoming) >= MAX_STREAMS:
            raise ProtocolViolation(f"the server opens more than {MAX_STREAMS} streams")
        return self._incoming.setdefault(stream_id, Incoming(self, stream_id))

    async def _notify_if_possible(self, method: str, params: dict[str, Any]) -> None:
        with contextlib.suppress(AtollError):
            await self.notify(method, params)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send_frame(_encoded(message), aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, OSError):
            raise self._lost or self._gone() from None

    # -- receiving

    async def _receive_all(self) -> None:
        lost: AtollError = self._gone()
        try:
            while (message := await self._socket.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                await self._take(orjson.loads(message.data))
            lost = self._gone(str(message.extra or ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            lost = ProtocolViolation("the server sends what is not JSON-RPC as atoll speaks it")
        except ProtocolViolation as error:
            lost = error
        finally:
            self._lose(lost)

    async def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            self._answer(message)
            return
        params, kind = message["params"], message["method"].rpartition(".")[2]
        match kind:
            case "enqueue":
                await self.incoming(params["streamId"]).put(binascii.a2b_base64(params["data"]))
            case "end":
                await self.incoming(params["streamId"]).put(b"")
            case "error":
                self.incoming(params["streamId"]).fail(_error_of(params["error"] or {}))
            case "cancel":
                if (stream := self._outgoing.get(params["streamId"])) is not None:
                    stream.cancelled = True

    def _answer(self, message: dict[str, Any]) -> None:
        answer = self._calls.pop(message["id"], None)
        if answer is None or answer.done():
            return
        result = message.get("result")
        if isinstance(result, dict) and "ok" in result:
            answer.set_result(result["ok"])
        else:
            error = result.get("error") if isinstance(result, dict) else message.get("error")
            answer.set_exception(_error_of(error if isinstance(error, dict) else {}))
            answer.exception()  # Its waiter may be gone; the loop must not report it then.

    def _lose(self, error: AtollError) -> None:
        self._lost = error
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # Its waiter may be gone.
        for stream in self._incoming.values():
            stream.fail(error)

    def _gone(self, reason: str = "") -> AtollError:
        if reason.startswith("sandbox ended: "):
            return SandboxStopped(self._sandbox_id, reason.removeprefix("sandbox ended: "))
        return Unreachable(f"the connection to the server was lost{': ' + reason if reason else ''}")


def _encoded(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:
        raise InvalidSpec("text", "has characters that are not UTF-8, which the API cannot carry") from None


def _error_of(error: dict[str, Any]) -> AtollError:
    """Of an ErrorObject (WIRE 4.2)."""
    code, message = error.get("code"), str(error.get("message") or "the server says no reason")[:4000]
    if error.get("constructorName") == "TypeError" and code == "ENOENT":
        return GuestError("ESRCH", message)
    if isinstance(code, str) and code.startswith("E") and code.isalnum():
        return GuestError(code, message)
    return Refused(str(code), message)
