"""Making a template: a cold boot, an agent that is ready, and everything saved at one moment."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from atoll.vmm import ram
from atoll.vmm.command import ColdBoot
from atoll.vmm.disk import make_disk
from atoll.vmm.launch import Host, Parts, Started, guest_must_answer, start_vm
from atoll.vmm.shape import BootFiles
from atoll.vmm.template import Template, TemplateKey, TemplateStore

log = logging.getLogger("atoll.vmm")

Progress = Callable[[str, float | None], None]

# Five seconds here; a loaded machine without KVM can be twenty times as slow.
BOOT_DEADLINE_S = 120.0
SAVE_DEADLINE_S = 60.0


def no_progress(stage: str, done: float | None) -> None:
    """Tell nobody."""


async def obtain_template(
    store: TemplateStore, host: Host, boot: BootFiles, key: TemplateKey, progress: Progress = no_progress
) -> Template:
    """The template of this key, loaded; made first if there is none. LaunchFailed when the guest does not boot."""
    found = await asyncio.to_thread(store.open, key)
    if found is not None:
        return found
    async with store.making(key) as staging:
        # Another server may have made it while this one waited for the right to.
        found = await asyncio.to_thread(store.open, key)
        if found is None:
            await _make(store, host, boot, key, staging, progress)
            found = await asyncio.to_thread(store.open, key)
    assert found is not None
    return found


async def _make(
    store: TemplateStore, host: Host, boot: BootFiles, key: TemplateKey, staging: Path, progress: Progress
) -> None:
    began = time.monotonic()
    progress("formatting the disk", None)
    await asyncio.to_thread(make_disk, staging / "disk", key.disk_bytes)
    with ExitStack() as stack:
        ram_fd = _kept(stack, ram.new_memfd("atoll-ram", key.shape.memory_mib * 1024 * 1024))
        state_fd = _kept(stack, ram.new_memfd("atoll-state"))
        progress("booting the guest", 0.1)
        started = await start_vm(host, _cold_parts(stack, boot, key, staging, ram_fd))
        await _boot_and_save(started, state_fd, progress)
        progress("writing the template", 0.8)
        await asyncio.to_thread(_write, store, key, staging, ram_fd, state_fd)
    progress("template ready", 1.0)
    log.info("template made", extra={"template": key.name, "seconds": round(time.monotonic() - began, 2)})


async def _boot_and_save(started: Started, state_fd: int, progress: Progress) -> None:
    link = started.machine.link
    async with guest_must_answer(started, BOOT_DEADLINE_S, "the guest did not boot"):
        await link.hello()
    progress("saving the guest", 0.7)
    async with guest_must_answer(started, SAVE_DEADLINE_S, "the guest could not be saved"):
        await link.request("warm", {})
        await link.request("quiesce", {})
        await started.qmp.save_state(state_fd)
    # Gone before the RAM is sealed: a seal needs every writable mapping to have ended.
    await started.machine.destroy()


def _cold_parts(stack: ExitStack, boot: BootFiles, key: TemplateKey, staging: Path, ram_fd: int) -> Parts:
    archives = boot.initramfs.read_bytes() + boot.agent_cpio
    start = ColdBoot(
        kernel=_kept(stack, os.open(boot.kernel, os.O_RDONLY | os.O_CLOEXEC)),
        initramfs=_kept(stack, ram.memfd_of("atoll-initramfs", archives)),
    )
    return Parts(
        shape=key.shape,
        accel=key.accel,
        ram=ram_fd,
        rootfs=_kept(stack, os.open(boot.rootfs, os.O_RDONLY | os.O_CLOEXEC)),
        disk=_kept(stack, os.open(staging / "disk", os.O_RDWR | os.O_CLOEXEC)),
        start=start,
    )


def _write(store: TemplateStore, key: TemplateKey, staging: Path, ram_fd: int, state_fd: int) -> None:
    ram.drop_zero_pages(ram_fd)
    ram.save(ram_fd, staging / "ram")
    ram.save(state_fd, staging / "state")
    store.publish(key, staging)


def _kept(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd
