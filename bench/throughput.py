"""Bytes per second: stdout of 64 MiB and files of 64 MiB, and whether the host's memory stays flat."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil

from atoll.engine import Sandbox
from atoll.model.process import SpawnSpec
from atoll.model.spec import SandboxSpec
from bench.sandboxes import ACTOR, main, median, row, running_engine

MIB = 1 << 20
SIZE = 64 * MIB
ROUNDS = 5


def rate(began: float) -> float:
    return SIZE / (time.perf_counter() - began) / 1e6


async def stdout(sandbox: Sandbox) -> float:
    began = time.perf_counter()
    process = await sandbox.spawn(SpawnSpec(("head", "-c", str(SIZE), "/dev/zero"), stderr=False))
    assert process.stdout is not None
    size = 0
    async for chunk in process.stdout:
        size += len(chunk)
    assert size == SIZE
    await process.wait()
    return rate(began)


async def pieces(total: int, piece: bytes) -> Any:
    for _ in range(total // len(piece)):
        yield piece


async def write(sandbox: Sandbox) -> float:
    began = time.perf_counter()
    async with sandbox.files() as files:
        await files.write_file("big", pieces(SIZE, os.urandom(256 * 1024)))
    return rate(began)


async def read(sandbox: Sandbox) -> float:
    began = time.perf_counter()
    size = 0
    async with sandbox.files() as files:
        async for chunk in await files.open_read("big"):
            size += len(chunk)
    assert size == SIZE
    return rate(began)


async def measure() -> list[dict[str, Any]]:
    me = psutil.Process()
    rates: dict[str, list[float]] = {"stdout": [], "write": [], "read": []}
    async with running_engine() as (engine, _):
        sandbox = await engine.create(SandboxSpec(), ACTOR)
        for measured in (stdout, write, read):
            await measured(sandbox)
        before = me.memory_info().rss
        for _ in range(ROUNDS):
            rates["stdout"].append(await stdout(sandbox))
            rates["write"].append(await write(sandbox))
            rates["read"].append(await read(sandbox))
        grown = (me.memory_info().rss - before) / MIB
    out, into, back = (median(rates[name]) for name in ("stdout", "write", "read"))
    return [
        row("stdout of 64 MiB, embedded", out, "MB/s", ">= 30", out >= 30),
        row("file write of 64 MiB, embedded", into, "MB/s", ">= 20", into >= 20),
        row("file read of 64 MiB, embedded", back, "MB/s", ">= 20", back >= 20),
        row("host process grew over 960 MiB moved", grown, "MiB", "<= 8", grown <= 8),
    ]


if __name__ == "__main__":
    main("throughput", measure)
