"""A real server on loopback in this process, and a bare client of its JSON-RPC."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog

from atoll.config import Config, load_config
from atoll.engine.host import HostMachines
from atoll.server import Machines, Ready, serve


class Rpc:
    """Calls one at a time over one WebSocket; stream notifications are read past."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count()

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        ident = next(self._ids)
        await self._socket.send_str(json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.receive_str())
            if message.get("id") == ident:
                return message["result"]["ok"]


@dataclass(frozen=True)
class Served:
    """Where the server is, and a token for it."""

    url: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @asynccontextmanager
    async def sandbox(self, session: aiohttp.ClientSession, **config: Any) -> AsyncIterator[Rpc]:
        """A sandbox that lasts as long as the context."""
        told = base64.b64encode(json.dumps({"memory_mb": 1280, **config}).encode()).decode()
        headers = {**self.headers, "x-deno-sandbox-config": told}
        async with session.ws_connect(f"{self.url}/api/v3/sandboxes/create", headers=headers) as socket:
            yield Rpc(socket)


@asynccontextmanager
async def serving(machines: HostMachines) -> AsyncIterator[Served]:
    """A server over machines that exist already."""

    @asynccontextmanager
    async def given(config: Config, store: object, progress: object) -> AsyncIterator[Machines]:
        yield Machines(machines, machines.accelerator.accel.value)

    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    # A line for each command would be part of what is measured, and of what is read afterwards.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"server.listen": "127.0.0.1:0", "server.state_dir": folder, "limits.max_sandboxes": "100"}
        config = load_config(environ={}, overrides=overrides)
        ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(config, on_ready=ready.set_result, machines=given, stop=stop))
            told = await ready
            assert told.token is not None
            try:
                yield Served(told.url, told.token)
            finally:
                stop.set()
