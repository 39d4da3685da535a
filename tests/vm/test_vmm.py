"""Real VMs: made, cloned, pooled, confined, killed in every way, and gone afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import mmap
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from atoll.image import ImageStore, agent_bundle, agent_digest
from atoll.model.errors import LaunchFailed, LinkLost
from atoll.vmm import making
from atoll.vmm.launcher import Launcher, VmmConfig
from atoll.vmm.machine import EndedBy, Machine
from atoll.vmm.shape import BootFiles, Shape

SHAPE = Shape(768, 2)


@pytest.fixture(scope="module")
def boot(state_dir: Path) -> BootFiles:
    image = ImageStore(state_dir / "images").current()
    assert image is not None
    return BootFiles(image.digest, image.rootfs, image.kernel, image.initramfs, agent_bundle(), agent_digest())


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory whose template the first test makes and the others use."""
    return tmp_path_factory.mktemp("vmm")


@pytest_asyncio.fixture(loop_scope="session")
async def launcher(boot: BootFiles, state: Path) -> AsyncIterator[Launcher]:
    async with Launcher(VmmConfig(state, accelerator="tcg", pool_size=0), boot) as launcher:
        await launcher.prepare(SHAPE)
        yield launcher


@pytest_asyncio.fixture(loop_scope="session")
async def machine(launcher: Launcher) -> AsyncIterator[Machine]:
    machine = await launcher.launch(SHAPE)
    yield machine
    await machine.destroy()


