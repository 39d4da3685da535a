"""Settings: one small frozen value per room, from `atoll.toml` and the environment, read once.

`sections` says which keys there are, `kinds` what their values may be, `load` where they come from. Nothing here
keeps a global: whoever needs settings is handed its section.
"""

from __future__ import annotations

from atoll.config.kinds import ListenAddress, parse_listen, parse_memory_mib
from atoll.config.load import find_config_file, load_config
from atoll.config.rooms import engine_settings, vmm_config
from atoll.config.sections import (
    Config,
    EgressConfig,
    LimitsConfig,
    PoolConfig,
    ServerConfig,
    VmConfig,
    default_state_dir,
)

__all__ = [
    "Config",
    "EgressConfig",
    "LimitsConfig",
    "ListenAddress",
    "PoolConfig",
    "ServerConfig",
    "VmConfig",
    "default_state_dir",
    "engine_settings",
    "find_config_file",
    "load_config",
    "parse_listen",
    "parse_memory_mib",
    "vmm_config",
]
