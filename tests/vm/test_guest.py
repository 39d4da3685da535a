"""What a user finds in the guest, and what becomes of a sandbox whose guest fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from atoll.engine import Engine, Sandbox
from atoll.model.errors import GuestError, LinkLost, SandboxStopped
from atoll.model.events import Event
from atoll.model.lifecycle import StopReason
from atoll.model.process import Oom, PtySize, SpawnSpec
from atoll.model.spec import SandboxSpec
from atoll.vmm.machine import Machine
from tests.vm.conftest import ACTOR
from tests.vm.running import output, run


async def test_the_user_and_the_place(sandbox: Sandbox) -> None:
    text = await output(sandbox, "sh", "-c", "id -un; id -u; pwd; echo $HOME; umask; sudo id -u; uname -s; hostname")
    assert text.split() == ["app", "1000", "/home/app", "/home/app", "0022", "0", "Linux", sandbox.id.replace("_", "-")]


async def test_the_tools_that_are_promised(sandbox: Sandbox) -> None:
    tools = "bash python3 python pip git curl ssh node npm npx deno sudo openssl wget rsync"
    found = await output(sandbox, "bash", "-c", f"for tool in {tools}; do command -v $tool || echo missing $tool; done")
    assert "missing" not in found
    assert await output(sandbox, "deno", "eval", "console.log(6 * 7)") == "42\n"
    assert await output(sandbox, "node", "-p", "6 * 7") == "42\n"
    assert "venv-ok" in await output(
        sandbox, "sh", "-c", "python3 -m venv --without-pip v && v/bin/python -c 'print(\"venv-ok\")'"
    )
    assert not (await run(sandbox, "sh", "-c", "command -v cc || command -v gcc")).out


async def test_root_where_it_is_asked_for(sandbox: Sandbox) -> None:
    assert await output(sandbox, "id", "-u", user="root") == "0\n"


async def test_there_is_no_network_yet(sandbox: Sandbox) -> None:
    assert await output(sandbox, "sh", "-c", "ls /sys/class/net") == "lo\n"
    assert not (await run(sandbox, "curl", "-sS", "--max-time", "5", "http://192.0.2.1/")).status.success


async def test_a_clean_disk_each_time(engine: Engine, sandbox: Sandbox) -> None:
    await output(sandbox, "sh", "-c", "echo secret > /home/app/left; sudo touch /etc/left")
    other = await engine.create(SandboxSpec(), ACTOR)
    assert await output(other, "sh", "-c", "ls -A /home/app; ls /etc/left 2>&1 || true") != ""
    assert "left" not in await output(other, "ls", "-A", "/home/app")
    assert not (await run(other, "ls", "/etc/left")).status.success


async def test_the_disk_is_ten_gibibytes(sandbox: Sandbox) -> None:
    size = int(await output(sandbox, "sh", "-c", "df --output=size -B1 / | tail -1"))
    assert 9.5 * 2**30 < size <= 10 * 2**30


async def test_a_workload_that_breaks_its_root_does_not_break_the_agent(sandbox: Sandbox) -> None:
    await output(sandbox, "sh", "-c", "sudo rm -rf /usr/lib/python3* /usr/bin/python3* /etc/passwd /lib64/ld-* || true")
    async with sandbox.files() as files:
        await files.write_file("still", b"here")
        assert await files.read_file("still") == b"here"
    with pytest.raises(GuestError):
        await run(sandbox, "python3", "-c", "0")


@pytest.mark.parametrize(("memory_mib", "vcpus"), [(768, 1), (2048, 2)])
async def test_sizes(engine: Engine, memory_mib: int, vcpus: int) -> None:
    sandbox = await engine.create(SandboxSpec(memory_mib=memory_mib, vcpus=vcpus), ACTOR)
    assert await output(sandbox, "nproc") == f"{vcpus}\n"
    total_kib = int(await output(sandbox, "awk", "/MemTotal/ {print $2}", "/proc/meminfo"))
    assert 0.85 * memory_mib < total_kib / 1024 <= memory_mib
    await sandbox.kill()


async def test_a_terminal(sandbox: Sandbox) -> None:
    process = await sandbox.spawn(
        SpawnSpec(("bash", "--norc", "-i"), pty=PtySize(30, 100), env={"TERM": "xterm", "PS1": "> "})
    )
    assert process.stdin is not None and process.stdout is not None
    await process.stdin.write(b"tty; stty size; echo done-$((1+1)); exit\n")
    text = (await process.stdout.read_all(1 << 16) or b"").decode()
    assert "/dev/pts/" in text and "30 100" in text and "done-2" in text and "no job control" not in text
    assert (await process.wait()).success


async def test_out_of_memory_is_told(engine: Engine) -> None:
    sandbox = await engine.create(SandboxSpec(memory_mib=768, vcpus=1), ACTOR)
    finished = await run(sandbox, "python3", "-c", "held = []\nwhile True: held.append(b'x' * (16 << 20))")
    assert (finished.status.code, finished.status.signal, finished.status.oom) == (137, "SIGKILL", Oom.HIGH)
    assert (await run(sandbox, "sh", "-c", "kill -9 $$")).status.oom is None
    await sandbox.kill()


async def test_a_kernel_panic_ends_the_sandbox_and_answers_who_waits(sandbox: Sandbox, events: list[Event]) -> None:
    waiting = await sandbox.spawn(SpawnSpec(("sleep", "1000")))
    await sandbox.spawn(SpawnSpec(("sh", "-c", "echo c > /proc/sysrq-trigger"), user="root"))
    assert await sandbox.wait_stopped() is StopReason.GUEST_EXITED
    assert (await waiting.wait()).signal == "SIGKILL"
    (exited,) = [event for event in events if event.kind == "machine.exited"]
    assert "panic" in str(exited.fields["cause"]) or "the guest" in str(exited.fields["cause"])


async def test_a_killed_vmm_ends_the_sandbox(sandbox: Sandbox) -> None:
    process = await sandbox.spawn(SpawnSpec(("sleep", "1000")))
    machine = sandbox.machine
    assert isinstance(machine, Machine)
    os.kill(machine.pids()[-1], signal.SIGKILL)
    assert await sandbox.wait_stopped() is StopReason.VMM_DIED
    assert (await process.wait()).code == 137
    with pytest.raises(SandboxStopped, match="the VMM died"):
        await sandbox.spawn(SpawnSpec(("true",)))


async def test_an_agent_that_lies_ends_the_sandbox(sandbox: Sandbox, events: list[Event]) -> None:
    """Root in the guest takes the agent's port: the host must close the link, not believe what it reads."""
    steal = (
        "import ctypes, os\n"
        "fd = ctypes.CDLL(None).syscall(438, os.pidfd_open(1), %d, 0)\n"
        "os.set_blocking(fd, True)\n"
        "os.write(fd, b'\\xff' * 65536)\n"
    )
    for number in range(3, 16):
        with contextlib.suppress(SandboxStopped, LinkLost):
            script = steal % number
            process = await sandbox.spawn(SpawnSpec(("python3", "-c", script), user="root", stdout=False, stderr=False))
            await process.wait()
    assert await sandbox.wait_stopped() is StopReason.GUEST_MISBEHAVED
    assert any("broke the wire protocol" in str(event.fields.get("reason")) for event in events)


async def test_killing_while_output_flows(sandbox: Sandbox) -> None:
    process = await sandbox.spawn(SpawnSpec(("cat", "/dev/zero"), stderr=False))
    assert process.stdout is not None
    for _ in range(50):
        await process.stdout.read()
    async with asyncio.timeout(10):
        await sandbox.kill()
    assert (await process.wait()).code == 137
