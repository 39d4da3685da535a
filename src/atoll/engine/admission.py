"""Whether one more sandbox may start, decided before anything is started."""

from __future__ import annotations

import os
from collections.abc import Iterable

from atoll.engine.settings import EngineSettings
from atoll.model.errors import InvalidSpec, LimitReached
from atoll.model.spec import SandboxSpec

# A clone's private memory after some use, by measurement (bench/density), and what the host keeps for itself.
CLONE_MIB = 120
RESERVE_MIB = 512


class Admission:
    """Counts what was promised. Used by the engine's thread only."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._memory_budget_mib = int(_meminfo_mib("MemTotal") * settings.memory_overcommit)
        self._cpu_budget = int((os.cpu_count() or 1) * settings.cpu_overcommit)

    def check(self, spec: SandboxSpec, promised: Iterable[SandboxSpec]) -> None:
        """LimitReached, with the limit and the remedy, or nothing."""
        settings, present = self._settings, list(promised)
        if spec.memory_mib > settings.memory_mib_max:
            raise InvalidSpec("memory_mb", f"{spec.memory_mib} MiB is over this server's {settings.memory_mib_max} MiB")
        if spec.vcpus > settings.vcpus:
            raise InvalidSpec("vcpus", f"{spec.vcpus} is over this server's {settings.vcpus}")
        if len(present) >= settings.max_sandboxes:
            raise LimitReached(
                "sandboxes at once", str(settings.max_sandboxes), "end one, or raise limits.max_sandboxes in atoll.toml"
            )
        memory = spec.memory_mib + sum(other.memory_mib for other in present)
        if memory > self._memory_budget_mib:
            raise LimitReached(
                "memory promised", f"{self._memory_budget_mib} MiB", "end a sandbox or ask for less memory"
            )
        if spec.vcpus + sum(other.vcpus for other in present) > self._cpu_budget:
            raise LimitReached("vCPUs promised", str(self._cpu_budget), "end a sandbox")
        if (available := _meminfo_mib("MemAvailable")) < CLONE_MIB + RESERVE_MIB:
            raise LimitReached("memory of this host", f"{available} MiB available", "end a sandbox or free memory")


def _meminfo_mib(key: str) -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name == key:
                return int(rest.split()[0]) // 1024
    raise ValueError(f"/proc/meminfo has no {key}")
