"""The settings in the form that the rooms below take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.config.sections import Config

if TYPE_CHECKING:
    from atoll.engine.settings import EngineSettings
    from atoll.vmm.launcher import VmmConfig

GIB = 1024**3


def engine_settings(config: Config) -> EngineSettings:
    """`[limits]`, for the engine."""
    # Here and below: a command that starts no VM must not pay for loading the rooms that do.
    from atoll.engine.settings import EngineSettings

    limits = config.limits
    return EngineSettings(
        max_sandboxes=limits.max_sandboxes,
        memory_mib_default=limits.memory_mib_default,
        memory_mib_max=limits.memory_mib_max,
        vcpus=limits.vcpus,
        memory_overcommit=limits.memory_overcommit,
        cpu_overcommit=limits.cpu_overcommit,
    )


def vmm_config(config: Config, *, pool_size: int = 0) -> VmmConfig:
    """`[vm]` and what belongs to it; the pool is of sandboxes of the default size."""
    from atoll.vmm.launcher import VmmConfig
    from atoll.vmm.shape import Shape

    return VmmConfig(
        state_dir=config.server.state_dir,
        accelerator=config.vm.accelerator,
        disk_bytes=config.limits.disk_gib * GIB,
        pool_size=pool_size,
        pool_shapes=(Shape(config.limits.memory_mib_default, config.limits.vcpus),),
    )
