"""What atoll adds to a command: `true` through the engine and through the API, against posix_spawn in the guest."""

from __future__ import annotations

from typing import Any

import aiohttp

from atoll.model.spec import SandboxSpec
from bench.sandboxes import ACTOR, main, median, row, run, running_engine, timed_ms
from bench.served import Rpc, serving

RUNS = 40
ROUNDS = 3

IN_GUEST = """
import os, time
taken = []
for _ in range(40):
    began = time.perf_counter()
    pid = os.posix_spawn("/usr/bin/true", ["true"], os.environ)
    os.waitpid(pid, 0)
    taken.append((time.perf_counter() - began) * 1000)
print(sorted(taken)[20])
"""


async def through_rpc(rpc: Rpc) -> None:
    spawned = await rpc.call("spawn", {"command": "true", "stdout": "null", "stderr": "null"})
    ended = await rpc.call("processWait", {"pid": spawned["pid"]})
    assert ended["success"], ended


async def measure() -> list[dict[str, Any]]:
    """In turn, so that all three meet the same host."""
    inside: list[float] = []
    engine_ms: list[float] = []
    rpc_ms: list[float] = []
    async with running_engine() as (engine, machines), aiohttp.ClientSession() as session:
        async with serving(machines) as served, served.sandbox(session) as rpc:
            sandbox = await engine.create(SandboxSpec(), ACTOR)
            for _ in range(5):
                await run(sandbox, "true")
                await through_rpc(rpc)
            for _ in range(ROUNDS):
                inside.append(float(await run(sandbox, "python3", "-I", "-S", "-c", IN_GUEST, out=True)))
                engine_ms += [await timed_ms(run(sandbox, "true")) for _ in range(RUNS)]
                rpc_ms += [await timed_ms(through_rpc(rpc)) for _ in range(RUNS)]
    floor = median(inside)
    added = median(rpc_ms) - floor
    return [
        row("posix_spawn of true inside the guest", floor, "ms"),
        row("true through the engine", median(engine_ms), "ms"),
        row("true through the WebSocket API", median(rpc_ms), "ms"),
        row("the API adds to posix_spawn", added, "ms", "<= 15", added <= 15),
    ]


if __name__ == "__main__":
    main("exec", measure)
