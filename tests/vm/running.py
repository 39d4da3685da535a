"""Runs a command in a sandbox to its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from atoll.engine import Sandbox
from atoll.model.process import ExitStatus, SpawnSpec


@dataclass(frozen=True)
class Finished:
    """A command that has ended, with everything that it printed."""

    status: ExitStatus
    out: str
    err: str


async def run(sandbox: Sandbox, *argv: str, stdin: bytes | None = None, **options: Any) -> Finished:
    process = await sandbox.spawn(SpawnSpec(argv, stdin=stdin is not None, **options))
    assert process.stdout is not None and process.stderr is not None
    async with asyncio.TaskGroup() as group:
        out = group.create_task(process.stdout.read_all(1 << 26))
        err = group.create_task(process.stderr.read_all(1 << 26))
        if process.stdin is not None and stdin is not None:
            await process.stdin.write(stdin)
            process.stdin.close()
        status = await process.wait()
    return Finished(status, (out.result() or b"").decode(), (err.result() or b"").decode())


async def output(sandbox: Sandbox, *argv: str, **options: Any) -> str:
    """What a command that must succeed printed."""
    finished = await run(sandbox, *argv, **options)
    assert finished.status.success, finished
    return finished.out
