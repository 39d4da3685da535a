"""A clone is somebody of its own before anything runs in it: no two share a random byte, a name or an old clock."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.engine import Engine
from atoll.model.process import SpawnSpec
from atoll.model.spec import SandboxSpec
from tests.vm.conftest import ACTOR

CLONES = 100
AT_ONCE = 3
MAX_CLOCK_ERROR_NS = 50_000_000

# Prints one line of everything that must differ, then the time for each line that it is given.
ASK = """
import json, os, random, secrets, subprocess, sys, time, uuid
print(json.dumps({
    "getrandom": os.getrandom(16).hex(),
    "urandom": open("/dev/urandom", "rb").read(16).hex(),
    "uuid4": uuid.uuid4().hex,
    "random": random.randbytes(16).hex(),
    "secrets": secrets.token_hex(16),
    "openssl": subprocess.check_output(["openssl", "rand", "-hex", "16"], text=True).strip(),
    "auxv": open("/proc/self/auxv", "rb").read().hex(),
    "boot_uuid": open("/proc/sys/kernel/random/uuid").read().strip(),
    "hostname": os.uname().nodename,
    "machine_id": open("/etc/machine-id").read().strip(),
}), flush=True)
for line in sys.stdin:
    print(time.time_ns(), flush=True)
"""


async def ask(engine: Engine) -> tuple[dict[str, Any], int]:
    """One clone's answers, and how wrong its clock is for certain, in nanoseconds."""
    sandbox = await engine.create(SandboxSpec(), ACTOR)
    process = await sandbox.spawn(SpawnSpec(("python3", "-c", ASK), stdin=True, stderr=False))
    assert process.stdout is not None and process.stdin is not None
    text = b""
    while not text.endswith(b"\n"):
        text += await process.stdout.read()
    error = MAX_CLOCK_ERROR_NS * 1000
    for _ in range(3):
        before = time.time_ns()
        await process.stdin.write(b"\n")
        told = int(await process.stdout.read())
        after = time.time_ns()
        # The guest read its clock somewhere in between; only what lies outside is its fault.
        error = min(error, max(before - told, told - after, 0))
    await sandbox.kill()
    return json.loads(text), error


def sixteen_bytes(answers: list[dict[str, Any]]) -> Iterator[str]:
    for answer in answers:
        for name in ("getrandom", "urandom", "uuid4", "random", "secrets", "openssl", "machine_id"):
            yield answer[name]


@pytest.mark.timeout(400)
async def test_a_hundred_clones_are_a_hundred_different_machines(engine: Engine) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> tuple[dict[str, Any], int]:
        async with slots:
            return await ask(engine)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(CLONES)]
    answers = [task.result()[0] for task in tasks]
    values = list(sixteen_bytes(answers))
    assert len(values) == CLONES * 7
    assert len(set(values)) == len(values)
    for name in ("auxv", "boot_uuid", "hostname"):
        assert len({answer[name] for answer in answers}) == CLONES, name
    worst = max(task.result()[1] for task in tasks)
    assert worst < MAX_CLOCK_ERROR_NS, f"a clone's clock was wrong by {worst / 1e6:.1f} ms"
