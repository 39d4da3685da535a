"""What the engine is told once: limits, and how far to over-commit this host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`memory_overcommit` and `cpu_overcommit`: how many times this host's memory and cores may be promised."""

    max_sandboxes: int = 5
    memory_mib_default: int = 1280
    memory_mib_max: int = 4096
    vcpus: int = 2
    memory_overcommit: float = 4.0
    cpu_overcommit: float = 16.0
