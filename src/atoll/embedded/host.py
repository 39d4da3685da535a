"""The machines of this host, as an embedded engine wants them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from atoll.config import Config, engine_settings, load_config, vmm_config
from atoll.embedded.shared_engine import Machines
from atoll.engine.host import host_machines


@asynccontextmanager
async def default_machines() -> AsyncIterator[Machines]:
    """QEMU on this host, with the settings of `atoll.toml` and the environment, without a pool.

    ImageError, with the remedy, when no guest image was built yet.
    """
    config = read_config()
    async with host_machines(vmm_config(config)) as source:
        yield Machines(source, engine_settings(config))


def read_config() -> Config:
    """The settings that `atoll serve` would have here."""
    return load_config(environ=os.environ)
