"""The machines of this host, as an embedded engine wants them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atoll.config import Config, LimitsConfig, load_config
from atoll.embedded.shared_engine import Machines
from atoll.engine import EngineSettings
from atoll.engine.host import host_machines
from atoll.vmm.launcher import VmmConfig

GIB = 1024**3


@asynccontextmanager
async def default_machines() -> AsyncIterator[Machines]:
    """QEMU on this host, with the settings of `atoll.toml` and the environment, without a pool.

    ImageError, with the remedy, when no guest image was built yet.
    """
    config = read_config()
    vmm = VmmConfig(
        state_dir=config.server.state_dir,
        accelerator=config.vm.accelerator,
        disk_bytes=config.limits.disk_gib * GIB,
        pool_size=0,
    )
    async with host_machines(vmm) as source:
        yield Machines(source, engine_settings(config.limits))


def read_config() -> Config:
    """The settings that `atoll serve` would have here."""
    return load_config(environ=os.environ)


def engine_settings(limits: LimitsConfig) -> EngineSettings:
    return EngineSettings(
        max_sandboxes=limits.max_sandboxes,
        memory_mib_default=limits.memory_mib_default,
        memory_mib_max=limits.memory_mib_max,
        vcpus=limits.vcpus,
    )
