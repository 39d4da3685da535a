"""Output of processes whose client went away: read and dropped, so that they run on in a sandbox that lives on."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from atoll.model.errors import AtollError
from atoll.vmm.link import ByteSource


class Leftovers:
    """Owns the tasks that outlive their connection; they end with the process, or with the sandbox."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, traceback)

    def drain(self, source: ByteSource) -> None:
        """Drop everything that still comes: a closed pipe would kill its writer."""
        task = self._group.create_task(_drain(source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _drain(source: ByteSource) -> None:
    try:
        async for _ in source:
            pass
    except AtollError:
        pass  # The sandbox is gone, and its output with it.
