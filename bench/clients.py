"""The official Python client against a real server: bytes per second, and the server's memory while they flow."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import psutil

from atoll.engine.host import host_machines
from atoll.vmm.launcher import VmmConfig
from bench.sandboxes import STATE, main, row
from bench.served import serving

MIB = 1 << 20
SIZE = 64 * MIB
CHUNK = 512 * 1024


async def as_client() -> None:
    """In a process of its own, so that the client's work is not the server's: one JSON line of rates in MB/s."""
    from deno_sandbox import AsyncDenoDeploy

    async with AsyncDenoDeploy().sandbox.create() as sandbox:
        began = time.perf_counter()
        process = await sandbox.spawn("head", args=["-c", str(SIZE), "/dev/zero"], stdout="piped", stderr="null")
        size = 0
        while data := await process.stdout.read(MIB):
            size += len(data)
        assert size == SIZE, size
        out = SIZE / (time.perf_counter() - began) / 1e6
        piece = os.urandom(CHUNK)

        async def content() -> Any:
            for _ in range(SIZE // CHUNK):
                yield piece

        began = time.perf_counter()
        await sandbox.fs.write_file("big", content())
        into = SIZE / (time.perf_counter() - began) / 1e6
        file = await sandbox.fs.open("big")
        began, size = time.perf_counter(), 0
        while data := await file.read(CHUNK):
            size += len(data)
        assert size == SIZE, size
        back = SIZE / (time.perf_counter() - began) / 1e6
    print(json.dumps({"stdout": out, "write": into, "read": back}))


async def measure() -> list[dict[str, Any]]:
    me = psutil.Process()
    async with host_machines(VmmConfig(STATE, pool_size=0)) as machines, serving(machines) as served:
        environ = {**os.environ, "DENO_DEPLOY_TOKEN": served.token, "NO_PROXY": "127.0.0.1"}
        environ |= {"DENO_DEPLOY_ENDPOINT": served.url, "DENO_SANDBOX_ENDPOINT": served.url}
        rates = []
        before = peak = me.memory_info().rss
        for _ in range(3):
            command = (sys.executable, "-m", "bench.clients", "client")
            client = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.PIPE)
            async with asyncio.TaskGroup() as group:
                told = group.create_task(client.communicate())
                while not told.done():
                    peak = max(peak, me.memory_info().rss)
                    await asyncio.sleep(0.05)
            rates.append(json.loads(told.result()[0]))
            before = before if len(rates) > 1 else me.memory_info().rss
    best = {name: sorted(rate[name] for rate in rates)[1] for name in rates[0]}
    grown = (peak - before) / MIB
    return [
        row("stdout of 64 MiB, official Python client", best["stdout"], "MB/s"),
        row("file write of 64 MiB, official Python client", best["write"], "MB/s", ">= 20", best["write"] >= 20),
        row("file read of 64 MiB, official Python client", best["read"], "MB/s", ">= 20", best["read"] >= 20),
        row("the server's memory grew at most", grown, "MiB"),
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["client"]:
        asyncio.run(as_client())
    else:
        main("clients", measure)