def wait_gone(pid: int, deadline_s: float = 10) -> None:
    """Wait for the end of a process that need not be a child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], deadline_s)[0], f"process {pid} did not end"
    finally:
        os.close(pidfd)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


async def test_a_clone_answers_and_nothing_of_it_stays(launcher: Launcher, state: Path) -> None:
    machine = await launcher.launch(SHAPE)
    await machine.link.request("ping", {})
    pids = machine.pids()
    assert len(pids) == 2
    assert list((state / "disks").iterdir()) == []
    await machine.destroy()
    await machine.destroy()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert (await machine.wait_exited())[0] is False
    with pytest.raises(LinkLost):
        await machine.link.request("ping", {})


async def test_clones_do_not_share_memory_or_disk(launcher: Launcher) -> None:
    first = await launcher.launch(SHAPE)
    second = await launcher.launch(SHAPE)
    try:
        before = {"path": "/tmp/x", "mode": 0o700, "recursive": False}
        await first.link.request("mkdir", before)
        with pytest.raises(Exception, match="ENOENT|No such file"):
            await second.link.request("stat", {"path": "/tmp/x"})
        await first.link.request("stat", {"path": "/tmp/x"})
    finally:
        await first.destroy()
        await second.destroy()


async def test_the_template_cannot_be_written_from_the_jail(machine: Machine) -> None:
    qemu = machine.pids()[-1]
    folder = Path(f"/proc/{qemu}/fd")
    [name] = {os.readlink(fd) for fd in folder.iterdir() if "atoll-ram" in os.readlink(fd)}
    [path, *_] = [fd for fd in folder.iterdir() if os.readlink(fd) == name]
    # The very file, opened as QEMU has it open.
    fd = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_WRITE)
    finally:
        os.close(fd)


async def test_the_jail_around_a_running_vm(machine: Machine) -> None:
    qemu = machine.pids()[-1]
    status = status_of(qemu)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for name in ("user", "pid", "mnt", "net", "ipc", "uts"):
        assert os.readlink(f"/proc/{qemu}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    root = Path(f"/proc/{qemu}/root")
    assert not (root / "bin").exists()
    assert os.listdir(root / "usr/bin") == ["qemu-system-x86_64"]
    assert not (root / "dev/kvm").exists()
    assert os.listdir(root / "tmp") == []
    environment = Path(f"/proc/{qemu}/environ").read_bytes()
    assert b"HOME" not in environment
    interfaces = [line.split(":")[0].strip() for line in Path(f"/proc/{qemu}/net/dev").read_text().splitlines()[2:]]
    assert interfaces == ["lo"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give ids")
async def test_each_vm_of_root_has_an_id_of_its_own(launcher: Launcher) -> None:
    machines = [await launcher.launch(SHAPE) for _ in range(2)]
    try:
        ids = {status_of(machine.pids()[-1])["Uid"].split()[0] for machine in machines}
        groups = {status_of(machine.pids()[-1])["Groups"] for machine in machines}
        assert len(ids) == 2
        assert "0" not in ids
        assert groups == {""}
    finally:
        for machine in machines:
            await machine.destroy()


async def test_no_descriptor_is_left_after_five_launches(launcher: Launcher) -> None:
    async def one() -> None:
        machine = await launcher.launch(SHAPE)
        await machine.destroy()

    await one()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await one()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_a_pooled_vm_is_paused_costs_no_cpu_and_runs_when_claimed(boot: BootFiles, state: Path) -> None:
    config = VmmConfig(state, accelerator="tcg", pool_size=1, pool_shapes=(SHAPE,))
    async with Launcher(config, boot) as launcher:
        pool = launcher.pool(SHAPE)
        assert pool is not None
        await pool.wait_full()
        qemu = pool._ready[0].pids()[-1]
        used = Path(f"/proc/{qemu}/stat").read_text().split()[13:15]
        await asyncio.sleep(0.5)
        assert sum(map(int, Path(f"/proc/{qemu}/stat").read_text().split()[13:15])) - sum(map(int, used)) <= 1
        machine = await launcher.launch(SHAPE)
        assert machine.pids()[-1] == qemu
        await machine.link.request("ping", {})
        await machine.destroy()
        await pool.wait_full()
        left = pool._ready[0].pids()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in left)


async def test_a_guest_that_panics_is_told_from_a_vmm_that_dies(launcher: Launcher) -> None:
    machine = await launcher.launch(SHAPE)
    # The agent ends with its link, and it is the guest's process 1.
    machine.link.close()
    async with asyncio.timeout(20):
        by_itself, story = await machine.wait_exited()
    assert by_itself
    assert "panic" in story
    await machine.destroy()

    machine = await launcher.launch(SHAPE)
    os.kill(machine.pids()[-1], signal.SIGKILL)
    async with asyncio.timeout(5):
        ending = await machine.exited
    assert ending.by is EndedBy.VMM
    assert ending.code == 128 + 9
    with pytest.raises(LinkLost):
        await machine.link.request("ping", {})
    await machine.destroy()


async def test_a_guest_that_does_not_boot_says_why(boot: BootFiles, tmp_path: Path) -> None:
    nothing = tmp_path / "initramfs"
    nothing.write_bytes(b"")
    broken = dataclasses.replace(boot, initramfs=nothing)
    before = sorted(os.listdir("/proc/self/fd"))
    async with Launcher(VmmConfig(tmp_path, accelerator="tcg", pool_size=0), broken) as launcher:
        with pytest.raises(LaunchFailed, match="did not boot") as caught:
            await launcher.prepare(SHAPE)
    assert "panic" in caught.value.log_tail
    assert caught.value.command
    assert [path.name for path in (tmp_path / "templates").iterdir() if path.is_dir()] == []
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_a_boot_that_takes_too_long_is_ended(
    boot: BootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BOOT_DEADLINE_S", 0.5)
    async with Launcher(VmmConfig(tmp_path, accelerator="tcg", pool_size=0), boot) as launcher:
        with pytest.raises(LaunchFailed, match="no answer within 0.5 s"):
            await launcher.prepare(SHAPE)


async def test_the_accelerator_is_found_once_in_under_15_seconds(boot: BootFiles, tmp_path: Path) -> None:
    config = VmmConfig(tmp_path, accelerator="auto", pool_size=0)
    began = time.monotonic()
    async with Launcher(config, boot) as launcher:
        choice = launcher.accelerator
    assert time.monotonic() - began < 15
    assert choice.reason
    began = time.monotonic()
    required = Launcher(dataclasses.replace(config, accelerator="kvm"), boot)
    if choice.accel.value == "kvm":
        async with required:
            assert required.accelerator.accel.value == "kvm"
    else:
        with pytest.raises(LaunchFailed, match="KVM is required"):
            async with required:
                pass
    assert time.monotonic() - began < 2, "the second answer must come from the record"


# -- in other processes

_OWNER = """
import asyncio, os, sys
from pathlib import Path
from atoll.vmm.launcher import Launcher, VmmConfig
from atoll.vmm.shape import BootFiles, Shape
state, digest, rootfs, kernel, initramfs, agent, agent_digest, memory, vcpus = sys.argv[1:]
boot = BootFiles(digest, Path(rootfs), Path(kernel), Path(initramfs), Path(agent).read_bytes(), agent_digest)

