"""Machines of this host: the current image, booted by QEMU, from the pool or a template."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from atoll.image import GuestImage, ImageStore, agent_bundle, agent_digest
from atoll.model.errors import ImageError
from atoll.vmm.accelerator import AcceleratorChoice
from atoll.vmm.launcher import Launcher, VmmConfig
from atoll.vmm.ledger import Ledger
from atoll.vmm.machine import Machine
from atoll.vmm.making import Progress, no_progress
from atoll.vmm.shape import BootFiles, Shape


class HostMachines:
    """A `MachineSource` over a launcher. At most as many VMs are restored at once as there are cores."""

    def __init__(self, launcher: Launcher, image: GuestImage) -> None:
        self.launcher = launcher
        self.image_digest = image.digest
        # More at once only slow each other down; an asyncio semaphore is fair, so creates keep their order.
        self._restoring = asyncio.Semaphore(os.cpu_count() or 1)

    @property
    def accelerator(self) -> AcceleratorChoice:
        """What its VMs run with, and why."""
        return self.launcher.accelerator

    async def acquire(self, memory_mib: int, vcpus: int) -> Machine:
        """A running VM. LaunchFailed, with the command and the log's tail, when none can be had."""
        shape = Shape(memory_mib, vcpus)
        pool = self.launcher.pool(shape)
        if pool is not None and (machine := await pool.claim()) is not None:
            return machine
        async with self._restoring:
            return await self.launcher.launch(shape)


def boot_files(state_dir: Path) -> tuple[GuestImage, BootFiles]:
    """The current image with this version's agent. ImageError, with the remedy, when there is none."""
    image = ImageStore(state_dir / "images").current()
    if image is None:
        raise ImageError(f"there is no guest image in {state_dir / 'images'}; make one with: atoll image build")
    return image, BootFiles(image.digest, image.rootfs, image.kernel, image.initramfs, agent_bundle(), agent_digest())


@asynccontextmanager
async def host_machines(
    config: VmmConfig, *, ledger: Ledger | None = None, progress: Progress = no_progress
) -> AsyncIterator[HostMachines]:
    """This host's machines for as long as the context lasts; its pool and templates are released at the end."""
    image, boot = await asyncio.to_thread(boot_files, config.state_dir)
    async with Launcher(config, boot, ledger=ledger, progress=progress) as launcher:
        yield HostMachines(launcher, image)
