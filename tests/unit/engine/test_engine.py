"""Sandboxes from admission to their end, on machines whose VM is the agent alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.agents import AgentMachines

from atoll.engine import Engine, EngineSettings
from atoll.engine.machines import RunningMachine
from atoll.model.errors import InvalidSpec, LaunchFailed, LimitReached, ProcessNotFound, SandboxNotFound, SandboxStopped
from atoll.model.events import Actor, Event
from atoll.model.ids import new_sandbox_id
from atoll.model.lifecycle import State, StopReason
from atoll.model.process import ExitStatus, SpawnSpec
from atoll.model.spec import SandboxSpec

ACTOR = Actor("test")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def machines(tmp_path: Path) -> AgentMachines:
    return AgentMachines(tmp_path)


@pytest.fixture
async def engine(machines: AgentMachines, events: list[Event]) -> AsyncIterator[Engine]:
    async with Engine(EngineSettings(max_sandboxes=3), machines, emit=events.append) as engine:
        yield engine


async def test_a_life(engine: Engine, events: list[Event], tmp_path: Path) -> None:
    sandbox = await engine.create(SandboxSpec(labels={"who": "me"}), ACTOR)
    assert sandbox.state is State.RUNNING
    assert await engine.get(sandbox.id) is sandbox
    assert engine.find({"who": "me"}) == [sandbox] and engine.find({"who": "you"}) == []
    process = await sandbox.spawn(SpawnSpec(("sh", "-c", "echo $ATOLL_SANDBOX_ID"), cwd=str(tmp_path)))
    assert process.stdout is not None
    assert await process.stdout.read_all(100) == f"{sandbox.id}\n".encode()
    assert (await process.wait()).success
    await sandbox.kill()
    assert sandbox.state is State.STOPPED
    kinds = [event.kind for event in events]
    assert kinds[:3] == ["sandbox.created", "sandbox.ready", "command.started"]
    assert kinds[-1] == "sandbox.stopped"
    (exited,) = [event for event in events if event.kind == "command.exited"]
    assert (exited.fields["pid"], exited.fields["code"]) == (process.pid, 0)


async def test_killing_answers_whoever_waits(engine: Engine, tmp_path: Path) -> None:
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    process = await sandbox.spawn(SpawnSpec(("sleep", "100"), cwd="/"))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(process.wait())
        await sandbox.kill()
    assert waiting.result() == ExitStatus(137, "SIGKILL")
    with pytest.raises(SandboxStopped, match="killed"):
        await engine.get(sandbox.id)
    with pytest.raises(SandboxStopped):
        await sandbox.spawn(SpawnSpec(("true",)))


async def test_files_of_a_sandbox_that_is_killed_meanwhile(engine: Engine, tmp_path: Path) -> None:
    sandbox = await engine.create(SandboxSpec(), ACTOR)

    async def read_for_ever() -> None:
        async with sandbox.files() as files:
            while True:
                await files.read_dir(".")

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(expect_stopped(read_for_ever()))
        await sandbox.kill()
    assert "killed" in reading.result()


async def expect_stopped(work: object) -> str:
    with pytest.raises(SandboxStopped) as caught:
        await work  # type: ignore[misc]
    return str(caught.value)


async def test_the_agents_death_ends_the_sandbox(engine: Engine, machines: AgentMachines) -> None:
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    process = await sandbox.spawn(SpawnSpec(("sleep", "1"), cwd="/"))
    machines.made[0].process.kill()
    assert await sandbox.wait_stopped() is StopReason.GUEST_EXITED
    assert (await process.wait()).signal == "SIGKILL"


async def test_a_deadline(engine: Engine) -> None:
    sandbox = await engine.create(SandboxSpec(lifetime_s=0.2), ACTOR)
    assert await sandbox.wait_stopped() is StopReason.DEADLINE


async def test_a_deadline_moves(engine: Engine) -> None:
    sandbox = await engine.create(SandboxSpec(lifetime_s=900), ACTOR)
    assert sandbox.stop_at_ms is not None
    granted = sandbox.extend(sandbox.created_at_ms + 10 * 3600 * 1000)
    assert granted - sandbox.created_at_ms < 31 * 60 * 1000
    with pytest.raises(InvalidSpec, match="not in the future"):
        sandbox.extend(0)
    sandbox.extend(sandbox.created_at_ms + 700)
    assert await sandbox.wait_stopped() is StopReason.DEADLINE


async def test_the_limit_is_told_before_anything_starts(engine: Engine, machines: AgentMachines) -> None:
    admitted = [engine.admit(SandboxSpec(), ACTOR) for _ in range(3)]
    with pytest.raises(LimitReached, match="sandboxes at once: the limit of 3"):
        engine.admit(SandboxSpec(), ACTOR)
    for sandbox in admitted:
        await sandbox.wait_ready()
    assert len(machines.made) == 3
    await admitted[0].kill()
    await (await engine.create(SandboxSpec(), ACTOR)).kill()


async def test_memory_and_processors_are_admitted_too(machines: AgentMachines) -> None:
    settings = EngineSettings(max_sandboxes=100, memory_overcommit=0.0001)
    async with Engine(settings, machines) as engine:
        with pytest.raises(LimitReached, match="memory promised"):
            engine.admit(SandboxSpec(), ACTOR)
    async with Engine(EngineSettings(max_sandboxes=100, cpu_overcommit=0), machines) as engine:
        with pytest.raises(LimitReached, match="vCPUs promised"):
            engine.admit(SandboxSpec(), ACTOR)
    async with Engine(EngineSettings(memory_mib_max=1000), machines) as engine:
        with pytest.raises(InvalidSpec, match="over this server's 1000"):
            engine.admit(SandboxSpec(), ACTOR)


async def test_unknown_ids_and_processes(engine: Engine) -> None:
    with pytest.raises(SandboxNotFound):
        await engine.get(new_sandbox_id())
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    with pytest.raises(ProcessNotFound):
        sandbox.process(1)


class NoMachines:
    """Fails as a host without QEMU would."""

    image_digest = "sha256:none"

    async def acquire(self, memory_mib: int, vcpus: int) -> RunningMachine:
        raise LaunchFailed("QEMU did not start", command=("qemu",), log_tail="no such device")


async def test_a_start_that_fails_says_why_and_frees_its_place() -> None:
    async with Engine(EngineSettings(max_sandboxes=1), NoMachines()) as engine:
        for _ in range(2):
            with pytest.raises(LaunchFailed, match="no such device"):
                await engine.create(SandboxSpec(), ACTOR)
            while engine.live:
                await engine.live[0].wait_stopped()
                await asyncio.sleep(0)


async def test_leaving_the_engine_ends_every_sandbox(machines: AgentMachines) -> None:
    async with Engine(EngineSettings(), machines) as engine:
        sandboxes = [await engine.create(SandboxSpec(), ACTOR) for _ in range(2)]
    assert [sandbox.stop_reason for sandbox in sandboxes] == [StopReason.SERVER_STOPPED] * 2
    assert all(machine.process.poll() is not None for machine in machines.made)


async def test_environment(engine: Engine, tmp_path: Path) -> None:
    sandbox = await engine.create(SandboxSpec(env={"A": "1"}), ACTOR)
    sandbox.environment.set("B", "2")
    sandbox.environment.delete("A")
    process = await sandbox.spawn(SpawnSpec(("env",), env={"C": "3"}, cwd="/"))
    assert process.stdout is not None
    output = (await process.stdout.read_all(10_000) or b"").decode().splitlines()
    assert {"B=2", "C=3", "HOME=/home/app"} <= set(output) and "A=1" not in output
    process = await sandbox.spawn(SpawnSpec(("env",), env={"C": "3", "PATH": "/usr/bin"}, clear_env=True, cwd="/"))
    assert process.stdout is not None
    assert sorted((await process.stdout.read_all(10_000) or b"").split()) == [b"C=3", b"PATH=/usr/bin"]
    with pytest.raises(InvalidSpec, match="not a name"):
        sandbox.environment.set("A=B", "x")


async def test_a_port_of_the_sandbox(engine: Engine) -> None:
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    serve = (
        "import socket;s=socket.create_server(('127.0.0.1',0));print(s.getsockname()[1],flush=True)\n"
        "c,_=s.accept();d=b''\nwhile x:=c.recv(9999): d+=x\nc.sendall(d[::-1]);c.close()"
    )
    process = await sandbox.spawn(SpawnSpec(("python3", "-c", serve), cwd="/"))
    assert process.stdout is not None
    port = int(await process.stdout.read())
    assert await sandbox.listening_ports(process.pid) == [port]
    source, sink = await sandbox.connect_port(port)
    await sink.write(b"abc")
    sink.close()
    assert await source.read_all(100) == b"cba"
    assert (await process.wait()).success


async def test_a_connection_that_is_given_up_while_it_is_made_harms_nothing(engine: Engine) -> None:
    """The guest opens its streams all the same, and what it sends on them must not be taken for an attack."""
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    serve = (
        "import socket;s=socket.create_server(('127.0.0.1',0));print(s.getsockname()[1],flush=True)\n"
        "while True:\n c,_=s.accept()\n"
        " try: c.sendall(b'x'*100000);c.recv(1)\n except OSError: pass\n print('over',flush=True)"
    )
    process = await sandbox.spawn(SpawnSpec(("python3", "-c", serve), cwd="/"))
    assert process.stdout is not None
    port = int(await process.stdout.read())
    connecting = asyncio.get_running_loop().create_task(sandbox.connect_port(port))
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    # The agent closes its end, which the server inside sees.
    assert await process.stdout.read() == b"over\n"
    source, sink = await sandbox.connect_port(port)
    assert await source.read() != b""
    source.cancel()
    sink.close()
    assert sandbox.ending is None
