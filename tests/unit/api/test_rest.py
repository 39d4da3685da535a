"""The REST side: tokens, lists, kill and extend, what is not there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from tests.unit.api.conftest import PYTHON, Api, encoded

UNKNOWN = "sbx_ord_00000000000000000000"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/v2/sandboxes", "/api/v3/sandboxes/create", "/api/v2/apps/x"])
@pytest.mark.parametrize("authorization", [None, "Bearer ddo_wrong", "Bearer ", "Basic eDp5", "ddo_wrong"])
async def test_every_address_asks_for_a_token(api: Api, path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with api.http.get(api.url + path, headers=headers) as response:
        body = await response.json()
        assert (response.status, body["code"]) == (401, "INVALID_TOKEN")
        assert response.headers["x-deno-trace-id"]
        assert "wrong" not in body["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("PUT", "/api/v2/sandboxes", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v3/sandboxes/create", 426, "UPGRADE_REQUIRED"),
        ("GET", f"/api/v3/sandbox/{UNKNOWN}/connect", 426, "UPGRADE_REQUIRED"),
        ("DELETE", f"/api/v3/sandbox/{UNKNOWN}", 404, "SANDBOX_NOT_FOUND"),
        ("DELETE", "/api/v3/sandboxes/nonsense", 404, "SANDBOX_NOT_FOUND"),
        ("PATCH", f"/api/v3/sandbox/{UNKNOWN}", 404, "SANDBOX_NOT_FOUND"),
        ("POST", f"/api/v3/sandbox/{UNKNOWN}/expose/http", 404, "SANDBOX_NOT_FOUND"),
        ("GET", "/api/v2/apps", 501, "NOT_AVAILABLE"),
        ("PATCH", "/api/v2/apps/x/y/z", 501, "NOT_AVAILABLE"),
        ("POST", "/api/v2/revisions/x/cancel", 501, "NOT_AVAILABLE"),
        ("GET", "/api/v2/layers", 501, "NOT_AVAILABLE"),
        ("POST", "/api/v2/volumes", 501, "NOT_AVAILABLE"),
        ("GET", "/api/v2/snapshots/x", 501, "NOT_AVAILABLE"),
        ("POST", f"/api/v2/sandboxes/{UNKNOWN}/deploy", 501, "NOT_AVAILABLE"),
        ("GET", "/api/v2/sandboxes?limit=0", 400, "INVALID_CONFIG"),
        ("GET", "/api/v2/sandboxes?limit=x", 400, "INVALID_CONFIG"),
        ("GET", "/api/v2/sandboxes?limit=5&cursor=nonsense", 400, "INVALID_CONFIG"),
        ("GET", "/api/v3/sandboxes?labels=nonsense", 400, "INVALID_CONFIG"),
    ],
)
async def test_refusals(api: Api, method: str, path: str, status: int, code: str) -> None:
    found, body = await api.rest(method, path)
    assert (found, body["code"]) == (status, code)
    assert isinstance(body["message"], str) and body["message"]


async def test_what_is_exposed_later(api: Api) -> None:
    async with api.sandbox() as rpc:
        for what in ("http", "ssh", "vscode"):
            status, body = await api.rest("POST", f"/api/v3/sandbox/{rpc.sandbox_id}/expose/{what}", json={})
            assert (status, body["code"]) == (501, "NOT_AVAILABLE")


async def test_configs(api: Api) -> None:
    status, body = await api.refused({"memoryMb": 5})
    assert (status, body["code"]) == (400, "INVALID_CONFIG")
    assert "memoryMb" in body["message"] and "memory_mb" in body["message"]
    assert (await api.refused("%%%"))[0] == 400
    # 200 KB of header pass; more than 256 KiB do not, and are refused by the parser.
    async with api.sandbox(env={"BIG": "x" * 100_000, "MORE": "y" * 40_000}) as rpc:
        assert len(await rpc.ok("envGet", key="BIG")) == 100_000
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with api.sandbox(env={"A": "x" * 100_000, "B": "y" * 120_000}):
            pass
    assert caught.value.status in (400, 431)


async def test_headers_of_the_upgrade(api: Api) -> None:
    async with api.sandbox(PYTHON) as rpc:
        assert rpc.sandbox_id.startswith("sbx_ord_")
        headers: Any = rpc.socket._response.headers
        assert headers["x-deno-trace-id"]
        assert "Sec-WebSocket-Extensions" not in headers
        async with api.connected(rpc.sandbox_id) as other:
            assert other.sandbox_id == rpc.sandbox_id


async def test_the_list_and_its_pages(api: Api) -> None:
    created: list[str] = []
    for number in range(5):
        async with api.sandbox(labels={"even": str(number % 2 == 0), "n": str(number)}) as rpc:
            created.insert(0, rpc.sandbox_id)
        await api.until_stopped(rpc.sandbox_id)
    _, everything = await api.rest("GET", "/api/v3/sandboxes")
    assert [item["id"] for item in everything] == created
    assert set(everything[0]) == {"id", "createdAt", "stoppedAt", "region", "status", "labels"}
    path, seen = "/api/v2/sandboxes?limit=2&labels[even]=True", []
    while path:
        headers = {"Authorization": f"Bearer {api.token}"}
        async with api.http.get(api.url + path, headers=headers) as response:
            seen += [item["id"] for item in await response.json()]
            link = response.headers.get("Link")
        path = ""
        if link is not None:
            url, rel = link.split(";")
            assert rel == ' rel="next"' and url.startswith(f"<{api.url}/") and "," not in url
            path = url.strip("<>").removeprefix(api.url)
    assert seen == created[::2]


async def test_a_cursor_that_is_a_url(api: Api) -> None:
    for _ in range(3):
        async with api.sandbox() as rpc:
            pass
        await api.until_stopped(rpc.sandbox_id)
    headers = {"Authorization": f"Bearer {api.token}"}
    async with api.http.get(f"{api.url}/api/v3/sandboxes?limit=2", headers=headers) as response:
        link = response.headers["Link"].partition(">")[0].strip("<")
    # As Python does it: the whole URL, after a cursor of its caller's.
    async with api.http.get(
        f"{api.url}/api/v3/sandboxes", headers=headers, params=[("cursor", "5"), ("cursor", link), ("limit", "2")]
    ) as response:
        assert len(await response.json()) == 1


async def test_kill_is_the_same_at_both_addresses_and_twice(api: Api) -> None:
    for place in ("sandbox", "sandboxes"):
        async with api.sandbox() as rpc:
            path = f"/api/v3/{place}/{rpc.sandbox_id}"
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(api.rest("DELETE", path)) for _ in range(3)]
            assert [answer.result() for answer in answers] == [(204, None)] * 3
            assert await api.rest("DELETE", path) == (204, None)
            _, [item, *_] = await api.rest("GET", "/api/v3/sandboxes")
            assert (item["id"], item["status"]) == (rpc.sandbox_id, "stopped")


async def test_extend(api: Api) -> None:
    async with api.sandbox(timeout="1m") as rpc:
        path, now = f"/api/v3/sandbox/{rpc.sandbox_id}", int(time.time() * 1000)
        assert await api.rest("PATCH", path, json={"stop_at_ms": now + 600_000}) == (200, {"stop_at_ms": now + 600_000})
        status, body = await api.rest("PATCH", path, json={"stop_at_ms": now + 10**9})
        assert status == 200 and abs(body["stop_at_ms"] - now - 1_800_000) < 10_000
        wrong_bodies: list[Any] = [
            {"stop_at_ms": now - 1},
            {"stop_at_ms": "soon"},
            {},
            {"stop_at_ms": 1e300},
            {"x": 1},
            [],
        ]
        for wrong in wrong_bodies:
            status, body = await api.rest("PATCH", path, json=wrong)
            assert (status, body["code"]) == (400, "INVALID_CONFIG")
        assert (await api.rest("PATCH", path, data=b"\xff" * 100))[0] == 400
        assert (await api.rest("PATCH", path, data=b"x" * 1_000_000))[0] == 413
        await api.rest("DELETE", path)


async def test_a_stopped_sandbox(api: Api) -> None:
    async with api.sandbox() as rpc:
        pass
    await api.until_stopped(rpc.sandbox_id)
    status, body = await api.rest("PATCH", f"/api/v3/sandbox/{rpc.sandbox_id}", json={"stop_at_ms": 2**50})
    assert (status, body["code"]) == (410, "SANDBOX_STOPPED")
    assert "session ended" in body["message"]
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with api.connected(rpc.sandbox_id):
            pass
    assert caught.value.status == 410


async def test_no_token_and_no_config_in_the_log(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    async with api.sandbox(env={"KEY": "hush-hush"}) as rpc:
        await rpc.ok("envSet", key="OTHER", value="hush-hush")
        await rpc.error("readFile", path="none")
    await api.refused({"env": {"KEY": ["hush-hush"]}})
    await api.rest("GET", "/api/v2/sandboxes", headers={"Authorization": "Bearer hush-hush"})
    logged = "".join(capfd.readouterr())
    assert rpc.sandbox_id in logged
    assert "hush" not in logged and api.token not in logged and encoded({}) not in logged
