"""The synchronous sandbox and its thread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.embedded.conftest import Host

from atoll import Sandbox
from atoll.embedded import portal
from atoll.model.errors import GuestError, LinkLost, NotAvailable, SandboxStopped, ScriptError

ROOT = Path(__file__).parent.parent.parent.parent


def portal_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "atoll-portal"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not portal_threads() and portal._portal is None


@pytest.fixture
def sandbox(options: dict[str, Any]) -> Iterator[Sandbox]:
    with Sandbox.create(**options) as sandbox:
        yield sandbox


def test_it_is_generated() -> None:
    done = subprocess.run(
        [sys.executable, "tools/generate_sync.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, "run tools/generate_sync.py\n" + done.stdout + done.stderr


def test_a_life(options: dict[str, Any], host: Host) -> None:
    with Sandbox.create(**options) as sandbox:
        process = sandbox.spawn("sh", args=["-c", "echo a; echo b; exit 3"], cwd="/", stdout="piped", stderr="null")
        assert process.stdout.readline() == b"a\n"
        assert list(process.stdout) == [b"b\n"] and process.stdout.at_eof()
        assert process.wait()["code"] == 3 and process.returncode == 3
        assert len(portal_threads()) == 1
    assert sandbox.closed and host.all_ended
    with pytest.raises((SandboxStopped, LinkLost)):
        sandbox.spawn("true")


def test_two_share_a_thread_and_an_engine(options: dict[str, Any], host: Host) -> None:
    with Sandbox.create(**options) as one:
        with Sandbox.create(**options) as two:
            assert one.id != two.id and len(portal_threads()) == 1 and host.entered == 1
        with pytest.raises(SandboxStopped):
            two.spawn("true")
        assert one.spawn("true", cwd="/").wait()["success"]
    assert host.all_ended


def test_from_many_threads(options: dict[str, Any], host: Host) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                with Sandbox.create(**options) as sandbox:
                    for number in range(5):
                        process = sandbox.spawn("echo", args=[str(number)], cwd="/", stdout="piped")
                        assert process.stdout.read() == b"%d\n" % number
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and host.all_ended


def test_errors_come_through(sandbox: Sandbox) -> None:
    with pytest.raises(GuestError, match="no-such"):
        sandbox.spawn("no-such", cwd="/")
    with pytest.raises(NotAvailable):
        sandbox.expose_http(port=1)
    with pytest.raises(NotAvailable, match="port"):
        with Sandbox.create(port=1):
            raise AssertionError


def test_a_block_that_raises(options: dict[str, Any], host: Host) -> None:
    with pytest.raises(KeyError, match="mine"):
        with Sandbox.create(**options):
            raise KeyError("mine")
    assert host.all_ended


def test_files_environment_and_deno(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fs.write_text_file("note.txt", "hi")
    with sandbox.fs.open("note.txt") as file:
        assert file.read(10) == b"hi"
    assert b"".join(sandbox.fs.read_chunks("note.txt")) == b"hi"
    sandbox.env.set("A_B", "1")
    assert sandbox.env.as_dict()["A_B"] == "1"
    with sandbox.deno.repl(cwd=str(tmp_path)) as repl:
        assert repl.eval("({a: 1})") == {"a": 1} and repl.call("(x) => x + 1", [1]) == 2
        with pytest.raises(ScriptError):
            repl.eval("throw 1")
    code = "Deno.serve({port: 0, onListen() {}}, () => new Response('x'.repeat(1e6)))"
    with sandbox.deno.run(code=code, cwd=str(tmp_path)) as process:
        assert process.wait_http_ready()
        with process.fetch("http://x/") as response:
            assert response.is_success and sum(map(len, response)) == 1_000_000


def test_an_iterator_that_is_left_early(sandbox: Sandbox) -> None:
    process = sandbox.spawn("yes", cwd="/", stdout="piped")
    for chunk in process.stdout:
        assert chunk.startswith(b"y\n")
        break
    assert process.stdout.read(1)
    process.kill()
    assert process.wait()["signal"] == "SIGTERM"


def test_data_from_generators_and_files(sandbox: Sandbox) -> None:
    process = sandbox.spawn("cat", cwd="/", stdin_data=(b"x" for _ in range(3)), stdout="piped")
    assert process.stdout.read() == b"xxx"
    with open(__file__, "rb") as file:
        sandbox.fs.write_file("copy", file)
    assert sandbox.fs.read_file("copy") == Path(__file__).read_bytes()


def test_speed_of_stdout(sandbox: Sandbox) -> None:
    size = 64 * 1024 * 1024
    process = sandbox.spawn("head", args=["-c", str(size), "/dev/zero"], cwd="/", stdout="piped")
    started = time.monotonic()
    assert len(process.stdout.read()) == size
    assert size / (time.monotonic() - started) > 30_000_000


PROGRAM = """
import json, os, signal, sys, threading, time
from contextlib import asynccontextmanager
from pathlib import Path
sys.path.insert(0, {root!r})
from atoll import Sandbox
from atoll.embedded.shared_engine import Machines
from tests.agents import AgentMachines

agents = AgentMachines(Path({home!r}))

@asynccontextmanager
async def machines():
    yield Machines(agents)

{body}
"""


def run_program(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    source = PROGRAM.format(root=str(ROOT), home=str(tmp_path), body=body)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=False)


def test_ctrl_c_ends_the_sandbox(tmp_path: Path) -> None:
    body = """
threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    with Sandbox.create(machines=machines) as sandbox:
        sandbox.spawn("sleep", args=["5"], cwd="/").wait()
except KeyboardInterrupt:
    ended = [machine.process.poll() for machine in agents.made]
    print(json.dumps([ended, [t.name for t in threading.enumerate()], time.monotonic() - started]))
"""
    done = run_program(tmp_path, body)
    assert done.returncode == 0, done.stderr
    ended, threads, seconds = json.loads(done.stdout)
    assert None not in ended and "atoll-portal" not in threads and seconds < 4


def test_a_program_that_forgets_to_leave_the_block_ends(tmp_path: Path) -> None:
    body = """
context = Sandbox.create(machines=machines)
sandbox = context.__enter__()
print(agents.made[0].process.pid, flush=True)
"""
    done = run_program(tmp_path, body)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not Path(f"/proc/{done.stdout.strip()}").exists()
