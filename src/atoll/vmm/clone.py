"""A running VM from a template: the fast way to one."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path

from atoll.vmm.command import Restore
from atoll.vmm.disk import clone_disk
from atoll.vmm.launch import Host, Parts, guest_must_answer, start_vm
from atoll.vmm.machine import Machine
from atoll.vmm.template import Template

RESTORE_DEADLINE_S = 60.0


async def restore(host: Host, template: Template, rootfs: int, disks: Path) -> Machine:
    """A clone whose agent answers. Its disk is an unnamed file in `disks`, gone when QEMU is."""
    with ExitStack() as stack:
        stack.enter_context(template.held())
        disk = await asyncio.to_thread(clone_disk, template.disk, disks)
        stack.callback(os.close, disk)
        state = template.open_state()
        stack.callback(os.close, state)
        key = template.key
        parts = Parts(key.shape, key.accel, template.ram, rootfs, disk, Restore(state))
        started = await start_vm(host, parts)
    async with guest_must_answer(started, RESTORE_DEADLINE_S, "the template could not be restored"):
        await started.qmp.load_state(state)
        await started.machine.link.request("ping", {})
    return started.machine
