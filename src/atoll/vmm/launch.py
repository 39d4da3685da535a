"""Starting one VM: everything it needs acquired in order, everything released in reverse on failure."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from atoll.model.errors import GuestError, LinkLost, ProtocolViolation
from atoll.vmm.command import ColdBoot, Restore, VmCommand, VmFds
from atoll.vmm.confine import Confinement
from atoll.vmm.ledger import Ledger, recorded
from atoll.vmm.link import GuestLink
from atoll.vmm.machine import Machine
from atoll.vmm.process import JailedProcess
from atoll.vmm.qmp import Qmp, QmpRefused
from atoll.vmm.shape import Accel, Shape

LinkFactory = Callable[[socket.socket], GuestLink]


@dataclass(frozen=True, slots=True)
class Parts:
    """The descriptors that a VM is started from. They stay the caller's, who may close them afterwards."""

    shape: Shape
    accel: Accel
    ram: int
    rootfs: int
    disk: int
    start: ColdBoot | Restore


@dataclass(frozen=True, slots=True)
class Started:
    """A VM whose QEMU answers. Not yet: whether its guest does."""

    machine: Machine
    qmp: Qmp
    process: JailedProcess


@dataclass(frozen=True, slots=True)
class Host:
    """What every VM of this server is started with."""

    confinement: Confinement
    ledger: Ledger
    open_link: LinkFactory = GuestLink


async def start_vm(host: Host, parts: Parts) -> Started:
    """QEMU in its jail, control socket connected, agent's link open. LaunchFailed with the log."""
    async with AsyncExitStack() as stack:
        process, qmp, link = await _start(stack, host, parts)
        async with _explained(process, "QEMU did not start"):
            await qmp.connect()
            await link.start()
        machine = Machine(parts.shape, parts.accel, process, qmp, link, stack.pop_all())
    return Started(machine, qmp, process)


@asynccontextmanager
async def guest_must_answer(started: Started, deadline_s: float, what: str) -> AsyncIterator[None]:
    """For the steps that make a VM usable: when one fails, the VM is destroyed and LaunchFailed says why."""
    try:
        async with _explained(started.process, what), asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        failure = started.process.failure(f"{what}: no answer within {deadline_s:g} s")
        await started.machine.destroy()
        raise failure from None
    except BaseException:
        await started.machine.destroy()
        raise


async def _start(stack: AsyncExitStack, host: Host, parts: Parts) -> tuple[JailedProcess, Qmp, GuestLink]:
    jail = stack.enter_context(host.confinement.jail(parts.shape, os.fstat(parts.disk).st_size, parts.accel))
    ours, theirs = _socket_pairs()
    try:
        command = VmCommand(jail.qemu, parts.accel, parts.shape, _fds(theirs, parts), parts.start)
        console = ours[2].detach()
        process = JailedProcess([*jail.argv(), *command.argv()], command.pass_fds(), console)
    except BaseException:
        for sock in ours:
            sock.close()
        raise
    finally:
        # QEMU must hold the only copy, or its end would not be seen.
        for sock in theirs:
            sock.close()
    qmp, link = Qmp(ours[0]), host.open_link(ours[1])
    process.exited.add_done_callback(lambda _: qmp.vmm_gone())
    # Warming runs a program, whose end the agent tells. Nobody is concerned until the VM has an owner.
    link.on_notice = lambda name, params: None
    async with AsyncExitStack() as running:
        running.push_async_callback(process.close)
        running.push_async_callback(qmp.close)
        running.callback(link.close)
        # The record is taken back when the process is gone, not before.
        await stack.enter_async_context(recorded(host.ledger, process.pid))
        await stack.enter_async_context(running.pop_all())
    return process, qmp, link


def _socket_pairs() -> tuple[list[socket.socket], list[socket.socket]]:
    """Control, agent, console: our ends and QEMU's."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
    for ours, _ in pairs:
        ours.setblocking(False)
    return [a for a, _ in pairs], [b for _, b in pairs]


def _fds(theirs: list[socket.socket], parts: Parts) -> VmFds:
    qmp, agent, console = (sock.fileno() for sock in theirs)
    return VmFds(qmp=qmp, agent=agent, console=console, rootfs=parts.rootfs, disk=parts.disk, ram=parts.ram)


@asynccontextmanager
async def _explained(process: JailedProcess, what: str) -> AsyncIterator[None]:
    """A link that is lost while a VM starts is a launch that failed: say so, with the log."""
    try:
        yield
    except (LinkLost, QmpRefused, ProtocolViolation, GuestError) as error:
        # The sockets end a moment before the process does; its status and last words are worth that moment.
        if isinstance(error, LinkLost):
            await asyncio.wait([process.exited], timeout=1)
        how = f"it exited with status {process.exited.result()}" if process.exited.done() else str(error)
        raise process.failure(f"{what}: {how}") from error
