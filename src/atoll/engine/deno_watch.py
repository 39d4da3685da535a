"""Knowing when `deno run --watch` starts its program again.

Deno tells it on stderr only, between whatever the program prints there. So a module that Deno loads
before the program's own (`--preload`) adds a line to a file each time, and `tail` follows that file.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self
from urllib.parse import quote

from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.process import Process
from atoll.model.errors import GuestError, ProcessNotFound, SandboxStopped
from atoll.model.events import Actor
from atoll.model.process import SpawnSpec

ENGINE = Actor("engine")


class RestartLog:
    """A file in the guest that has one line per start of the program."""

    def __init__(self, sandbox: GuestPrograms, path: str) -> None:
        self._sandbox = sandbox
        self._path = path

    @classmethod
    async def create(cls, sandbox: GuestPrograms) -> Self:
        async with sandbox.files() as files:
            return cls(sandbox, await files.make_temp_file(prefix="atoll-watch-"))

    @property
    def preload(self) -> str:
        """The module for `--preload`, as a URL that contains it."""
        code = f'Deno.writeTextFileSync({json.dumps(self._path)}, "\\n", {{ append: true }});'
        return "data:text/javascript," + quote(code, safe="")

    async def restarts(self, process: Process) -> AsyncIterator[None]:
        """None for each start but the first, until the process ends."""
        command = ("tail", "-c", "+1", "-f", f"--pid={process.pid}", self._path)
        try:
            tail = await self._sandbox.spawn(SpawnSpec(command, stderr=False, cwd="/"), ENGINE)
        except (GuestError, SandboxStopped):
            return
        seen = 0
        try:
            assert tail.stdout is not None
            with self._sandbox.asking():
                async for chunk in tail.stdout:
                    for _ in chunk:
                        seen += 1
                        if seen > 1:
                            yield None
        except (GuestError, SandboxStopped):
            return
        finally:
            await self._remove(tail)

    async def _remove(self, tail: Process) -> None:
        with suppress(ProcessNotFound, GuestError, SandboxStopped):
            await tail.signal("SIGKILL")
        with suppress(GuestError, SandboxStopped):
            async with self._sandbox.files() as files:
                await files.remove(self._path)
