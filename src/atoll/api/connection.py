"""One WebSocket: a receive loop that keeps notifications in order, a task per request, and an end that answers all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from atoll.api import json_text, replies
from atoll.api.calls import Call, Calls
from atoll.api.errors import error_object
from atoll.api.inbound import InboundStreams
from atoll.api.leftovers import Leftovers
from atoll.api.methods import METHODS
from atoll.api.notifications import apply
from atoll.api.outbound import Ids, OutboundStreams, stream_cancel
from atoll.api.outbox import Outbox
from atoll.api.peer import Peer
from atoll.api.quirks import Quirks
from atoll.api.spool import SpoolSpace
from atoll.engine import Sandbox
from atoll.model.errors import Aborted, AtollError, SandboxStopped
from atoll.model.events import Actor

# How long requests and streams may take to finish by themselves once the sandbox has ended.
LAST_WORDS_S = 1.0

_log = structlog.get_logger("atoll.api")


class Connection:
    """One client's conversation with one sandbox. `run` returns when it is over, with nothing of it left."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        outbox: Outbox,
        sandbox: Sandbox,
        actor: Actor,
        quirks: Quirks,
        *,
        ids: Ids,
        space: SpoolSpace,
        leftovers: Leftovers,
    ) -> None:
        self._socket = socket
        self._outbox = outbox
        self._sandbox = sandbox
        self._quirks = quirks
        self._calls = Calls()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._group = asyncio.TaskGroup()
        self._inbound = InboundStreams(space, self._send_stream_cancel)
        self._peer = Peer(
            sandbox=sandbox,
            actor=actor,
            quirks=quirks,
            outbox=outbox,
            inbound=self._inbound,
            outbound=OutboundStreams(outbox, quirks, ids),
            ids=ids,
            space=space,
            leftovers=leftovers,
            start_task=self._start_task,
            abort=lambda abort_id: self._calls.abort(abort_id, Aborted("The operation was aborted")),
        )

    async def run(self) -> None:
        """Serve until the client or the sandbox is gone."""
        async with self._group:
            closing = self._group.create_task(self._close_with_sandbox())
            try:
                await self._receive_all()
            finally:
                if not self._is_closing:
                    closing.cancel()
                self._inbound.close()
                for task in tuple(self._tasks):
                    task.cancel()

    # -- receiving

    async def _receive_all(self) -> None:
        while True:
            message = await self._socket.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    if not await self._receive(message.data):
                        return
                case WSMsgType.PING:
                    await self._outbox.answer_ping(bytes(message.data))
                case WSMsgType.PONG:
                    self._outbox.on_pong(bytes(message.data))
                case _:
                    # Closed by either side, or by aiohttp: 1009 for what is too big, 1002 for broken frames.
                    return

    async def _receive(self, text: bytes) -> bool:
        """Take one message; False when there can be no other."""
        if text == b"ping":
            if self._quirks.answers_text_ping:
                await self._say(b"pong")
            return True
        try:
            message = json_text.decode(text)
        except ValueError:
            await self._socket.close(code=WSCloseCode.INVALID_TEXT, message=b"not JSON")
            return False
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return await self._refuse(message)
        if message.get("id") is None:
            await apply(self._peer, message["method"], message.get("params"))
        else:
            await self._begin(message, len(text))
        return True

    async def _refuse(self, message: Any) -> bool:
        """Something that is JSON and no request: answered if it can be, or else the end."""
        call_id = message.get("id") if isinstance(message, dict) else None
        if isinstance(call_id, int | str):
            await self._say(replies.invalid_request(call_id, self._quirks))
            return True
        await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"not JSON-RPC")
        return False

    async def _begin(self, message: dict[str, Any], size: int) -> None:
        call = Call(message["id"], message["method"], message.get("params"), size)
        if not await self._calls.add(call):
            await self._say(replies.too_many(call.id))
            return
        call.task = self._group.create_task(self._serve(call))
        self._tasks.add(call.task)
        call.task.add_done_callback(partial(self._forget, call))

    def _forget(self, call: Call, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._calls.remove(call)

    # -- answering

    async def _serve(self, call: Call) -> None:
        call.begun = True
        try:
            if call.interruption is not None:
                raise call.interruption
            reply = await self._reply_to(call)
        except AtollError as reason:
            reply = replies.failure(call.id, reason)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call.interruption is None or task is None:
                raise
            task.uncancel()
            reply = replies.failure(call.id, call.interruption)
        call.answering = True
        call.params = None
        await self._say(reply)

    async def _reply_to(self, call: Call) -> bytes:
        method = METHODS.get(call.method)
        if method is None:
            return replies.unknown_method(call.id, call.method, self._quirks)
        try:
            params = method.params.model_validate({} if call.params is None else call.params)
        except ValidationError as error:
            return replies.invalid_params(call.id, error, self._quirks)
        try:
            return replies.success(call.id, await method.run(self._peer, params), self._quirks)
        except AtollError as error:
            return replies.failure(call.id, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours in one request is logged whole, and the others go on
            _log.exception("request.failed", sandbox=self._sandbox.id, method=call.method)
            return replies.failure(call.id, error)

    async def _say(self, frame: bytes) -> None:
        try:
            await self._outbox.send(frame)
        except Aborted:
            pass  # The client is gone; the receive loop learns that by itself.

    def _send_stream_cancel(self, stream_id: int) -> None:
        if self._quirks.obeys_stream_cancel:
            reason = error_object(Aborted("the reader of this stream wants no more"))
            self._start_task(self._say(stream_cancel(stream_id, reason)), lambda: None)

    # -- tasks and the end

    def _start_task(self, work: Coroutine[Any, Any, None], on_cut: Callable[[], None]) -> asyncio.Task[bool]:
        task = self._group.create_task(_to_its_end(work))
        self._tasks.add(task)

        def done(task: asyncio.Task[bool]) -> None:
            self._tasks.discard(task)
            work.close()  # It has never begun if the task was cancelled at once.
            if task.cancelled() or not task.result():
                on_cut()

        task.add_done_callback(done)
        return task

    async def _close_with_sandbox(self) -> None:
        """When the sandbox has ended: let everything be answered, answer the rest ourselves, then close.

        The Python client waits for ever for an answer that does not come before the close (WIRE 3.4).
        """
        reason = await self._sandbox.wait_stopped()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=LAST_WORDS_S)
        self._calls.interrupt_all(SandboxStopped(self._sandbox.id, reason.value))
        if tasks := self._calls.tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        self._is_closing = True
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=f"sandbox ended: {reason.value}".encode()[:120])


async def _to_its_end(work: Coroutine[Any, Any, None]) -> bool:
    try:
        await work
    except AtollError:
        return False
    except Exception:  # noqa: BLE001 - a bug of ours in one stream is logged whole, and the others go on
        _log.exception("stream.failed")
        return False
    return True
