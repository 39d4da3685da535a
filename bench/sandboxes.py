"""What every benchmark here needs: this host's machines, an engine, medians, and rows for the table."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from atoll.engine import Engine, EngineSettings, Sandbox
from atoll.engine.host import HostMachines, host_machines
from atoll.model.events import Actor
from atoll.model.process import SpawnSpec
from atoll.vmm.launcher import VmmConfig
from atoll.vmm.machine import Machine
from atoll.vmm.shape import Shape

ACTOR = Actor("bench")
SHAPE = Shape(1280, 2)
STATE = Path(os.environ["ATOLL_SERVER_STATE_DIR"])


@asynccontextmanager
async def running_engine(*, pool: int = 0, shape: Shape = SHAPE) -> AsyncIterator[tuple[Engine, HostMachines]]:
    config = VmmConfig(STATE, pool_size=pool, pool_shapes=(shape,))
    settings = EngineSettings(max_sandboxes=200, memory_overcommit=100, cpu_overcommit=100)
    async with host_machines(config) as machines:
        await machines.launcher.prepare(shape)
        async with Engine(settings, machines, emit=lambda event: None) as engine:
            yield engine, machines


async def run(sandbox: Sandbox, *argv: str, out: bool = False) -> bytes:
    """Run a command to its end; what it printed when `out`."""
    process = await sandbox.spawn(SpawnSpec(argv, stdout=out, stderr=False))
    printed = b""
    if process.stdout is not None:
        printed = await process.stdout.read_all(1 << 30) or b""
    status = await process.wait()
    assert status.success, status
    return printed


async def timed_ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


def vm_of(sandbox: Sandbox) -> Machine:
    machine = sandbox.machine
    assert isinstance(machine, Machine)
    return machine


def median(values: list[float]) -> float:
    return statistics.median(values)


def row(what: str, value: float, unit: str, target: str = "", met: bool | None = None) -> dict[str, Any]:
    return {"what": what, "value": round(value, 4), "unit": unit, "target": target, "met": met}


def main(name: str, measure: Callable[[], Coroutine[Any, Any, list[dict[str, Any]]]]) -> None:
    """Run one benchmark and print its JSON, as `bench/run` expects."""
    rows = uvloop.run(measure())
    json.dump({"name": name, "rows": rows}, sys.stdout)
