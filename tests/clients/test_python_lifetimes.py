"""The official Python client, unmodified: lifetimes, lists, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import websockets
from deno_sandbox import AsyncDenoDeploy, HTTPStatusError
from deno_sandbox.errors import AuthenticationError

from tests.clients.python_client import CLIENT_LEAKS, close, sh

pytestmark = CLIENT_LEAKS


async def until_stopped(sdk: AsyncDenoDeploy, labels: dict[str, str]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while True:
        items: Any = (await sdk.sandbox.list(labels=labels)).items
        if all(item["status"] == "stopped" for item in items) or time.monotonic() > deadline:
            return list(items)
        await asyncio.sleep(0.05)


async def test_a_session_and_its_record(sdk: AsyncDenoDeploy) -> None:
    labels = {"test": f"py-{time.time_ns()}", "k, x;": "v'w"}
    async with sdk.sandbox.create(labels=labels, timeout="session") as sandbox:
        listed: Any = await sdk.sandbox.list(labels=labels)
        assert [(item["id"], item["status"], item["labels"]["test"]) for item in listed.items] == [
            (sandbox.id, "running", labels["test"])
        ]
        assert not listed.has_more
    [stopped] = await until_stopped(sdk, labels)
    assert (stopped["id"], stopped["status"]) == (sandbox.id, "stopped")
    assert stopped["stopped_at"] >= stopped["created_at"]
    with pytest.raises(websockets.exceptions.InvalidStatus, match="410"):
        async with sdk.sandbox.connect(sandbox.id):
            pass


async def test_connect_to_a_duration(sdk: AsyncDenoDeploy) -> None:
    async with sdk.sandbox.create(timeout="60s") as sandbox:
        await sandbox.fs.write_text_file("shared", "yes")
    async with sdk.sandbox.connect(sandbox.id) as again:
        assert await again.fs.read_text_file("shared") == "yes"
        await again.kill()


async def test_a_deadline_answers_who_waits(sdk: AsyncDenoDeploy) -> None:
    async with sdk.sandbox.create(timeout="2s") as sandbox:
        process = await sandbox.spawn("sleep", args=["100"], stdout="piped", stderr="piped")
        async with asyncio.timeout(20):
            assert await process.wait() == {"success": False, "code": 137, "signal": "SIGKILL"}
            assert await process.stdout.read() == b""


async def test_kill_answers_who_waits(sdk: AsyncDenoDeploy) -> None:
    async with sdk.sandbox.create() as sandbox:
        process = await sandbox.spawn("sleep", args=["100"], stdout="piped", stderr="piped")
        waiting = asyncio.get_running_loop().create_task(process.wait())
        await asyncio.sleep(0.05)
        await sandbox.kill()
        async with asyncio.timeout(20):
            assert (await waiting)["signal"] == "SIGKILL"
            assert await process.stdout.read() == b""


async def test_extend(sdk: AsyncDenoDeploy) -> None:
    async with sdk.sandbox.create(timeout="3s") as sandbox:
        until = await sandbox.extend_timeout(300)
        assert abs((until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds() - 300) < 10
        await asyncio.sleep(3.5)
        assert await sh(sandbox, "echo alive") == "alive\n"
        await sandbox.kill()


async def test_wrong_token(sdk: AsyncDenoDeploy) -> None:
    other = AsyncDenoDeploy({"token": "ddo_wrong"})
    try:
        await refused_everywhere(other)
    finally:
        await close(other)


async def refused_everywhere(sdk: AsyncDenoDeploy) -> None:
    with pytest.raises(AuthenticationError):
        async with sdk.sandbox.create():
            pass
    with pytest.raises(HTTPStatusError) as caught:
        await sdk.sandbox.list()
    assert (caught.value.status_code, caught.value.code) == (401, "INVALID_TOKEN")
    assert caught.value.trace_id


async def test_the_limit_of_sandboxes(sdk: AsyncDenoDeploy) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(websockets.exceptions.InvalidStatus, match="429"):
            for _ in range(100):
                await stack.enter_async_context(sdk.sandbox.create())


@pytest.mark.parametrize(
    "options",
    [
        {"memory_mb": 100},
        {"labels": {str(number): "x" for number in range(6)}},
        {"timeout": "soon"},
        {"timeout": "31m"},
        {"region": "nowhere"},
        {"env": {"A=B": "x"}},
        {"allow_net": ["example.com"]},
        {"secrets": {"KEY": {"hosts": ["example.com"], "value": "v"}}},
        {"volumes": {"/data": "vol"}},
        {"root": "snap"},
        {"ssh": True},
        {"port": 8000},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_refused_configs(sdk: AsyncDenoDeploy, options: dict[str, Any]) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus, match="400") as caught:
        async with sdk.sandbox.create(**options):
            pass
    body = caught.value.response.body.decode()
    assert next(iter(options)) in body or "labels" in body


async def test_what_is_not_built(sdk: AsyncDenoDeploy, sandbox: Any) -> None:
    with pytest.raises(HTTPStatusError) as caught:
        await sandbox.expose_http(port=8000)
    assert (caught.value.status_code, caught.value.code) == (501, "NOT_AVAILABLE")
    with pytest.raises(HTTPStatusError, match="SSH"):
        await sandbox.expose_ssh()
    for call in (sdk.volumes.list(), sdk.snapshots.list(), sdk.apps.list(), sdk.layers.list()):
        with pytest.raises(HTTPStatusError, match="501"):
            await call
    with pytest.raises(httpx.HTTPStatusError, match="501"):
        await sandbox.deno.deploy("app")


async def test_unknown_sandbox(sdk: AsyncDenoDeploy) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus, match="404"):
        async with sdk.sandbox.connect("sbx_ord_00000000000000000000"):
            pass
