"""The official Python client's synchronous API: the same wire, from a thread."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from deno_sandbox import DenoDeploy

from tests.clients.conftest import Server
from tests.clients.python_client import CLIENT_LEAKS

pytestmark = CLIENT_LEAKS


@pytest.fixture
def sdk(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[DenoDeploy]:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    sdk = DenoDeploy()
    yield sdk
    bridge = sdk.sandbox._bridge
    bridge.run(sdk.sandbox._client.client.aclose())
    bridge.stop()
    gc.collect()


@pytest.fixture
def sandbox(sdk: DenoDeploy) -> Iterator[Any]:
    with sdk.sandbox.create(env={"A_B": "c"}, labels={"way": "sync"}) as sandbox:
        yield sandbox


def test_spawn(sandbox: Any) -> None:
    process = sandbox.spawn("sh", args=["-c", "echo $A_B; echo e >&2; exit 4"], stdout="piped", stderr="piped")
    assert (process.stdout.read(), process.stderr.read()) == (b"c\n", b"e\n")
    assert process.wait() == {"success": False, "code": 4, "signal": None}


def test_many_short_commands(sandbox: Any) -> None:
    for number in range(200):
        process = sandbox.spawn("echo", args=[str(number)], stdout="piped", stderr="piped")
        assert process.stdout.readline() == b"%d\n" % number
        assert process.wait()["success"]


def test_stdin_data(sandbox: Any) -> None:
    process = sandbox.spawn("cat", stdin_data=[b"one ", b"two"], stdout="piped", stderr="piped")
    assert process.stdout.read() == b"one two"


def test_leaving_a_process_kills_it(sandbox: Any) -> None:
    with sandbox.spawn("sleep", args=["100"], stdout="piped", stderr="piped") as process:
        assert process.pid > 1


def test_files(sandbox: Any) -> None:
    home = sandbox.fs.make_temp_dir()
    data = os.urandom(2_000_000)
    sandbox.fs.write_file(f"{home}/f", data)
    with sandbox.fs.open(f"{home}/f") as file:
        assert file.seek(-10, 2) == len(data) - 10
        assert file.read(100) == data[-10:]
        assert file.read(100) == b""
    assert sandbox.fs.stat(f"{home}/f")["size"] == len(data)
    assert [entry["name"] for entry in sandbox.fs.walk(home, include_dirs=False)] == ["f"]
    assert sandbox.fs.expand_glob("*", root=home) == [f"{home}/f"]
    sandbox.fs.remove(home, recursive=True)


def test_env(sandbox: Any) -> None:
    sandbox.env.set("NAME", "value")
    assert sandbox.env.get("NAME") == "value"
    sandbox.env.delete("NAME")


def test_deno(sandbox: Any) -> None:
    assert sandbox.deno.eval("1 + 1") == 2
    with sandbox.deno.repl() as repl:
        assert repl.call("(a, b) => a * b", [6, 7]) == 42


def test_lifetimes(sdk: DenoDeploy) -> None:
    with sdk.sandbox.create(timeout="60s") as sandbox:
        assert sandbox.extend_timeout(120)
    with sdk.sandbox.connect(sandbox.id) as again:
        assert sandbox.id in [item["id"] for item in sdk.sandbox.list().items]
        again.kill()
