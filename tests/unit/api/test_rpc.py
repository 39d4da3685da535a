"""JSON-RPC on the wire: envelopes, both clients' quirks, streams, aborts."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from typing import Any

import aiohttp
import pytest

from atoll.api import quirks
from tests.unit.api.conftest import PYTHON, Api


async def test_envelopes(api: Api) -> None:
    async with api.sandbox() as rpc:
        # The first id of JavaScript is 0, which is no missing one.
        assert await rpc.call("envGet", key="HOME") == {"jsonrpc": "2.0", "id": 0, "result": {"ok": "/home/app"}}
        await rpc.send({"jsonrpc": "2.0", "id": "text", "method": "envSet", "params": {"key": "A", "value": "b"}})
        assert await rpc.answer("text") == {"jsonrpc": "2.0", "id": "text", "result": {"ok": None}}
        await rpc.socket.send_bytes(b'{"jsonrpc":"2.0","id":7,"method":"envGet","params":{"key":"A","unknown":1}}')
        assert (await rpc.answer(7))["result"] == {"ok": "b"}
        await rpc.send({"jsonrpc": "2.0", "id": 8, "method": "envToObject"})
        assert (await rpc.answer(8))["result"]["ok"]["A"] == "b"


async def test_pings(api: Api) -> None:
    async with api.sandbox() as rpc:
        await rpc.socket.send_str("ping")
        assert await rpc.socket.receive_str() == "pong"
    async with api.sandbox(PYTHON) as rpc:
        await rpc.socket.send_str("ping")
        assert await rpc.ok("envGet", key="nothing") is None


async def test_wrong_requests_to_javascript_are_results(api: Api) -> None:
    async with api.sandbox() as rpc:
        assert (await rpc.error("noSuchMethod"))["constructorName"] == "NotSupported"
        error = await rpc.error("readTextFile")
        assert error["constructorName"] == "TypeError" and "path" in error["message"]
        assert (await rpc.error("exposeHttp", domain="x", port=1))["code"] == "NOT_AVAILABLE"
        assert (await rpc.error("vscode", path="/", extensions=[]))["code"] == "NOT_AVAILABLE"
        await rpc.send({"jsonrpc": "2.0", "id": 100})
        assert "error" in (await rpc.answer(100))["result"]


async def test_wrong_requests_to_python_are_protocol_errors(api: Api) -> None:
    async with api.sandbox(PYTHON) as rpc:
        assert (await rpc.call("download", localPath="x"))["error"] == {"code": -32601, "message": "Method not found"}
        error = (await rpc.call("mkdir", path=5, options={"mode": "x"}))["error"]
        assert (error["code"], error["data"]["constructorName"]) == (-32602, "ZodError")
        issues = json.loads(error["data"]["message"])
        assert [issue["path"] for issue in issues] == [["path"], ["options", "mode"]]
        assert all(isinstance(part, str) for issue in issues for part in issue["path"])
        assert all({"expected", "code", "path", "message"} <= set(issue) for issue in issues)
        assert (await rpc.call("mkdir", options=3))["error"]["code"] == -32602
        await rpc.send({"jsonrpc": "2.0", "id": 100, "method": "envGet", "params": [1]})
        assert (await rpc.answer(100))["error"]["code"] == -32602
        await rpc.send({"jsonrpc": "2.0", "id": 101})
        assert (await rpc.answer(101))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("text", "code"),
    [("nonsense", 1007), ("{", 1007), ("[" * 100_000, 1007), ("[]", 1003), ("3", 1003), ('{"id": null}', 1003)],
)
@pytest.mark.parametrize("agent", ["", PYTHON])
async def test_garbage_ends_the_connection(api: Api, text: str, code: int, agent: str) -> None:
    async with api.sandbox(agent) as rpc:
        await rpc.socket.send_str(text)
        assert (await rpc.socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert rpc.socket.close_code == code
    await api.until_stopped(rpc.sandbox_id)


async def test_notifications_that_make_no_sense_are_dropped(api: Api) -> None:
    async with api.sandbox() as rpc:
        senseless: list[Any] = [
            [],
            {},
            {"streamId": "x"},
            {"streamId": -1},
            {"streamId": True},
            {"streamId": 2**60},
            None,
        ]
        for params in senseless:
            for kind in ("start", "enqueue", "end", "error", "cancel"):
                await rpc.send({"jsonrpc": "2.0", "method": f"$sandbox.stream.{kind}", "params": params})
        await rpc.send({"jsonrpc": "2.0", "method": "$sandbox.stream.nonsense", "params": {"streamId": 1}})
        await rpc.notify("cancel", streamId=12345, reason=None)
        await rpc.notify("enqueue", streamId=9, data="%%%")
        assert "base64" in (await rpc.error("writeFile", path="f", contentStreamId=9))["message"]
        assert await rpc.ok("envGet", key="nothing") is None


async def test_surrogates_in_both_directions(api: Api) -> None:
    async with api.sandbox() as rpc:
        await rpc.socket.send_str('{"jsonrpc":"2.0","id":5,"method":"readTextFile","params":{"path":"\\ud800"}}')
        assert "error" in (await rpc.answer(5))["result"]
        (api.home / "bad\udcffname").touch()
        assert [entry["name"] for entry in await rpc.ok("readDir", path=str(api.home))] == ["bad\ufffdname"]


async def test_end_of_file_by_client(api: Api) -> None:
    (api.home / "f").write_bytes(b"x")
    for agent, end in (("", None), (PYTHON, "")):
        async with api.sandbox(agent) as rpc:
            handle = (await rpc.ok("open", path="f"))["fileHandleId"]
            assert await rpc.ok("fileRead", fileHandleId=handle, length=10) == {"data": "eA=="}
            assert await rpc.ok("fileRead", fileHandleId=handle, length=10) == {"data": end}


async def test_listings_by_client(api: Api) -> None:
    (api.home / "f.txt").touch()
    async with api.sandbox(PYTHON) as rpc:
        assert [entry["path"] for entry in await rpc.ok("walk", path=".", options={"includeDirs": False})] == ["f.txt"]
        assert await rpc.ok("expandGlob", glob="*.txt") == [f"{api.home}/f.txt"]
    async with api.sandbox() as rpc:
        answer = await rpc.ok("walk", path=".", includeDirs=False, match=[{"source": "F", "flags": "i"}])
        first, entry, last = await rpc.stream(answer["streamId"])
        assert (first, json.loads(entry)["path"], last) == ("start", "f.txt", "end")
        assert (await rpc.error("walk", path="none"))["code"] == "ENOENT"
        assert (await rpc.error("walk", path=".", match=[{"source": "(", "flags": ""}]))["code"] == "EINVAL"


async def test_output_waits_for_process_wait(api: Api) -> None:
    async with api.sandbox(PYTHON) as rpc:
        started = await rpc.spawn("echo", "out", cwd="/")
        await asyncio.sleep(0.1)
        assert not rpc.kept
        assert (await rpc.ok("processWait", pid=started["pid"]))["code"] == 0
        assert await rpc.stream(started["stdoutStreamId"]) == ["start", b"out\n", "end"]
        assert await rpc.stream(started["stderrStreamId"]) == ["start", "end"]
        assert (await rpc.ok("processWait", pid=started["pid"]))["success"], "a status can be asked for again"


async def test_output_without_process_wait_for_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quirks, "JAVASCRIPT", dataclasses.replace(quirks.JAVASCRIPT, gate_fallback_s=0.05))
    async with api.sandbox() as rpc:
        started = await rpc.spawn("echo", "out")
        assert await rpc.stream(started["stdoutStreamId"]) == ["start", b"out\n", "end"]


async def test_pieces_are_never_empty_nor_over_64_kib(api: Api) -> None:
    async with api.sandbox() as rpc:
        started = await rpc.spawn("head", "-c", "3000000", "/dev/zero")
        await rpc.begin("processWait", pid=started["pid"])
        first, *pieces, last = await rpc.stream(started["stdoutStreamId"])
        assert (first, last, sum(map(len, pieces))) == ("start", "end", 3_000_000)
        assert all(0 < len(piece) <= 64 * 1024 for piece in pieces)


async def test_stdin_before_the_request_that_names_it(api: Api) -> None:
    async with api.sandbox() as rpc:
        await rpc.notify("start", streamId=3)
        await rpc.notify("enqueue", streamId=3, data=base64.b64encode(b"early ").decode())
        started = await rpc.spawn("cat", stdinStreamId=3)
        await rpc.begin("processWait", pid=started["pid"])
        await rpc.notify("enqueue", streamId=3, data=base64.b64encode(b"late").decode())
        await rpc.notify("end", streamId=3)
        first, *pieces, last = await rpc.stream(started["stdoutStreamId"])
        assert (first, b"".join(pieces), last) == ("start", b"early late", "end")
        # The same id again is another stream.
        again = await rpc.spawn("cat", stdinStreamId=3)
        await rpc.notify("end", streamId=3)
        assert (await rpc.ok("processWait", pid=again["pid"]))["code"] == 0


async def test_all_input_is_taken_before_any_output_goes(api: Api) -> None:
    """As Python does it: stdin_data of any size first, processWait after it."""
    piece = base64.b64encode(bytes(60_000)).decode()
    async with api.sandbox(PYTHON) as rpc:
        started = await rpc.spawn("cat", stdinStreamId=1)
        for _ in range(200):
            await rpc.notify("enqueue", streamId=1, data=piece)
        await rpc.notify("end", streamId=1)
        await rpc.begin("processWait", pid=started["pid"])
        first, *pieces, last = await rpc.stream(started["stdoutStreamId"])
        assert (first, sum(map(len, pieces)), last) == ("start", 12_000_000, "end")


async def test_nothing_comes_after_a_cancel(api: Api) -> None:
    async with api.sandbox() as rpc:
        started = await rpc.spawn("yes")
        waiting = await rpc.begin("processWait", pid=started["pid"])
        stream_id = started["stdoutStreamId"]
        await rpc.find(lambda message: message.get("method") == "$sandbox.stream.enqueue")
        await rpc.notify("cancel", streamId=stream_id, reason=None)
        assert (await rpc.answer(waiting))["result"]["ok"]["signal"] == "SIGPIPE"
        rpc.kept.clear()
        await rpc.ok("envGet", key="x")
        assert not [m for m in rpc.kept if m.get("params", {}).get("streamId") == stream_id]


async def test_stream_ids_differ_between_connections(api: Api) -> None:
    async with api.sandbox() as one, api.sandbox() as two:
        ids = [(await rpc.spawn("true"))[key] for rpc in (one, two) for key in ("stdoutStreamId", "stderrStreamId")]
        assert len(set(ids)) == 4
        assert all(0 <= ident < 2**53 for ident in ids)


async def test_aborts(api: Api) -> None:
    async with api.sandbox() as rpc:
        started = await rpc.spawn("mkfifo", "fifo")
        await rpc.ok("processWait", pid=started["pid"])
        reading = await rpc.begin("readFile", path="fifo", abortId=0)
        assert await rpc.ok("abort", abortId=0) is None
        error = (await rpc.answer(reading))["result"]["error"]
        assert (error["constructorName"], error["name"], error["code"]) == ("DOMException", "AbortError", None)
        assert await rpc.ok("abort", abortId=0) is None
        assert await rpc.ok("abort", abortId=12345) is None
        # In the same breath: the request has not even begun.
        requests = [
            {"jsonrpc": "2.0", "id": 90, "method": "readFile", "params": {"path": "fifo", "abortId": 1}},
            {"jsonrpc": "2.0", "id": 91, "method": "abort", "params": {"abortId": 1}},
        ]
        for request in requests:
            await rpc.send(request)
        assert (await rpc.answer(90))["result"]["error"]["name"] == "AbortError"
        assert (await rpc.answer(91))["result"] == {"ok": None}


async def test_an_aborted_write_says_so_and_drops_the_rest(api: Api) -> None:
    async with api.sandbox() as rpc:
        await rpc.notify("start", streamId=1)
        writing = await rpc.begin("writeFile", path="f", contentStreamId=1, abortId=5)
        await rpc.notify("enqueue", streamId=1, data="eA==")
        await rpc.ok("abort", abortId=5)
        assert (await rpc.answer(writing))["result"]["error"]["name"] == "AbortError"
        told = await rpc.find(lambda message: message.get("method") == "$sandbox.stream.cancel")
        assert told["params"]["streamId"] == 1
        await rpc.notify("enqueue", streamId=1, data="eA==")
        await rpc.notify("end", streamId=1)
        await rpc.ok("writeFile", path="f", content="eXk=")
        assert (api.home / "f").read_bytes() == b"yy"


async def test_a_dead_process(api: Api) -> None:
    async with api.sandbox() as rpc:
        started = await rpc.spawn("true")
        await rpc.ok("processWait", pid=started["pid"])
        for pid in (started["pid"], 1, 2**40):
            error = await rpc.error("processKill", pid=pid)
            assert (error["constructorName"], error["code"]) == ("TypeError", "ENOENT")
        assert (await rpc.error("processWait", pid=1))["code"] == "ENOENT"
        assert (await rpc.error("processKill", pid=started["pid"], signal="SIGNONE"))["code"] == "EINVAL"


async def test_file_information(api: Api) -> None:
    (api.home / "f").write_bytes(b"123")
    async with api.sandbox() as rpc:
        info: dict[str, Any] = await rpc.ok("stat", path="f")
    assert info["isFile"] and info["size"] == 3
    flags = ("isFile", "isDirectory", "isSymlink", "isBlockDevice", "isCharDevice", "isFifo", "isSocket")
    assert all(isinstance(info[name], bool) for name in flags)
    assert all(info[name].endswith("Z") for name in ("mtime", "atime", "ctime", "birthtime"))
