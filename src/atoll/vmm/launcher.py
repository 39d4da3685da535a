"""The door of this room: a server's one way to a running VM."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from atoll.vmm.accelerator import AcceleratorChoice, choose_accelerator, host_cpu
from atoll.vmm.clone import restore
from atoll.vmm.confine import Confinement, JailReport, find_qemu, qemu_version
from atoll.vmm.disk import GIB
from atoll.vmm.launch import Host, LinkFactory
from atoll.vmm.ledger import Ledger, NoLedger
from atoll.vmm.link import GuestLink
from atoll.vmm.machine import Machine
from atoll.vmm.making import Progress, no_progress, obtain_template
from atoll.vmm.pool import Pool
from atoll.vmm.shape import Accel, BootFiles, Shape
from atoll.vmm.template import Template, TemplateKey, TemplateStore

log = logging.getLogger("atoll.vmm")

# Each loaded size keeps about 100 MiB of the host's memory.
MAX_LOADED_TEMPLATES = 4


@dataclass(frozen=True, slots=True)
class VmmConfig:
    """The settings of this room. `accelerator` is auto, kvm or tcg."""

    state_dir: Path
    accelerator: str = "auto"
    disk_bytes: int = 10 * GIB
    pool_size: int = 2
    pool_shapes: tuple[Shape, ...] = ()


class Launcher:
    """Gives running VMs of any size. An async context manager: at its end the pool and templates are gone.

    VMs that it gave are their owners' to destroy.
    """

    def __init__(
        self,
        config: VmmConfig,
        boot: BootFiles,
        *,
        ledger: Ledger | None = None,
        progress: Progress = no_progress,
        open_link: LinkFactory = GuestLink,
    ) -> None:
        self._config = config
        self._boot = boot
        self._ledger = ledger or NoLedger()
        self._progress = progress
        self._open_link = open_link
        self._store = TemplateStore(config.state_dir / "templates")
        self._disks = config.state_dir / "disks"
        self._loaded: OrderedDict[Shape, Template] = OrderedDict()
        self._locks: dict[Shape, asyncio.Lock] = {}
        self._pools: dict[Shape, Pool] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._look_around()
            self._rootfs = os.open(self._boot.rootfs, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._rootfs)
            stack.callback(self._unload)
            await self._start_pools(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def accelerator(self) -> AcceleratorChoice:
        """What VMs run with, and why."""
        return self._choice

    @property
    def qemu_version(self) -> str:
        return self._qemu_version

    def pool(self, shape: Shape) -> Pool | None:
        """The pool of this size, if there is one."""
        return self._pools.get(shape)

    async def jail_report(self) -> JailReport:
        """How VMs are confined here, for the operator."""
        return await asyncio.to_thread(self._host.confinement.report)

    async def launch(self, shape: Shape) -> Machine:
        """A running VM: from the pool, else restored, after its template was made if there was none."""
        pool = self._pools.get(shape)
        if pool is not None and (machine := await pool.claim()) is not None:
            return machine
        return await self._restore(shape)

    async def prepare(self, shape: Shape) -> None:
        """See to it that the template of this size exists and is loaded."""
        await self._template(shape)

    async def _look_around(self) -> None:
        state_dir = self._config.state_dir
        self._disks.mkdir(mode=0o700, parents=True, exist_ok=True)
        qemu = find_qemu()
        confinement = await asyncio.to_thread(Confinement.detect, qemu)
        if confinement.cgroups is not None:
            confinement.cgroups.sweep()
        self._host = Host(confinement, self._ledger, self._open_link)
        self._qemu_version = await asyncio.to_thread(qemu_version, qemu)
        self._choice = await choose_accelerator(
            self._config.accelerator, confinement, self._boot, self._qemu_version, state_dir
        )
        log.info("accelerator chosen", extra={"accelerator": self._choice.accel.value, "reason": self._choice.reason})
        await asyncio.to_thread(self._store.collect, self._key(Shape(0, 0)))

    async def _start_pools(self, stack: AsyncExitStack) -> None:
        if not self._config.pool_size:
            return
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for shape in self._config.pool_shapes:
            pool = Pool(self._config.pool_size, partial(self._restore, shape))
            self._pools[shape] = pool
            stack.push_async_callback(pool.close)
            stack.callback(tasks.create_task(pool.run()).cancel)

    def _key(self, shape: Shape) -> TemplateKey:
        return TemplateKey(
            image_digest=self._boot.digest,
            agent_digest=self._boot.agent_digest,
            shape=shape,
            accel=self._choice.accel,
            qemu_version=self._qemu_version,
            disk_bytes=self._config.disk_bytes,
            host_cpu=host_cpu() if self._choice.accel is Accel.KVM else "",
        )

    async def _restore(self, shape: Shape) -> Machine:
        return await restore(self._host, await self._template(shape), self._rootfs, self._disks)

    async def _template(self, shape: Shape) -> Template:
        lock = self._locks.setdefault(shape, asyncio.Lock())
        async with lock:
            template = self._loaded.get(shape)
            if template is None:
                key = self._key(shape)
                template = await obtain_template(self._store, self._host, self._boot, key, self._progress)
                self._loaded[shape] = template
            self._loaded.move_to_end(shape)
            self._unload_least_used()
            return template

    def _unload_least_used(self) -> None:
        """Bound what is kept in memory. A clone that is being made holds what it needs."""
        for shape in tuple(self._loaded):
            if len(self._loaded) <= MAX_LOADED_TEMPLATES:
                return
            if shape not in self._pools and shape != next(reversed(self._loaded)):
                self._loaded.pop(shape).close()

    def _unload(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()
