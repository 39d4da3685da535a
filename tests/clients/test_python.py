"""The official Python client, unmodified: processes, Deno and the environment, by its asynchronous API."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from deno_sandbox import AsyncDenoDeploy
from deno_sandbox.errors import ProcessAlreadyExited

from tests.clients.conftest import Server
from tests.clients.python_client import CLIENT_LEAKS, many, run, sh

MIB = 1024 * 1024

pytestmark = CLIENT_LEAKS


# -- processes


async def test_spawn(sdk: AsyncDenoDeploy) -> None:
    async with sdk.sandbox.create(env={"A_B": "from create"}) as sandbox:
        out, err, status = await run(sandbox, "sh", "-c", 'echo "$A_B"; pwd; echo bad >&2; exit 3', cwd="/")
        assert (out, err) == (b"from create\n/\n", b"bad\n")
        assert status == {"success": False, "code": 3, "signal": None}
        out, _, _ = await run(sandbox, "/usr/bin/env", env={"only": "this"}, clear_env=True)
        assert out == b"only=this\n"


async def test_a_missing_program_is_not_taken_for_an_ended_process(sandbox: Any) -> None:
    with pytest.raises(Exception, match=r"NotFound.*no-such-program.*ENOENT"):
        await sandbox.spawn("no-such-program")


async def test_200_short_commands_lose_nothing(sandbox: Any) -> None:
    for number in range(200):
        out, _, status = await run(sandbox, "echo", f"line {number}")
        assert (out, status["code"]) == (b"line %d\n" % number, 0)


async def test_many_commands_at_once(sandbox: Any) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(sandbox, "sh", "-c", f"sleep 0.1; echo {number}")) for number in range(40)]
    assert [task.result()[0] for task in tasks] == [b"%d\n" % number for number in range(40)]


@pytest.mark.parametrize("size", [5, 3 * MIB])
async def test_stdin_data(sandbox: Any, size: int) -> None:
    data = os.urandom(size)
    process = await sandbox.spawn("cat", stdin_data=[data], stdout="piped", stderr="piped")
    assert await process.stdout.read() == data
    assert (await process.wait())["code"] == 0
    process = await sandbox.spawn("wc", args=["-c"], stdin_data=many(data, 10_000), stdout="piped", stderr="piped")
    assert int(await process.stdout.read()) == size


async def test_stdin_that_nobody_reads(sandbox: Any) -> None:
    process = await sandbox.spawn("sleep", args=["0.2"], stdin_data=[os.urandom(16 * MIB)], stdout="piped")
    assert (await process.wait())["code"] == 0


async def test_large_output(sandbox: Any) -> None:
    out, _, status = await run(sandbox, "head", "-c", "20000000", "/dev/zero")
    assert (len(out), status["code"]) == (20_000_000, 0)


async def test_kill(sandbox: Any) -> None:
    process = await sandbox.spawn("sleep", args=["100"], stdout="piped", stderr="piped")
    waiting = asyncio.get_running_loop().create_task(process.wait())
    await asyncio.sleep(0)
    await sandbox._rpc.call("processKill", {"pid": process.pid})
    assert await waiting == {"success": False, "code": 143, "signal": "SIGTERM"}
    with pytest.raises(ProcessAlreadyExited):
        await sandbox._rpc.call("processKill", {"pid": process.pid})
    await process.kill()


async def test_output_to_nowhere(sandbox: Any) -> None:
    process = await sandbox.spawn("sh", args=["-c", "echo x; echo y >&2"], stdout="null", stderr="null")
    assert (await process.wait())["code"] == 0


async def test_env(sandbox: Any) -> None:
    await sandbox.env.set("SOME_NAME", "grüße")
    assert await sandbox.env.get("SOME_NAME") == "grüße"
    assert await sh(sandbox, 'printf %s "$SOME_NAME"') == "grüße"
    assert "grüße" in (await sandbox.env.as_dict()).values()
    await sandbox.env.delete("SOME_NAME")
    assert await sandbox.env.get("SOME_NAME") is None


# -- Deno


async def test_deno_run(sandbox: Any) -> None:
    process = await sandbox.deno.run(
        code="console.log((6 as number) * 7, Deno.args[0])", script_args=["arg"], stdout="piped", stderr="piped"
    )
    assert await process.stdout.read() == b"42 arg\n"
    assert (await process.wait())["code"] == 0


async def test_deno_eval_and_repl(sandbox: Any) -> None:
    assert await sandbox.deno.eval("await Promise.resolve(2)") == 2
    async with await sandbox.deno.repl() as repl:
        await repl.eval("const x = 20; function add(a, b) { return a + b }")
        assert await repl.eval("x + 1") == 21
        assert await repl.call("add", [1, 2]) == 3
        with pytest.raises(Exception, match="SyntaxError"):
            await repl.eval("a b c")


async def test_deno_http(sandbox: Any) -> None:
    code = "Deno.serve({port: 0, onListen() {}}, () => new Response('x', {status: 201, headers: {'x-name': 'v'}}))"
    process = await sandbox.deno.run(code=code)
    assert await process.wait_http_ready() is True
    response = await process.fetch("http://anything.test/")
    assert (response.status_code, dict(response.headers)["x-name"]) == (201, "v")
    await process.kill()


async def test_facts_of_the_guest(sandbox: Any, server: Server) -> None:
    if not server.is_real:
        pytest.skip("an agent on this host has this host's users")
    assert await sh(sandbox, "id -un; pwd; sudo id -un") == "app\n/home/app\nroot\n"
    await sandbox.fs.write_text_file("rel.txt", "x")
    assert await sandbox.fs.real_path("rel.txt") == "/home/app/rel.txt"
