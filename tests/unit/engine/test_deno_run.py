"""Scripts, watch mode and HTTP readiness, on a real Deno."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.engine import Sandbox
from atoll.engine.deno import MAX_ARGUMENT_BYTES, MAX_CODE_BYTES, DenoProcess
from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound

ECHO = "console.log(JSON.stringify([Deno.args, Deno.cwd()]))"
SERVE = "Deno.serve({port: 0, hostname: '127.0.0.1', onListen() {}}, () => new Response('hi'));"


async def output_of(deno: DenoProcess) -> str:
    assert deno.process.stdout is not None
    output = await deno.process.stdout.read_all(1_000_000)
    assert output is not None and (await deno.process.wait()).success
    return output.decode()


async def test_an_entrypoint(guest: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "main.ts").write_text(f"const n: number = 1; {ECHO}")
    deno = await guest.deno.run(entrypoint="main.ts", script_args=["--help", "--", "x"], cwd=str(tmp_path))
    assert deno.restarts is None
    assert await output_of(deno) == f'[["--help","--","x"],"{tmp_path}"]\n'
    (tmp_path / "-dash.ts").write_text("console.log('dash', Deno.permissions.querySync({name: 'net'}).state)")
    assert await output_of(await guest.deno.run(entrypoint="-dash.ts", cwd=str(tmp_path))) == "dash granted\n"


@pytest.mark.parametrize("extension", ["js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"])
async def test_code(guest: Sandbox, tmp_path: Path, extension: str) -> None:
    deno = await guest.deno.run(code=ECHO, extension=extension, script_args=["-A", "--", "x"], cwd=str(tmp_path))
    assert await output_of(deno) == f'[["-A","--","x"],"{tmp_path}"]\n'


async def test_code_is_a_module_in_the_working_directory(guest: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "m.ts").write_text("export const x: string = 'imported'")
    (tmp_path / "deno.json").write_text('{"imports": {"mapped": "./m.ts"}}')
    code = "import { x } from './m.ts'; import { x as y } from 'mapped'; await 0; console.log(x, y, import.meta.main)"
    assert await output_of(await guest.deno.run(code=code, cwd=str(tmp_path))) == "imported imported true\n"
    long = f"{code}\n// {'x' * MAX_ARGUMENT_BYTES}"
    assert await output_of(await guest.deno.run(code=long, cwd=str(tmp_path))) == "imported imported true\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"m.ts", "deno.json", "deno", "deno.lock"}


async def test_code_with_stdin(guest: Sandbox, tmp_path: Path) -> None:
    code = "console.log((await new Response(Deno.stdin.readable).text()).toUpperCase())"
    deno = await guest.deno.run(code=code, cwd=str(tmp_path), stdin=True)
    assert deno.process.stdin is not None
    await deno.process.stdin.write(b"abc")
    deno.process.stdin.close()
    assert await output_of(deno) == "ABC\n"
    assert await output_of(await guest.deno.run(code=code, cwd=str(tmp_path))) == "\n"


async def test_code_that_begins_with_a_dash_or_is_empty(guest: Sandbox, tmp_path: Path) -> None:
    assert await output_of(await guest.deno.run(code="-1; console.log(2)", cwd=str(tmp_path))) == "2\n"
    assert await output_of(await guest.deno.run(code="", cwd=str(tmp_path))) == ""


async def test_options_of_deno_run(guest: Sandbox, tmp_path: Path) -> None:
    deno = await guest.deno.run(
        code="console.log(location.href)", extra_args=["--location=http://x/"], cwd=str(tmp_path)
    )
    assert await output_of(deno) == "http://x/\n"


async def test_the_environment(guest: Sandbox, tmp_path: Path) -> None:
    code = "console.log(Deno.env.get('A'), Deno.env.get('NO_COLOR'))"
    assert await output_of(await guest.deno.run(code=code, env={"A": "1"}, cwd=str(tmp_path))) == "1 1\n"
    env = {"A": "2", "PATH": guest.environment.to_dict()["PATH"]}
    assert (
        await output_of(await guest.deno.run(code=code, env=env, clear_env=True, cwd=str(tmp_path))) == "2 undefined\n"
    )


async def test_wrong_requests(guest: Sandbox) -> None:
    for wrong in (
        {},
        {"code": "1", "entrypoint": "x"},
        {"code": "1", "extension": "py"},
        {"code": "1", "watch": True},
        {"entrypoint": "x.ts", "watch": ["a,b"]},
        {"code": "x" * (MAX_ARGUMENT_BYTES + 1), "stdin": True},
        {"code": "x" * (MAX_CODE_BYTES + 1)},
        {"code": "\0"},
    ):
        with pytest.raises(InvalidSpec):
            await guest.deno.run(**wrong)


async def test_code_for_a_deno_that_does_not_start(guest: Sandbox, tmp_path: Path) -> None:
    code = "//" + "x" * 1_000_000
    with pytest.raises(GuestError, match="cannot start 'deno'"):
        await guest.deno.run(code=code, env={"PATH": "/nowhere"}, cwd=str(tmp_path))
    deno = await guest.deno.run(code=code, extra_args=["--no-such-option"], cwd=str(tmp_path))
    assert not (await deno.process.wait()).success


async def test_watching(guest: Sandbox, tmp_path: Path) -> None:
    main, extra = tmp_path / "main.ts", tmp_path / "extra.txt"
    extra.write_text("0")
    main.write_text("console.log('one'); setTimeout(() => {}, 1e6)")
    deno = await guest.deno.run(entrypoint="main.ts", watch=[str(extra)], cwd=str(tmp_path))
    assert deno.restarts is not None and deno.process.stdout is not None
    restarts = aiter(deno.restarts)
    assert await deno.process.stdout.read() == b"one\n"
    script = "console.log('two'); console.error('Restarting! File change detected'); setTimeout(() => {}, 1e6)"
    await restarted(restarts, main, script)
    assert await deno.process.stdout.read() == b"two\n"
    await restarted(restarts, extra, "1")
    await deno.process.signal("SIGKILL")
    assert len([None async for _ in restarts]) < 10
    assert not list(tmp_path.glob("atoll-watch-*"))


async def restarted(restarts: AsyncIterator[None], path: Path, text: str) -> None:
    """Change a file until Deno notices: it does not say when it has begun to watch one."""

    async def change() -> None:
        for number in range(100):
            path.write_text(f"{text}\n// {number}")
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        changing = group.create_task(change())
        await anext(restarts)
        changing.cancel()


async def test_restarts_that_nobody_awaits(guest: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "main.ts").write_text("setTimeout(() => {}, 1e6)")
    deno = await guest.deno.run(entrypoint="main.ts", watch=True, cwd=str(tmp_path))
    await deno.process.signal("SIGKILL")
    assert (await deno.process.wait()).signal == "SIGKILL"


async def test_waiting_for_http(guest: Sandbox, tmp_path: Path) -> None:
    deno = await guest.deno.run(code=SERVE, cwd=str(tmp_path))
    assert await guest.deno.wait_http(deno.process.pid) is True
    assert await guest.deno.wait_http(deno.process.pid) is True
    node = "import { createServer } from 'node:http'; createServer((q, r) => r.end('hi')).listen(0)"
    deno = await guest.deno.run(code=node, cwd=str(tmp_path))
    assert await guest.deno.wait_http(deno.process.pid) is True


async def test_waiting_for_http_that_never_comes(guest: Sandbox, tmp_path: Path) -> None:
    deno = await guest.deno.run(code="", cwd=str(tmp_path))
    assert await guest.deno.wait_http(deno.process.pid) is False
    assert await guest.deno.wait_http(deno.process.pid) is False
    with pytest.raises(ProcessNotFound):
        await guest.deno.wait_http(1)


async def test_waiting_for_http_ends_with_the_sandbox(guest: Sandbox, tmp_path: Path) -> None:
    deno = await guest.deno.run(code="setTimeout(() => Deno.exit(), 3000)", cwd=str(tmp_path))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(guest.deno.wait_http(deno.process.pid))
        await asyncio.sleep(0.05)
        await deno.process.signal("SIGKILL")
    assert waiting.result() is False


async def test_a_repl_can_serve_too(guest: Sandbox, tmp_path: Path) -> None:
    repl = await guest.deno.start_repl(cwd=str(tmp_path))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(guest.deno.wait_http(repl.process.pid))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await guest.deno.repl_eval(repl.process.pid, f"const server = {SERVE} server.addr.port")
    assert waiting.result() is True
    await guest.deno.repl_close(repl.process.pid)
