"""A whole server in this process, whose VMs are agents, and clients that send what no official one does."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import atoll.engine.sandbox
from atoll.api import ApiSettings
from atoll.config import Config, LimitsConfig, ListenAddress, ServerConfig
from atoll.server import Machines, Ready, serve
from atoll.store import Store
from atoll.vmm.making import Progress
from tests.agents import AgentMachines

PYTHON = "Python/3.11 websockets/15.0"
MAX_SANDBOXES = 3
STALL_S = 0.5


@dataclass
class Rpc:
    """A WebSocket with JSON-RPC on it; keeps what comes while it looks for something else."""

    socket: aiohttp.ClientWebSocketResponse
    sandbox_id: str

    def __post_init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self.last_id = -1

    async def send(self, message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def notify(self, kind: str, **params: Any) -> None:
        await self.send({"jsonrpc": "2.0", "method": f"$sandbox.stream.{kind}", "params": params})

    async def begin(self, method: str, **params: Any) -> int:
        self.last_id += 1
        await self.send({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        return self.last_id

    async def call(self, method: str, **params: Any) -> Any:
        """The whole answer."""
        return await self.answer(await self.begin(method, **params))

    async def ok(self, method: str, **params: Any) -> Any:
        answer = await self.call(method, **params)
        assert set(answer["result"]) == {"ok"}, answer
        return answer["result"]["ok"]

    async def error(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.call(method, **params)
        error: dict[str, Any] = answer["result"]["error"]
        return error

    async def answer(self, ident: Any) -> Any:
        return await self.find(lambda message: "id" in message and message["id"] == ident)

    async def find(self, wanted: Any) -> Any:
        """The first message, kept or to come, that is `wanted`."""
        for message in self.kept:
            if wanted(message):
                self.kept.remove(message)
                return message
        async with asyncio.timeout(10):
            while True:
                message = await self.socket.receive_json()
                if wanted(message):
                    return message
                self.kept.append(message)

    async def stream(self, stream_id: int) -> list[Any]:
        """What came on a stream up to its end: `start`, pieces as bytes, `end` or an error object."""
        found: list[Any] = []
        while not found or found[-1] != "end":
            message = await self.find(lambda message: message.get("params", {}).get("streamId") == stream_id)
            kind = message["method"].rpartition(".")[2]
            found.append(base64.b64decode(message["params"]["data"]) if kind == "enqueue" else kind)
            if kind == "error":
                return [*found[:-1], message["params"]["error"]]
        return found

    async def spawn(self, command: str, *args: str, **params: Any) -> Any:
        given = {"command": command, "args": args, "stdout": "piped", "stderr": "piped", **params}
        return await self.ok("spawn", **given)


@dataclass
class Api:
    """The server under test."""

    url: str
    token: str
    http: aiohttp.ClientSession
    stop: asyncio.Event
    state_dir: Path
    home: Path

    @asynccontextmanager
    async def socket(self, path: str, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "", **headers}
        async with self.http.ws_connect(self.url + path, headers=headers, max_msg_size=0) as socket:
            yield socket

    @asynccontextmanager
    async def sandbox(self, agent: str = "", **config: Any) -> AsyncIterator[Rpc]:
        """Create one, as JavaScript or as the client that `agent` names."""
        sent = {"x-deno-sandbox-config": encoded({"memory_mb": 1280, **config}), "User-Agent": agent}
        async with self.socket("/api/v3/sandboxes/create", **sent) as socket:
            yield Rpc(socket, socket._response.headers["x-deno-sandbox-id"])

    @asynccontextmanager
    async def connected(self, sandbox_id: str) -> AsyncIterator[Rpc]:
        async with self.socket(f"/api/v3/sandbox/{sandbox_id}/connect") as socket:
            yield Rpc(socket, socket._response.headers["x-deno-sandbox-id"])

    async def rest(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **options) as response:
            body = await response.read()
            return response.status, json.loads(body) if body else None

    async def refused(self, config: Any) -> tuple[int, dict[str, str]]:
        """How a create with this config (any text, or a value) is answered."""
        header = config if isinstance(config, str) else encoded(config)
        headers = {"x-deno-sandbox-config": header, "Upgrade": "websocket", "Connection": "upgrade"}
        headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()}
        return await self.rest("GET", "/api/v3/sandboxes/create", headers=headers)

    async def until_stopped(self, sandbox_id: str) -> None:
        async with asyncio.timeout(10):
            while True:
                _, listed = await self.rest("GET", "/api/v2/sandboxes")
                if {item["id"]: item["status"] for item in listed}[sandbox_id] == "stopped":
                    return
                await asyncio.sleep(0.02)


def encoded(config: Any) -> str:
    return base64.b64encode(json.dumps(config).encode()).decode()


@asynccontextmanager
async def running(state_dir: Path, home: Path, **server: Any) -> AsyncIterator[tuple[Ready, asyncio.Event]]:
    """A server, from ready to stopped."""
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    @asynccontextmanager
    async def agents(config: Config, store: Store, progress: Progress) -> AsyncIterator[Machines]:
        yield Machines(AgentMachines(home), "none")

    config = Config(
        server=ServerConfig(listen=ListenAddress("127.0.0.1", 0), state_dir=state_dir, **server),
        limits=LimitsConfig(max_sandboxes=MAX_SANDBOXES),
    )
    settings = ApiSettings(max_connections=8, stall_s=STALL_S, spool_dir=state_dir)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(config, on_ready=ready.set_result, machines=agents, stop=stop, api_settings=settings))
        try:
            yield await ready, stop
        finally:
            stop.set()


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    home, state_dir = tmp_path / "home", tmp_path / "state"
    home.mkdir()
    monkeypatch.setattr(atoll.engine.sandbox, "HOME", str(home))
    async with running(state_dir, home) as (ready, stop), aiohttp.ClientSession() as http:
        assert ready.token is not None
        yield Api(ready.url, ready.token, http, stop, state_dir, home)
