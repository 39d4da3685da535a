"""Which accelerator works here, found by a real boot: that `/dev/kvm` opens proves nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from atoll.model.errors import LaunchFailed
from atoll.vmm.command import ProbeCommand
from atoll.vmm.confine import Confinement
from atoll.vmm.probe import MARKER, initramfs
from atoll.vmm.process import JailedProcess
from atoll.vmm.ram import memfd_of
from atoll.vmm.shape import Accel, BootFiles, Shape

log = logging.getLogger("atoll.vmm")

# A stock kernel is in user space after half a second under KVM, two under KVM in a VM.
PROBE_DEADLINE_S = 8.0
OnBytes = Callable[[bytes], None]
_PROBE_SHAPE = Shape(768, 2)


@dataclass(frozen=True, slots=True)
class AcceleratorChoice:
    """What VMs run with, and why, in words for the operator."""

    accel: Accel
    reason: str


async def choose_accelerator(
    wanted: str, confinement: Confinement, boot: BootFiles, qemu_version: str, state_dir: Path
) -> AcceleratorChoice:
    """`wanted` is auto, kvm or tcg. LaunchFailed when kvm is required and does not work."""
    if wanted == "tcg":
        return AcceleratorChoice(Accel.TCG, "emulation is asked for in the configuration")
    problem = await _kvm_problem(confinement, boot, qemu_version, state_dir)
    if problem is None:
        return AcceleratorChoice(Accel.KVM, "a kernel booted under KVM")
    if wanted == "kvm":
        raise LaunchFailed(f'KVM is required (accelerator = "kvm") and does not work: {problem}')
    return AcceleratorChoice(Accel.TCG, f"emulation, because KVM does not work: {problem}")


async def _kvm_problem(confinement: Confinement, boot: BootFiles, qemu_version: str, state_dir: Path) -> str | None:
    """Why KVM cannot be used; None when it can. Remembered, for as long as nothing that matters changes."""
    cache = state_dir / "accelerator.json"
    facts = _facts(boot, qemu_version)
    known = _recall(cache, facts)
    if known is not None:
        return known["problem"] or confinement.kvm_obstacle
    problem = _access_problem()
    if problem is None:
        problem = await probe_kvm(confinement, boot)
        _remember(cache, facts, problem)
    return problem or confinement.kvm_obstacle


def _access_problem() -> str | None:
    """Cheap, so never cached: a permission can be given at any time."""
    if not os.path.exists("/dev/kvm"):
        return "/dev/kvm does not exist (no hardware virtualisation, or the kvm module is not loaded)"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/kvm cannot be opened ({error.strerror}); add this user to the group kvm"
    return None


async def probe_kvm(confinement: Confinement, boot: BootFiles, deadline_s: float = PROBE_DEADLINE_S) -> str | None:
    """Boot a kernel with a program of 200 bytes under KVM, jailed as any VM. Why it failed, or None."""
    began = time.monotonic()
    reached = asyncio.Event()
    seen = bytearray()

    def look(data: bytes) -> None:
        seen.extend(data)
        if MARKER in seen:
            reached.set()
        del seen[: -len(MARKER)]

    with ExitStack() as stack:
        process = _start(stack, confinement, boot, look)
        try:
            problem = await _verdict(process, reached, deadline_s)
        finally:
            await process.close()
    log.info("kvm probed", extra={"problem": problem, "seconds": round(time.monotonic() - began, 2)})
    return problem


def _start(stack: ExitStack, confinement: Confinement, boot: BootFiles, look: OnBytes) -> JailedProcess:
    # Where only root can open KVM, whether it works at all is still worth knowing; this guest is our own.
    own_id = confinement.kvm_obstacle is None
    jail = stack.enter_context(confinement.jail(_PROBE_SHAPE, 1, Accel.KVM, own_id=own_id))
    kernel = os.open(boot.kernel, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, kernel)
    archive = memfd_of("atoll-probe", initramfs())
    stack.callback(os.close, archive)
    ours, theirs = socket.socketpair()
    with theirs:
        command = ProbeCommand(jail.qemu, Accel.KVM, _PROBE_SHAPE, theirs.fileno(), kernel, archive)
        return JailedProcess([*jail.argv(), *command.argv()], command.pass_fds(), ours.detach(), look)


async def _verdict(process: JailedProcess, reached: asyncio.Event, deadline_s: float) -> str | None:
    try:
        async with asyncio.timeout(deadline_s):
            while not reached.is_set():
                if process.exited.done():
                    status = process.exited.result()
                    # On one line: the reason stands in tables and in a sandbox's record.
                    said = " ".join(process.log_tail()[-400:].split())
                    return f"/dev/kvm opens, but QEMU gave up with status {status}: {said}"
                await asyncio.sleep(0.02)
    except TimeoutError:
        tail = process.log_tail()
        last = f"; the last it printed: {tail.splitlines()[-1][:200]}" if tail else ""
        return f"/dev/kvm opens, but a kernel does not reach user space within {deadline_s:g} s{last}"
    return None


def _facts(boot: BootFiles, qemu_version: str) -> dict[str, str]:
    """What a verdict depends on. The boot id: after a restart the host, or the host's host, may be another."""
    return {
        "qemu": qemu_version,
        "kernel": platform.release(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "cpu": host_cpu(),
        "image": boot.digest,
        "user": str(os.geteuid()),
    }


def host_cpu() -> str:
    """The processor's model with its flags: what `-cpu host` shows to a guest."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags")
    found: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            found.setdefault(name.strip(), value.strip())
    return " ".join(found.get(name, "") for name in wanted)


def _recall(cache: Path, facts: dict[str, str]) -> dict[str, str | None] | None:
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.get("facts") != facts or "problem" not in known:
        return None
    return known


def _remember(cache: Path, facts: dict[str, str], problem: str | None) -> None:
    cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = cache.with_suffix(".new")
    fresh.write_text(json.dumps({"facts": facts, "problem": problem}, indent=1))
    fresh.replace(cache)
