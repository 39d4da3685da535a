"""The asynchronous sandbox in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.embedded.conftest import Host

from atoll import AsyncSandbox
from atoll.embedded.shared_engine import Machines
from atoll.model.errors import (
    GuestError,
    InvalidSpec,
    LaunchFailed,
    LimitReached,
    NotAvailable,
    SandboxStopped,
    ScriptError,
)


@pytest.fixture
async def sandbox(options: dict[str, Any]) -> AsyncIterator[AsyncSandbox]:
    async with AsyncSandbox.create(labels={"a": "b"}, **options) as sandbox:
        yield sandbox


async def test_a_life(options: dict[str, Any], host: Host) -> None:
    async with AsyncSandbox.create(region="ams", **options) as sandbox:
        assert sandbox.id.startswith("sbx_ams_") and not sandbox.closed and sandbox.accelerator == "none"
        assert sandbox.url is None and sandbox.ssh is None
        process = await sandbox.spawn("sh", args=["-c", "echo out; echo err >&2; exit 3"], cwd="/", **PIPED)
        assert await process.stdout.read() == b"out\n"
        assert await process.stderr.read() == b"err\n"
        assert await process.wait() == {"success": False, "code": 3, "signal": None, "oom": False}
        assert process.returncode == 3 and process.pid > 0
    assert sandbox.closed and host.all_ended
    with pytest.raises(SandboxStopped, match="killed"):
        await sandbox.spawn("true")


PIPED: dict[str, Any] = {"stdout": "piped", "stderr": "piped"}


async def test_sandboxes_share_one_engine(options: dict[str, Any], host: Host) -> None:
    async with AsyncSandbox.create(**options):
        async with AsyncSandbox.create(**options), AsyncSandbox.create(**options):
            with pytest.raises(LimitReached, match="the limit of 3"):
                async with AsyncSandbox.create(**options):
                    raise AssertionError
        async with AsyncSandbox.create(**options):
            assert (host.entered, host.left) == (1, 0)
    assert (host.entered, host.left) == (1, 1) and len(host.agents.made) == 4 and host.all_ended
    async with AsyncSandbox.create(**options):
        assert host.entered == 2


async def test_many_tasks_create_and_leave(options: dict[str, Any], host: Host) -> None:
    async def use() -> None:
        for _ in range(3):
            async with AsyncSandbox.create(**options) as sandbox:
                assert (await (await sandbox.spawn("true", cwd="/")).wait())["success"]

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(use())
    assert len(host.agents.made) == 9 and host.all_ended


async def test_a_block_that_raises_or_is_cancelled(options: dict[str, Any], host: Host) -> None:
    with pytest.raises(KeyError):
        async with AsyncSandbox.create(**options) as sandbox:
            raise KeyError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            async with AsyncSandbox.create(**options) as sandbox:
                await (await sandbox.spawn("sleep", args=["100"], cwd="/")).stdin.close()
                await asyncio.sleep(100)
    assert host.all_ended


async def test_machines_that_cannot_be_had(host: Host) -> None:
    class Failing:
        image_digest = "sha256:none"

        async def acquire(self, memory_mib: int, vcpus: int) -> Any:
            raise LaunchFailed("QEMU did not start")

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def failing() -> AsyncIterator[Machines]:
        yield Machines(Failing())

    @asynccontextmanager
    async def absent() -> AsyncIterator[Machines]:
        raise LaunchFailed("there is no QEMU")
        yield

    for machines, message in ((failing, "did not start"), (absent, "no QEMU")):
        for _ in range(2):
            with pytest.raises(LaunchFailed, match=message):
                async with AsyncSandbox.create(machines=machines):
                    raise AssertionError


@pytest.mark.parametrize(
    "option",
    [
        {"allow_net": []},
        {"secrets": {"A": {"hosts": ["x"], "value": "v"}}},
        {"volumes": {"/v": "slug"}},
        {"root": "snapshot"},
        {"ssh": True},
        {"port": 8080},
    ],
    ids=lambda option: next(iter(option)),
)
async def test_what_is_not_built_is_refused(host: Host, option: dict[str, Any]) -> None:
    with pytest.raises(NotAvailable, match=next(iter(option))):
        async with AsyncSandbox.create(machines=host, **option):
            raise AssertionError
    assert host.entered == 0


async def test_methods_that_are_not_built_are_refused(sandbox: AsyncSandbox) -> None:
    for call in (sandbox.expose_http(port=80), sandbox.expose_ssh(), sandbox.deno.deploy("app")):
        with pytest.raises(NotAvailable):
            await call


async def test_wrong_options(options: dict[str, Any]) -> None:
    for wrong in (
        {"memory_mb": 1},
        {"memory_mb": 100_000},
        {"timeout": "soon"},
        {"timeout": "10h"},
        {"labels": {"": "x"}},
        {"region": "moon"},
        {"vcpus": 7},
        {"env": {"A=B": "c"}},
    ):
        with pytest.raises(InvalidSpec):
            async with AsyncSandbox.create(**{**options, **wrong}, ssh=False):
                raise AssertionError


async def test_a_timeout(options: dict[str, Any]) -> None:
    async with AsyncSandbox.create(timeout="1s", **options) as sandbox:
        until = await sandbox.extend_timeout(600)
        assert 590 < (until - datetime.now(UTC)).total_seconds() <= 600
        await sandbox.extend_timeout(1)
        process = await sandbox.spawn("sh", args=["-c", "echo x; exec sleep 100"], cwd="/", **PIPED)
        assert await sandbox.wait_stopped() == "deadline reached"
        assert (await process.wait())["signal"] == "SIGKILL"
        # What had arrived can still be read.
        assert await process.stdout.read(1) == b"x"
        with pytest.raises(SandboxStopped, match="deadline"):
            await process.stdout.read()
        await process.kill()


async def test_reading(sandbox: AsyncSandbox) -> None:
    script = "printf 'one\\ntwo\\n\\nlast'"
    process = await sandbox.spawn("sh", args=["-c", script], cwd="/", **PIPED)
    assert await process.stdout.read(0) == b""
    assert await process.stdout.readline() == b"one\n"
    assert await process.stdout.read(1) == b"t"
    assert await process.stdout.readexactly(4) == b"wo\n\n"
    assert not process.stdout.at_eof()
    assert await process.stdout.readline() == b"last"
    assert await process.stdout.readline() == b""
    assert process.stdout.at_eof() and await process.stdout.read() == b""
    process = await sandbox.spawn("printf", args=["abc"], cwd="/", **PIPED)
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await process.stdout.readexactly(5)
    assert caught.value.partial == b"abc" and caught.value.expected == 5
    process = await sandbox.spawn("printf", args=["a\\nb\\n"], cwd="/", **PIPED)
    assert b"".join([chunk async for chunk in process.stdout]) == b"a\nb\n"


async def test_a_line_over_chunk_borders(sandbox: AsyncSandbox) -> None:
    script = "import sys; sys.stdout.write('x' * 300_000 + '\\n' + 'y' * 5)"
    process = await sandbox.spawn("python3", args=["-c", script], cwd="/", **PIPED)
    assert await process.stdout.readline() == b"x" * 300_000 + b"\n"
    assert await process.stdout.readexactly(5) == b"yyyyy"


async def test_what_was_not_asked_for(sandbox: AsyncSandbox) -> None:
    process = await sandbox.spawn("true", cwd="/", stdout="null", stderr="null")
    for name in ("stdout", "stderr"):
        with pytest.raises(InvalidSpec, match=f'{name}="piped"'):
            await getattr(process, name).read()
    with pytest.raises(InvalidSpec, match='stdin="piped"'):
        await process.stdin.write(b"x")
    await process.stdin.close()
    for wrong in ({"stdin": "inherit"}, {"stdout": "pipe"}, {"stderr": 1}):
        with pytest.raises(InvalidSpec):
            await sandbox.spawn("true", **wrong)
    with pytest.raises(GuestError) as caught:
        await sandbox.spawn("no-such-program", cwd="/")
    assert caught.value.errno_name == "ENOENT"


async def test_stdin(sandbox: AsyncSandbox) -> None:
    process = await sandbox.spawn("cat", cwd="/", stdin="piped", **PIPED)
    await process.stdin.write(b"one")
    assert await process.stdout.read(10) == b"one"
    await process.stdin.close()
    assert (await process.wait())["success"]


@pytest.mark.parametrize("form", ["bytes", "file", "list", "generator", "async"])
async def test_stdin_data(sandbox: AsyncSandbox, tmp_path: Path, form: str) -> None:
    (tmp_path / "data").write_bytes(b"abc")

    async def stream() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    with open(tmp_path / "data", "rb") as file:
        forms: dict[str, Any] = {
            "bytes": b"abc",
            "file": file,
            "list": [b"a", b"", b"bc"],
            "generator": (part for part in (b"ab", b"c")),
            "async": stream(),
        }
        process = await sandbox.spawn("cat", cwd="/", stdin_data=forms[form], **PIPED)
        assert await process.stdout.read() == b"abc"
        assert (await process.wait())["success"]


async def test_much_stdin_data_for_a_program_that_echoes_or_does_not_read(sandbox: AsyncSandbox) -> None:
    data = bytes(8_000_000)
    process = await sandbox.spawn("cat", cwd="/", stdin_data=data, **PIPED)
    assert await process.stdout.read() == data
    process = await sandbox.spawn("true", cwd="/", stdin_data=data, **PIPED)
    assert (await process.wait())["success"]


async def test_stdin_data_that_fails(sandbox: AsyncSandbox) -> None:
    def failing() -> Any:
        yield b"x"
        raise KeyError("mine")

    process = await sandbox.spawn("cat", cwd="/", stdin_data=failing(), **PIPED)
    assert await process.stdout.read() == b"x"
    with pytest.raises(KeyError, match="mine"):
        await process.wait()


async def test_inherited_output(sandbox: AsyncSandbox, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    script = "head -c 1000000 /dev/zero; echo err >&2"
    process = await sandbox.spawn("sh", args=["-c", script], cwd="/")
    assert (await process.wait())["success"]
    out, err = capfdbinary.readouterr()
    assert out == bytes(1_000_000) and err == b"err\n"


async def test_output_for_a_stdout_without_bytes(sandbox: AsyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    await (await sandbox.spawn("echo", args=["é"], cwd="/")).wait()
    assert text.getvalue() == "é\n"


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_wait(sandbox: AsyncSandbox) -> None:
    process = await sandbox.spawn("sh", args=["-c", "sleep 3 & exit 4"], cwd="/")
    started = time.monotonic()
    assert (await process.wait())["code"] == 4
    assert time.monotonic() - started < 2.5


async def test_killing(sandbox: AsyncSandbox) -> None:
    async with await sandbox.spawn("sleep", args=["100"], cwd="/") as process:
        assert process.returncode is None
    assert (await process.wait())["signal"] == "SIGTERM" and process.returncode == 143
    await process.kill("SIGKILL")
    process = await sandbox.spawn("sleep", args=["100"], cwd="/")
    await process.kill("SIGINT")
    assert (await process.wait())["signal"] == "SIGINT"


async def test_environment(sandbox: AsyncSandbox) -> None:
    await sandbox.env.set("MY_VAR", "1")
    assert await sandbox.env.get("MY_VAR") == "1" and await sandbox.env.get("NONE") is None
    process = await sandbox.spawn("sh", args=["-c", "echo $MY_VAR$O_2"], cwd="/", env={"O_2": "2"}, **PIPED)
    assert await process.stdout.read() == b"12\n"
    await sandbox.env.delete("MY_VAR")
    assert "MY_VAR" not in await sandbox.env.as_dict() and "PATH" in await sandbox.env.as_dict()
    process = await sandbox.spawn("/usr/bin/env", cwd="/", env={"X": "1"}, clear_env=True, **PIPED)
    assert await process.stdout.read() == b"X=1\n"


async def test_deno(sandbox: AsyncSandbox, tmp_path: Path) -> None:
    process = await sandbox.deno.run(code="console.log(Deno.args)", script_args=["a"], cwd=str(tmp_path), **PIPED)
    assert await process.stdout.read() == b'[ "a" ]\n'
    assert (await process.wait())["success"]
    async with await sandbox.deno.repl(cwd=str(tmp_path), stdout="piped") as repl:
        assert await repl.eval("const fooBar = {snake_key: 1, camelKey: 2}; fooBar") == {"snake_key": 1, "camelKey": 2}
        assert await repl.call("(x) => x.snake_key", [{"snake_key": 5}]) == 5
        with pytest.raises(ScriptError, match="TypeError: no"):
            await repl.eval("throw new TypeError('no')")
        await repl.eval("console.log('printed')")
    assert await repl.stdout.read() == b"printed\n" and repl.returncode == 0
    await repl.close()


async def test_a_deno_server(sandbox: AsyncSandbox, tmp_path: Path) -> None:
    code = "Deno.serve({port: 0, onListen() {}}, async (r) => Response.json([r.method, await r.text()], {status: 201}))"
    async with await sandbox.deno.run(code=code, cwd=str(tmp_path)) as process:
        assert await process.wait_http_ready()
        async with await process.fetch("http://any/", "POST", body=[b"a", b"b"]) as response:
            assert response.status_code == 201 and response.is_success and await response.json() == ["POST", "ab"]
    process = await sandbox.deno.run(code="", cwd=str(tmp_path))
    assert not await process.wait_http_ready()


async def test_watching(sandbox: AsyncSandbox, tmp_path: Path) -> None:
    (tmp_path / "w.ts").write_text("console.log(1)")
    process = await sandbox.deno.run(entrypoint="w.ts", watch=True, cwd=str(tmp_path), stdout="null", stderr="piped")
    heard = b""
    while b"Process finished" not in heard:
        heard += await process.stderr.read(1000)
    (tmp_path / "w.ts").write_text("console.log(2)")
    async for _ in process.restarts():
        break
    await process.kill("SIGKILL")
    await process.wait()


async def test_fetch(sandbox: AsyncSandbox) -> None:
    async def handle(request: web.Request) -> web.Response:
        seen = {"method": request.method, "x": request.headers.get("X-One"), "body": await request.text()}
        return web.Response(text=json.dumps(seen), status=404, headers={"Set-Cookie": "a=1"})

    app = web.Application()
    app.router.add_route("*", "/", handle)
    async with TestServer(app) as server:
        response = await sandbox.fetch(str(server.make_url("/")), method="PUT", headers={"X-One": "1"}, body=b"b")
        assert (response.status_code, response.status_text) == (404, "Not Found")
        assert response.is_client_error and not response.is_success and not response.is_redirect
        assert dict(response.headers)["set-cookie"] == "a=1"
        assert await response.json() == {"method": "PUT", "x": "1", "body": "b"}
        response = await sandbox.fetch(str(server.make_url("/")), headers=[("x-one", "2")])
        assert '"x": "2"' in await response.text()
        await response.close()
        response = await sandbox.fetch(str(server.make_url("/")), method="HEAD")
        assert await response.read() == b""


async def test_speed_of_stdout(sandbox: AsyncSandbox) -> None:
    """Far below what is measured in bench; a copy per byte or per line would be slower."""
    size = 64 * 1024 * 1024
    process = await sandbox.spawn("head", args=["-c", str(size), "/dev/zero"], cwd="/", **PIPED)
    started, total = time.monotonic(), 0
    async for chunk in process.stdout:
        total += len(chunk)
    assert total == size and size / (time.monotonic() - started) > 30_000_000
