"""create → first `true` has exited: cold boot, template, pool; and where the time of a create goes."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from atoll.engine import Engine
from atoll.engine.barrier import pass_barrier
from atoll.engine.host import HostMachines, boot_files
from atoll.engine.process import Processes
from atoll.model.ids import new_sandbox_id
from atoll.model.process import SpawnSpec
from atoll.model.spec import SandboxSpec
from atoll.vmm import ram
from atoll.vmm.command import ColdBoot
from atoll.vmm.confine import Confinement, find_qemu
from atoll.vmm.disk import GIB, make_disk
from atoll.vmm.launch import Host, Parts, start_vm
from atoll.vmm.ledger import NoLedger
from atoll.vmm.shape import Accel
from bench.sandboxes import ACTOR, SHAPE, STATE, main, median, row, run, running_engine, timed_ms

RUNS = 20
COLD_RUNS = 5


async def cold() -> float:
    """The same image and agent, booted from its kernel, to the end of its first `true`; milliseconds."""
    _, boot = boot_files(STATE)
    host = Host(Confinement.detect(find_qemu(), STATE), NoLedger())
    with ExitStack() as stack, tempfile.TemporaryDirectory(dir=STATE) as folder:
        began = time.perf_counter()
        disk = Path(folder) / "disk"
        make_disk(disk, 10 * GIB)
        fds = {
            "kernel": os.open(boot.kernel, os.O_RDONLY),
            "initramfs": ram.memfd_of("bench", boot.initramfs.read_bytes() + boot.agent_cpio),
            "ram": ram.new_memfd("bench-ram", SHAPE.memory_mib << 20),
            "rootfs": os.open(boot.rootfs, os.O_RDONLY),
            "disk": os.open(disk, os.O_RDWR),
        }
        for fd in fds.values():
            stack.callback(os.close, fd)
        start = ColdBoot(kernel=fds["kernel"], initramfs=fds["initramfs"])
        started = await start_vm(host, Parts(SHAPE, Accel.TCG, fds["ram"], fds["rootfs"], fds["disk"], start))
        link = started.machine.link
        try:
            await link.hello()
            await pass_barrier(link, new_sandbox_id())
            processes = Processes(link)
            link.on_notice = lambda name, params: processes.on_exited(params)
            spec = SpawnSpec(("true",), stdout=False, stderr=False)
            await (await processes.start(spec, {"PATH": "/usr/bin"}, "/")).wait()
            return (time.perf_counter() - began) * 1000
        finally:
            await started.machine.destroy()


async def create_and_true(engine: Engine) -> tuple[float, float]:
    """Milliseconds of `create`, and of create and the first `true` together."""
    began = time.perf_counter()
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    created = time.perf_counter()
    await run(sandbox, "true")
    ended = time.perf_counter()
    await sandbox.kill()
    return (created - began) * 1000, (ended - began) * 1000


async def stages(machines: HostMachines) -> dict[str, float]:
    """Medians of the steps of a create from the template, in milliseconds."""
    steps: dict[str, list[float]] = {"restore": [], "barrier": [], "pause and resume": []}
    for _ in range(RUNS // 2):
        began = time.perf_counter()
        machine = await machines.acquire(SHAPE.memory_mib, SHAPE.vcpus)
        steps["restore"].append((time.perf_counter() - began) * 1000)
        steps["barrier"].append(await timed_ms(pass_barrier(machine.link, new_sandbox_id())))
        began = time.perf_counter()
        await machine.pause()
        await machine.resume()
        steps["pause and resume"].append((time.perf_counter() - began) * 1000)
        await machine.destroy()
    return {name: median(values) for name, values in steps.items()}


async def measure() -> list[dict[str, Any]]:
    colds = [await cold() for _ in range(COLD_RUNS)]
    async with running_engine() as (engine, machines):
        template = [await create_and_true(engine) for _ in range(RUNS)]
        parts = await stages(machines)
    async with running_engine(pool=2) as (engine, machines):
        pool = machines.launcher.pool(SHAPE)
        assert pool is not None
        pooled = []
        for _ in range(RUNS):
            await pool.wait_full()
            pooled.append(await create_and_true(engine))
        await asyncio.sleep(0)
    cold_ms = median(colds)
    template_ms, pool_ms = (median([both for _, both in values]) for values in (template, pooled))
    pool_create_ms = median([create for create, _ in pooled])
    rows = [
        row("cold boot to the end of the first true", cold_ms, "ms"),
        row("template: create and first true", template_ms, "ms"),
        row("template / cold", template_ms / cold_ms, "", "<= 0.1", template_ms / cold_ms <= 0.1),
        row("pool: create and first true", pool_ms, "ms"),
        row("pool / cold", pool_ms / cold_ms, "", "<= 0.02", pool_ms / cold_ms <= 0.02),
        row("pool: create() alone", pool_create_ms, "ms", "<= 60", pool_create_ms <= 60),
        row("template: create() alone", median([create for create, _ in template]), "ms"),
    ]
    rows += [row(f"stage: {name}", value, "ms") for name, value in parts.items()]
    print(f"cold {colds}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main("create", measure)
