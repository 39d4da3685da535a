"""Which settings there are, with their defaults and limits: one frozen value per room.

A `Config` that exists is consistent. The keys are those of `atoll.toml`; a unit stands in the name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from atoll.config.kinds import Choice, Integer, Kind, Listen, ListenAddress, Location, Size, Text, TextList, TextTable
from atoll.model.errors import InvalidSpec
from atoll.model.spec import DEFAULT_MEMORY_MIB, MAX_MEMORY_MIB, MIN_MEMORY_MIB

_NO_PINS: Mapping[str, str] = MappingProxyType({})


def default_state_dir(environ: Mapping[str, str], *, is_root: bool) -> Path:
    """Where images, templates and records go: the system's place for root, the user's own otherwise."""
    if is_root:
        return Path("/var/lib/atoll")
    base = environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".local/state") / "atoll"


def _key(kind: Kind, default: Any = MISSING, *, factory: Any = MISSING, built: bool = True) -> Any:
    """A setting; one that is not `built` yet may have no other value than its default."""
    made = factory if default is MISSING else lambda: default
    return field(default_factory=made, metadata={"kind": kind, "built": built})


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`[server]`: where it listens, and where its state is."""

    listen: ListenAddress = _key(Listen(), ListenAddress("127.0.0.1", 8700))
    state_dir: Path = _key(Location(), factory=lambda: default_state_dir(os.environ, is_root=os.geteuid() == 0))
    public_domain: str | None = _key(Text(), None, built=False)
    tls_cert: Path | None = _key(Location(), None)
    tls_key: Path | None = _key(Location(), None)
    ssh_listen: ListenAddress | None = _key(Listen(), None, built=False)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_cert" if self.tls_cert is None else "tls_key"
            raise InvalidSpec(f"server.{missing}", "tls_cert and tls_key are given together or not at all")

    @property
    def images_dir(self) -> Path:
        return self.state_dir / "images"

    @property
    def records_file(self) -> Path:
        return self.state_dir / "atoll.db"


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """`[limits]`: what all sandboxes together, and each of them, may take."""

    max_sandboxes: int = _key(Integer(1, 10_000), 5)
    memory_mib_default: int = _key(Size(MIN_MEMORY_MIB, MAX_MEMORY_MIB, "MiB"), DEFAULT_MEMORY_MIB)
    memory_mib_max: int = _key(Size(MIN_MEMORY_MIB, MAX_MEMORY_MIB, "MiB"), MAX_MEMORY_MIB)
    disk_gib: int = _key(Size(1, 1024, "GiB"), 10)
    vcpus: int = _key(Integer(1, 2), 2)
    # How many times this host's memory and cores may be promised: sandboxes seldom use what they were promised.
    memory_overcommit: int = _key(Integer(1, 1000), 4)
    cpu_overcommit: int = _key(Integer(1, 1000), 16)

    def __post_init__(self) -> None:
        if self.memory_mib_default > self.memory_mib_max:
            reason = f"{self.memory_mib_default} is over memory_mib_max, which is {self.memory_mib_max}"
            raise InvalidSpec("limits.memory_mib_default", reason)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """`[pool]`: how many restored VMs wait for a caller."""

    size: int = _key(Integer(0, 64), 2)


@dataclass(frozen=True, slots=True)
class VmConfig:
    """`[vm]`: `kvm` refuses to fall back, `tcg` does not try, `auto` takes what a real boot shows to work."""

    accelerator: str = _key(Choice(("auto", "kvm", "tcg")), "auto")


@dataclass(frozen=True, slots=True)
class EgressConfig:
    """`[egress]`: the passage out, which is not built yet; a sandbox has no network at all."""

    allow_private: tuple[str, ...] = _key(TextList(), (), built=False)
    trusted_ca: tuple[str, ...] = _key(TextList(), (), built=False)
    passthrough: tuple[str, ...] = _key(TextList(), (), built=False)
    on_unsubstituted: str = _key(Choice(("flag", "block")), "flag", built=False)
    resolve: Mapping[str, str] = _key(TextTable(), factory=lambda: _NO_PINS, built=False)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, by section."""

    server: ServerConfig = field(default_factory=ServerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    vm: VmConfig = field(default_factory=VmConfig)
    egress: EgressConfig = field(default_factory=EgressConfig)


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {"server": ServerConfig, "limits": LimitsConfig, "pool": PoolConfig, "vm": VmConfig, "egress": EgressConfig}
)
