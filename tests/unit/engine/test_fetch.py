"""Requests from inside the sandbox: the guest's program against real servers on this host's loopback."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from atoll.engine import Process, Sandbox
from atoll.engine.fetch import FetchResponse, fetch
from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound
from atoll.model.process import SpawnSpec

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TEXT = b"hello, " * 30_000


async def echo(request: web.Request) -> web.Response:
    seen = {
        "method": request.method,
        "path": request.raw_path,
        "headers": [[name, value] for name, value in request.headers.items()],
        "body": (await request.read()).decode(),
    }
    response = web.json_response(seen, status=207)
    response.headers.add("Set-Cookie", "a=1")
    response.headers.add("Set-Cookie", "b=2")
    return response


async def coded(request: web.Request) -> web.Response:
    coding = request.match_info["coding"]
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(TEXT),
        "deflate": zlib.compress(TEXT),
        "raw": raw.compress(TEXT) + raw.flush(),
        "br": b"as it is",
        "cut": gzip.compress(TEXT)[:-200],
    }
    name = {"raw": "deflate", "cut": "gzip"}.get(coding, coding)
    return web.Response(body=bodies[coding], headers={"Content-Encoding": name})


async def redirect(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]), headers={"Location": request.query["to"]})


async def loop(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/loop"})


async def cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"half")
    assert request.transport is not None
    request.transport.abort()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(65536))


@pytest.fixture
async def server() -> AsyncIterator[BaseTestServer]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/coded/{coding}", coded)
    app.router.add_route("*", "/redirect/{status}", redirect)
    app.router.add_get("/status/{status}", status_only)
    app.router.add_get("/loop", loop)
    app.router.add_get("/cut", cut_short)
    app.router.add_get("/endless", endless)
    async with TestServer(app) as server:
        yield server


async def status_only(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]), reason="Its Reason")


async def body_of(response: FetchResponse) -> bytes:
    assert response.body is not None
    return b"".join([chunk async for chunk in response.body])


async def seen_by(response: FetchResponse) -> dict[str, Any]:
    assert response.status == 207
    seen: dict[str, Any] = json.loads(await body_of(response))
    return seen


async def test_a_request(guest: Sandbox, server: BaseTestServer) -> None:
    url = str(server.make_url("/echo")) + "?q=1#fragment"
    response = await fetch(guest, url, "PATCH", [("X-One", "1"), ("X-One", "2")], "follow", stream(b"bo", b"dy"), None)
    assert response.text == "Multi-Status"
    assert [value for name, value in response.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert dict(response.headers)["content-type"].startswith("application/json")
    seen = await seen_by(response)
    assert (seen["method"], seen["path"], seen["body"]) == ("PATCH", "/echo?q=1", "body")
    assert [value for name, value in seen["headers"] if name.lower() == "x-one"] == ["1", "2"]


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_large_body_each_way(guest: Sandbox, server: BaseTestServer) -> None:
    chunk = b"x" * 1_000_000
    response = await fetch(guest, str(server.make_url("/echo")), "POST", body=stream(*[chunk] * 8))
    assert len((await seen_by(response))["body"]) == 8_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
async def test_codings_are_undone(guest: Sandbox, server: BaseTestServer, coding: str) -> None:
    response = await fetch(guest, str(server.make_url(f"/coded/{coding}")))
    assert not {"content-encoding", "content-length"} & {name for name, _ in response.headers}
    assert await body_of(response) == TEXT


async def test_a_coding_that_we_do_not_know_is_left_alone(guest: Sandbox, server: BaseTestServer) -> None:
    response = await fetch(guest, str(server.make_url("/coded/br")))
    assert dict(response.headers)["content-encoding"] == "br" and await body_of(response) == b"as it is"


@pytest.mark.parametrize("path", ["/cut", "/coded/cut"])
async def test_a_body_that_is_cut_short(guest: Sandbox, server: BaseTestServer, path: str) -> None:
    response = await fetch(guest, str(server.make_url(path)))
    with pytest.raises(GuestError, match="before its body was complete"):
        await body_of(response)


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [(301, "POST", "GET", ""), (302, "PUT", "PUT", "b"), (303, "PUT", "GET", ""), (307, "POST", "POST", "b")],
)
async def test_redirects(
    guest: Sandbox, server: BaseTestServer, status: int, method: str, then: str, body: str
) -> None:
    url = str(server.make_url(f"/redirect/{status}").with_query(to="../echo?x=1"))
    secret = [("Authorization", "s"), ("Content-Type", "text/x")]
    seen = await seen_by(await fetch(guest, url, method, secret, "follow", stream(b"b")))
    assert (seen["method"], seen["path"], seen["body"]) == (then, "/echo?x=1", body)
    names = {name.lower() for name, _ in seen["headers"]}
    assert "authorization" in names and ("content-type" in names) == bool(body)
    response = await fetch(guest, url, method, redirect="manual")
    assert response.status == status and dict(response.headers)["location"] == "../echo?x=1"


async def test_credentials_do_not_follow_to_another_origin(guest: Sandbox, server: BaseTestServer) -> None:
    other = f"http://localhost:{server.port}/echo"
    url = str(server.make_url("/redirect/302").with_query(to=other))
    seen = await seen_by(await fetch(guest, url, headers=[("Authorization", "s"), ("Cookie", "c"), ("X", "y")]))
    names = {name.lower() for name, _ in seen["headers"]}
    assert "x" in names and not {"authorization", "cookie"} & names


async def test_redirects_without_an_end(guest: Sandbox, server: BaseTestServer) -> None:
    with pytest.raises(GuestError, match="more than 20 redirects"):
        await fetch(guest, str(server.make_url("/loop")))


async def test_responses_without_a_body(guest: Sandbox, server: BaseTestServer) -> None:
    for status in (204, 205, 304):
        assert (await fetch(guest, str(server.make_url(f"/status/{status}")))).body is None
    assert (await fetch(guest, str(server.make_url("/coded/gzip")), "HEAD")).body is None
    response = await fetch(guest, str(server.make_url("/status/404")))
    assert (response.status, response.text) == (404, "Its Reason")
    assert await body_of(response) == b""


async def test_a_body_that_is_not_read(guest: Sandbox, server: BaseTestServer) -> None:
    response = await fetch(guest, str(server.make_url("/endless")))
    assert response.body is not None and await response.body.read()
    response.body.cancel()
    response.body.cancel()
    async with asyncio.timeout(10):
        while guest.processes:
            await guest.processes[0].wait()


async def test_no_response(guest: Sandbox, unused_tcp_port: int) -> None:
    with pytest.raises(GuestError, match="refused") as caught:
        await fetch(guest, f"http://127.0.0.1:{unused_tcp_port}/")
    assert caught.value.errno_name == "ECONNREFUSED"
    with pytest.raises(GuestError):
        await fetch(guest, "http://[::1/")
    with pytest.raises(GuestError):
        await fetch(guest, "http:///nowhere")


async def test_wrong_requests(guest: Sandbox) -> None:
    async def refused(url: str = "http://x/", **options: Any) -> None:
        with pytest.raises(InvalidSpec):
            await fetch(guest, url, **options)

    await refused("ftp://x/")
    await refused("file:///etc/passwd")
    await refused("http://x/" + "y" * 100_000)
    await refused(method="GET /")
    await refused(redirect="error")
    await refused(headers=[("a b", "c")])
    await refused(headers=[("a", "b\r\nHost: c")])
    await refused(headers=[("a", "b")] * 501)
    assert not guest.processes


async def test_a_body_that_fails_is_never_sent(guest: Sandbox, server: BaseTestServer) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fetch(guest, str(server.make_url("/echo")), "POST", body=failing())
    async with asyncio.timeout(10):
        for process in guest.processes:
            assert (await process.wait()).signal == "SIGKILL"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_server_of_a_process(guest: Sandbox, tmp_path: Path, host: str) -> None:
    serve = (
        "import http.server, sys, socket\n"
        "class S(http.server.HTTPServer): address_family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "S((sys.argv[1], 0), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    (tmp_path / "file.txt").write_text("of the process")
    process = await guest.spawn(
        SpawnSpec(("python3", "-c", serve, host), cwd=str(tmp_path), stdout=False, stderr=False)
    )
    assert await guest.deno.wait_http(process.pid)
    response = await fetch(guest, "https://example.com/file.txt", pid=process.pid)
    assert response.status == 200 and await body_of(response) == b"of the process"
    await process.signal("SIGKILL")
    await process.wait()
    with pytest.raises(ProcessNotFound):
        await fetch(guest, "http://x/", pid=process.pid)


async def test_a_process_that_does_not_listen(guest: Sandbox) -> None:
    process = await guest.spawn(SpawnSpec(("sleep", "100"), cwd="/"))
    with pytest.raises(GuestError, match="listens on no TCP port"):
        await fetch(guest, "http://x/", pid=process.pid)
    with pytest.raises(ProcessNotFound):
        await fetch(guest, "http://x/", pid=1)


class HostileGuest:
    """A sandbox whose fetch program answers `output` instead."""

    def __init__(self, guest: Sandbox, command: str) -> None:
        self._guest, self._command = guest, command

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    async def run_helper(self, method: str, params: dict[str, Any]) -> Process:
        return await self._guest.spawn(SpawnSpec(("sh", "-c", self._command), stdin=True, cwd="/"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("true", "no answer"),
        ("cat /dev/zero", "head is too large"),
        ("echo nonsense", "cannot be read"),
        ("echo []", "cannot be read"),
        ("head -c 100000 /dev/zero | tr '\\0' '['; echo", "cannot be read"),
        ('echo \'{"error": {"a": 1}}\'', "^$"),
        ('echo \'{"status": 999, "text": "", "headers": []}\'', "999"),
        ('echo \'{"status": "200", "text": "", "headers": []}\'', "200"),
        ("echo '{\"status\": 200}'", "no headers"),
        ('echo \'{"status": 200, "headers": [["a\\\\r\\\\n", "b"]]}\'', "not allow"),
        ('echo \'{"status": 200, "headers": [["a", "b\\\\u0000"]]}\'', "not allow"),
        ('echo \'{"status": 200, "headers": [["a", "b", "c"]]}\'', "not allow"),
        ('echo \'{"status": 200, "headers": [7]}\'', "not allow"),
    ],
)
async def test_a_hostile_guest(guest: Sandbox, command: str, message: str) -> None:
    with pytest.raises(GuestError, match=message):
        await fetch(HostileGuest(guest, command), "http://x/")
    async with asyncio.timeout(10):
        for process in guest.processes:
            await process.wait()