async def main():
    config = VmmConfig(Path(state), accelerator="tcg", pool_size=0)
    async with Launcher(config, boot) as launcher:
        machine = await launcher.launch(Shape(int(memory), int(vcpus)))
        await machine.link.request("ping", {})
        print(os.getuid(), *machine.pids(), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await machine.destroy()
        print("done", flush=True)

asyncio.run(main())
"""


class Owner:
    """Another Python process that owns one VM, started with the image's files as descriptors."""

    def __init__(self, boot: BootFiles, state: Path, shape: Shape, prefix: list[str] | None = None) -> None:
        agent = state / "agent.cpio"
        agent.write_bytes(boot.agent_cpio)
        files = [os.open(path, os.O_RDONLY) for path in (boot.rootfs, boot.kernel, boot.initramfs)]
        names = [f"/proc/self/fd/{fd}" for fd in files]
        arguments = [str(state), boot.digest, *names, str(agent), boot.agent_digest]
        command = [*(prefix or [sys.executable]), "-c", _OWNER, *arguments, str(shape.memory_mib), str(shape.vcpus)]
        self.process = subprocess.Popen(
            command, pass_fds=files, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        for fd in files:
            os.close(fd)

    def pids(self) -> tuple[int, list[int]]:
        """The user id, and the VM's processes."""
        assert self.process.stdout is not None
        uid, *pids = map(int, self.process.stdout.readline().split())
        return uid, pids

    def close(self) -> str:
        out, _ = self.process.communicate()
        return out


async def test_a_vm_dies_with_its_parent(boot: BootFiles, state: Path) -> None:
    owner = Owner(boot, state, SHAPE)
    _, pids = await asyncio.to_thread(owner.pids)
    assert len(pids) == 2
    owner.process.kill()
    for pid in pids:
        await asyncio.to_thread(wait_gone, pid)
    owner.close()
    assert list((state / "disks").iterdir()) == []


def _python_for(uid: int) -> list[str]:
    """An interpreter that a user without rights can run, with atoll's modules to be found."""
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
    import qemu.qmp

    import atoll.model

    roots = {str(Path(str(module.__file__)).parents[2]) for module in (atoll.model, qemu.qmp)}
    set_path = ["env", "-u", "HOME", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={':'.join(sorted(roots))}"]
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/bin")):
        command = [*become, *set_path, str(python)]
        check = [*command, "-c", "import sys, atoll.vmm.launcher; assert sys.version_info >= (3, 11)"]
        if python and subprocess.run(check, capture_output=True, check=False, cwd="/").returncode == 0:
            return command
    pytest.skip("no interpreter that an ordinary user can run sees atoll's sources")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
async def test_the_whole_path_as_an_ordinary_user(boot: BootFiles) -> None:
    uid = 1_999_999_999
    state = Path("/tmp") / f"atoll-test-user-{os.getpid()}"
    state.mkdir(mode=0o700)
    try:
        (state / "agent.cpio").touch()
        for path in (state, state / "agent.cpio"):
            os.chown(path, uid, uid)
        owner = Owner(boot, state, Shape(768, 1), _python_for(uid))
        ran_as, pids = await asyncio.to_thread(owner.pids)
        assert ran_as == uid
        status = status_of(pids[-1])
        assert status["Uid"].split()[0] == str(uid)
        assert status["CapEff"] == "0" * 16
        assert await asyncio.to_thread(owner.close) == "done\n"
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    finally:
        shutil.rmtree(state)
