"""Fifty creates at once: each is served, or told the limit at once; the order is kept; none fails."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from atoll.engine import Engine, EngineSettings
from atoll.engine.host import host_machines
from atoll.model.errors import LimitReached
from atoll.model.spec import SandboxSpec
from atoll.vmm.launcher import VmmConfig
from bench.sandboxes import ACTOR, STATE, main, median, row

AT_ONCE = 50
LIMIT = 40


async def measure() -> list[dict[str, Any]]:
    settings = EngineSettings(max_sandboxes=LIMIT, memory_overcommit=100, cpu_overcommit=100)
    async with host_machines(VmmConfig(STATE, pool_size=0)) as machines:
        async with Engine(settings, machines, emit=lambda event: None) as engine:
            await (await engine.create(SandboxSpec(), ACTOR)).kill()
            served, refused_ms = [], []
            began = time.perf_counter()
            for _ in range(AT_ONCE):
                asked = time.perf_counter()
                try:
                    served.append(engine.admit(SandboxSpec(), ACTOR))
                except LimitReached:
                    refused_ms.append((time.perf_counter() - asked) * 1000)
            ready: list[tuple[int, float]] = []

            async def watch(number: int) -> None:
                await served[number].wait_ready()
                ready.append((number, time.perf_counter() - began))

            async with asyncio.TaskGroup() as group:
                for number in range(len(served)):
                    group.create_task(watch(number))
            order = [number for number, _ in ready]
            # Two are restored at once, so that neighbours may overtake each other.
            displaced = max(abs(position - number) for position, number in enumerate(order))
            seconds = ready[-1][1]
    return [
        row("served", len(served), f"of {AT_ONCE}", str(LIMIT), len(served) == LIMIT),
        row("told 429", len(refused_ms), f"of {AT_ONCE}", str(AT_ONCE - LIMIT), len(refused_ms) == AT_ONCE - LIMIT),
        row("a refusal takes", median(refused_ms), "ms"),
        row("places out of order at most", displaced, "", "<= 3", displaced <= 3),
        row("sandboxes ready each second", len(served) / seconds, "1/s"),
    ]


if __name__ == "__main__":
    main("burst", measure)
