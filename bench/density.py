"""Forty idle sandboxes at once: proportional memory each, everything counted, and the CPU that they take."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import psutil

from atoll.model.spec import SandboxSpec
from atoll.vmm.figures import memory_of
from bench.sandboxes import ACTOR, main, row, run, running_engine, vm_of

COUNT = 40
IDLE_S = 20.0


def cpu_s(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


async def measure() -> list[dict[str, Any]]:
    async with running_engine() as (engine, _):
        sandboxes = [await engine.create(SandboxSpec(), ACTOR) for _ in range(COUNT)]
        for sandbox in sandboxes:
            await run(sandbox, "true")
        pids = [pid for sandbox in sandboxes for pid in vm_of(sandbox).pids()]
        # Ourselves too: the engine's share of each sandbox, and the template's pages, which everyone maps.
        everything = [*pids, os.getpid()]
        await asyncio.sleep(5)
        before = cpu_s(everything)
        await asyncio.sleep(IDLE_S)
        cpu = (cpu_s(everything) - before) / IDLE_S / COUNT * 100
        pss = memory_of(everything).proportional_kib / 1024 / COUNT
        private = memory_of(pids).private_kib / 1024 / COUNT
    return [
        row(f"proportional memory each, {COUNT} idle sandboxes", pss, "MiB", "<= 120", pss <= 120),
        row("private memory of its VM's processes", private, "MiB"),
        row("CPU of an idle sandbox", cpu, "% of a core", "< 2", cpu < 2),
    ]


if __name__ == "__main__":
    main("density", measure)
