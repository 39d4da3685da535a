"""Clients that do harm, by accident or not, and what is left afterwards."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import time

import aiohttp
import psutil
import pytest

from atoll.api import calls
from tests.unit.api.conftest import MAX_SANDBOXES, STALL_S, Api, Rpc, encoded

MIB = 1024 * 1024


def own_memory() -> int:
    return psutil.Process().memory_info().rss


async def test_a_frame_of_100_mb_is_refused_by_its_header(api: Api) -> None:
    async with api.sandbox() as rpc:
        transport = rpc.socket._writer.transport
        before = own_memory()
        # A header that promises 100 MB, and some of it.
        transport.write(b"\x81\xff" + struct.pack("!Q", 100_000_000) + bytes(4) + b"x" * 100_000)
        message = await rpc.socket.receive()
        assert (message.type, rpc.socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1009)
        assert own_memory() - before < 20 * MIB
    await api.until_stopped(rpc.sandbox_id)


async def test_pieces_of_a_message_count_together(api: Api) -> None:
    async with api.sandbox() as rpc:
        transport = rpc.socket._writer.transport
        piece = b"x" * MIB
        transport.write(b"\x01\xff" + struct.pack("!Q", MIB) + bytes(4) + piece)
        for _ in range(70):
            transport.write(b"\x00\xff" + struct.pack("!Q", MIB) + bytes(4) + piece)
            await asyncio.sleep(0)
        assert (await rpc.socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await api.until_stopped(rpc.sandbox_id)


async def raw_socket(api: Api) -> tuple[socket.socket, str]:
    """A WebSocket to a new sandbox on a socket that nobody reads; its id."""
    host, port = api.url.removeprefix("http://").split(":")
    lines = [
        "GET /api/v3/sandboxes/create HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {api.token}",
        f"x-deno-sandbox-config: {encoded({})}",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    sock.setblocking(False)
    await loop.sock_connect(sock, (host, int(port)))
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += await loop.sock_recv(sock, 65536)
    ident = next(line for line in head.decode().splitlines() if line.lower().startswith("x-deno-sandbox-id"))
    return sock, ident.partition(": ")[2]


def frame(text: str) -> bytes:
    data = text.encode()
    return b"\x81" + struct.pack("!BH", 0xFE, len(data)) + bytes(4) + data


async def test_a_client_that_never_reads_is_cut_off(api: Api) -> None:
    sock, sandbox_id = await raw_socket(api)
    with sock:
        loop = asyncio.get_running_loop()
        before, began = own_memory(), time.monotonic()
        spawn = '{"jsonrpc":"2.0","id":1,"method":"spawn","params":{"command":"yes","stdout":"piped","stderr":"null"}}'
        await loop.sock_sendall(sock, frame(spawn))
        answer = b""
        while b'"pid":' not in answer or b"}" not in answer:
            answer += await loop.sock_recv(sock, 4096)
        pid = int(answer.partition(b'"pid":')[2].partition(b",")[0])
        wait = f'{{"jsonrpc":"2.0","id":2,"method":"processWait","params":{{"pid":{pid}}}}}'
        await loop.sock_sendall(sock, frame(wait))
        await api.until_stopped(sandbox_id)
        assert time.monotonic() - began >= STALL_S
        assert own_memory() - before < 20 * MIB


async def test_a_client_that_vanishes_takes_its_session_along(api: Api) -> None:
    sock, sandbox_id = await raw_socket(api)
    loop = asyncio.get_running_loop()
    write = '{"jsonrpc":"2.0","id":1,"method":"writeFile","params":{"path":"f","contentStreamId":1}}'
    await loop.sock_sendall(sock, frame(write))
    enqueue = '{"jsonrpc":"2.0","method":"$sandbox.stream.enqueue","params":{"streamId":1,"data":"eA=="}}'
    await loop.sock_sendall(sock, frame(enqueue))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # with a reset, in the middle of a stream
    await api.until_stopped(sandbox_id)


async def test_a_client_that_floods_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CALLS", 20)
    async with api.sandbox() as rpc:
        started = await rpc.spawn("sleep", "100")
        last = [await rpc.begin("processWait", pid=started["pid"]) for _ in range(30)][-1]
        assert (await rpc.answer(last))["result"]["error"]["code"] == "TOO_MANY_REQUESTS"
        await api.rest("DELETE", f"/api/v3/sandbox/{rpc.sandbox_id}")
        assert (await rpc.answer(5))["result"]["ok"]["code"] == 137


async def test_big_requests_that_are_stuck_do_not_stop_the_rest(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CALL_BYTES", 1_000_000)
    monkeypatch.setattr(calls, "ROOM_WAIT_S", 0.05)
    content = base64.b64encode(bytes(500_000)).decode()
    async with api.sandbox() as rpc:
        made = await rpc.spawn("mkfifo", "fifo")
        await rpc.ok("processWait", pid=made["pid"])
        await rpc.begin("writeFile", path="fifo", content=content)
        assert (await rpc.error("writeFile", path="f", content=content))["code"] == "TOO_MANY_REQUESTS"
        assert await rpc.ok("envGet", key="x") is None


async def test_big_requests_wait_for_each_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_CALL_BYTES", 1_000_000)
    content = base64.b64encode(bytes(500_000)).decode()
    async with api.sandbox() as rpc:
        sent = [await rpc.begin("writeFile", path=f"f{number}", content=content) for number in range(10)]
        for ident in sent:
            assert (await rpc.answer(ident))["result"] == {"ok": None}
    assert sum(path.stat().st_size for path in api.home.glob("f*")) == 5_000_000


async def closing(rpc: Rpc) -> tuple[int, str]:
    """The code and the reason of the close, after whatever comes before it."""
    async with asyncio.timeout(10):
        while (message := await rpc.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    return message.data, str(message.extra)


async def test_killing_answers_everything_first(api: Api) -> None:
    async with api.sandbox() as rpc, api.connected(rpc.sandbox_id) as other:
        started = await rpc.spawn("sleep", "100")
        waiting = await rpc.begin("processWait", pid=started["pid"])
        await rpc.notify("start", streamId=1)
        writing = await rpc.begin("writeFile", path="f", contentStreamId=1)
        fifo = await rpc.spawn("mkfifo", "fifo")
        await rpc.ok("processWait", pid=fifo["pid"])
        reading = await other.begin("readFile", path="fifo")
        await other.ok("envGet", key="x")
        assert (await api.rest("DELETE", f"/api/v3/sandboxes/{rpc.sandbox_id}"))[0] == 204
        status = {"success": False, "code": 137, "signal": "SIGKILL", "oom": None}
        assert (await rpc.answer(waiting))["result"] == {"ok": status}
        assert await rpc.stream(started["stdoutStreamId"]) == ["start", "end"]
        for client, ident in ((rpc, writing), (other, reading)):
            assert (await client.answer(ident))["result"]["error"]["code"] == "SANDBOX_STOPPED"
        for client in (rpc, other):
            assert await closing(client) == (1001, "sandbox ended: killed")


async def test_stopping_the_server_answers_everything_first(api: Api) -> None:
    async with api.sandbox(timeout="5m") as rpc:
        started = await rpc.spawn("sleep", "100")
        waiting = await rpc.begin("processWait", pid=started["pid"])
        await rpc.ok("envGet", key="x")
        api.stop.set()
        assert (await rpc.answer(waiting))["result"]["ok"]["signal"] == "SIGKILL"
        assert await closing(rpc) == (1001, "sandbox ended: the server stopped")


async def test_limits_of_sandboxes_and_of_connections(api: Api) -> None:
    async with api.sandbox() as first, api.sandbox(), api.sandbox():
        status, body = await api.refused({})
        assert (status, body["code"]) == (429, "SANDBOX_CONCURRENCY_LIMIT_EXCEEDED")
        assert str(MAX_SANDBOXES) in body["message"]
        async with (
            api.connected(first.sandbox_id),
            api.connected(first.sandbox_id),
            api.connected(first.sandbox_id),
            api.connected(first.sandbox_id),
            api.connected(first.sandbox_id),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with api.connected(first.sandbox_id):
                    pass
            assert caught.value.status == 503
    async with api.sandbox():
        pass


async def test_lifetimes(api: Api) -> None:
    async with api.sandbox(timeout="5m") as rpc:
        pass
    async with api.connected(rpc.sandbox_id) as again:
        assert await again.ok("envGet", key="ATOLL_SANDBOX_ID") == rpc.sandbox_id
    assert (await api.rest("DELETE", f"/api/v3/sandbox/{rpc.sandbox_id}"))[0] == 204
    async with api.sandbox() as session:
        async with api.connected(session.sandbox_id):
            pass
        assert await session.ok("envGet", key="x") is None
    await api.until_stopped(session.sandbox_id)
