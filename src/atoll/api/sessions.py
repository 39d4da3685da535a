"""create and connect: from the upgrade to the end of the WebSocket, and what that end means (WIRE 3)."""

from __future__ import annotations

import asyncio
import socket

import structlog
from aiohttp import WSCloseCode, web

from atoll.api.access import ACTOR, TRACE, TRACE_HEADER
from atoll.api.connection import Connection
from atoll.api.context import Api
from atoll.api.errors import TooManyConnections, UpgradeRequired
from atoll.api.outbox import Outbox
from atoll.api.quirks import quirks_of
from atoll.api.sandbox_config import HEADER, parse_config
from atoll.engine import Sandbox
from atoll.model.errors import LimitReached
from atoll.model.events import Actor
from atoll.model.lifecycle import StopReason
from atoll.model.spec import SandboxSpec

_log = structlog.get_logger("atoll.api")

SANDBOX_ID_HEADER = "x-deno-sandbox-id"
# Python gives the whole upgrade 10 s. A boot that takes longer goes on behind the 101, and requests wait for it.
READY_WAIT_S = 7.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# The kernel finds out about a client that vanished without a word; one that is stopped in a debugger still answers it.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


async def create(api: Api, request: web.Request) -> web.StreamResponse:
    """A new sandbox, and its primary connection: a session ends with it."""
    _check(api, request)
    limits = api.engine.settings
    spec = parse_config(request.headers.get(HEADER), default_memory_mib=limits.memory_mib_default, vcpus=limits.vcpus)
    with api.connected():
        sandbox = await _admit(api, spec, request[ACTOR])
        try:
            await _wait_ready(sandbox)
            return await _talk(api, request, sandbox)
        finally:
            # A deadline, given at create or by extending since, outlives connections.
            if sandbox.stop_at_ms is None or not request.get(_UPGRADED, False):
                sandbox.end(StopReason.SESSION_ENDED)


async def connect(api: Api, request: web.Request) -> web.StreamResponse:
    """One more connection to a sandbox that runs; its end means nothing to the sandbox."""
    _check(api, request)
    sandbox = await api.engine.get(request.match_info["id"])
    with api.connected():
        return await _talk(api, request, sandbox)


_UPGRADED: web.RequestKey[bool] = web.RequestKey("upgraded", bool)


async def _admit(api: Api, spec: SandboxSpec, actor: Actor) -> Sandbox:
    """LimitReached unless a place is free, or is about to be: clients close one sandbox and create the next at once."""
    while True:
        _check_closing(api)
        try:
            return api.engine.admit(spec, actor)
        except LimitReached:
            leaving = [sandbox for sandbox in api.engine.live if sandbox.ending is not None]
            if not leaving:
                raise
            await leaving[0].wait_stopped()


def _check(api: Api, request: web.Request) -> None:
    """Before anything is started."""
    if not web.WebSocketResponse().can_prepare(request):
        raise UpgradeRequired("this address takes WebSockets only")
    _check_closing(api)
    if api.connections >= api.settings.max_connections:
        raise TooManyConnections(f"the limit of {api.settings.max_connections} connections is reached; close one")


def _check_closing(api: Api) -> None:
    if api.is_closing:
        raise TooManyConnections("the server is stopping")


async def _wait_ready(sandbox: Sandbox) -> None:
    try:
        async with asyncio.timeout(READY_WAIT_S):
            await sandbox.wait_ready()
    except TimeoutError:
        pass


async def _talk(api: Api, request: web.Request, sandbox: Sandbox) -> web.WebSocketResponse:
    response = web.WebSocketResponse(
        max_msg_size=MAX_MESSAGE_BYTES, compress=False, decode_text=False, autoping=False, writer_limit=64 * 1024
    )
    response.headers[SANDBOX_ID_HEADER] = sandbox.id
    response.headers[TRACE_HEADER] = request[TRACE]
    await response.prepare(request)
    request[_UPGRADED] = True
    if (sock := request.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    connection = Connection(
        response,
        Outbox(response, request.transport, api.settings.stall_s),
        sandbox,
        request[ACTOR],
        quirks_of(request.headers.get("user-agent")),
        ids=api.ids,
        space=api.space,
        leftovers=api.leftovers,
    )
    try:
        await connection.run()
    except Exception:  # noqa: BLE001 - a bug of ours in one connection is logged whole, and the others go on
        _log.exception("connection.failed", sandbox=sandbox.id)
        await response.close(code=WSCloseCode.INTERNAL_ERROR)
    return response
