"""One engine for all embedded sandboxes of an event loop: started by the first, stopped with the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from atoll.engine import Engine, EngineSettings, MachineSource
from atoll.model.events import Event

_log = logging.getLogger("atoll.embedded")


@dataclass(frozen=True, slots=True)
class Machines:
    """Where an embedded engine's VMs come from, and its limits."""

    source: MachineSource
    settings: EngineSettings = field(default_factory=EngineSettings)


MachineFactory = Callable[[], AbstractAsyncContextManager[Machines]]


class SharedEngine:
    """An engine on a task of its own, because its task group must be left by the task that entered it."""

    def __init__(self, machines: MachineFactory) -> None:
        loop = asyncio.get_running_loop()
        self.leases = 0
        self.ready: asyncio.Future[Engine] = loop.create_future()
        self._unused = asyncio.Event()
        self._machines = machines
        self._life = loop.create_task(self._live(), name="atoll-embedded-engine")

    async def _live(self) -> None:
        try:
            async with self._machines() as machines, Engine(machines.settings, machines.source, emit=_emit) as engine:
                self.ready.set_result(engine)
                await self._unused.wait()
        except Exception as error:
            if self.ready.done():
                raise
            self.ready.set_exception(error)
            # Whoever waited for it may be gone.
            self.ready.exception()

    async def close(self) -> None:
        """End every sandbox that is left and the engine. Idempotent; being cancelled does not stop it."""
        self._unused.set()
        if not self.ready.done():
            self._life.cancel()
            await asyncio.wait([self._life])
            return
        await asyncio.shield(self._life)


_Engines = dict[MachineFactory, SharedEngine]
_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Engines] = WeakKeyDictionary()


@asynccontextmanager
async def lease_engine(machines: MachineFactory) -> AsyncIterator[Engine]:
    """The running loop's engine on these machines. Errors of starting it, as ImageError or LaunchFailed, come here."""
    engines = _engines.setdefault(asyncio.get_running_loop(), {})
    shared = engines.get(machines)
    if shared is None:
        shared = engines[machines] = SharedEngine(machines)
    shared.leases += 1
    try:
        yield await asyncio.shield(shared.ready)
    finally:
        shared.leases -= 1
        if not shared.leases:
            # Out of the table first: whoever comes while it ends gets a new one.
            if engines.get(machines) is shared:
                del engines[machines]
            await shared.close()


async def close_engines() -> None:
    """End every engine of the running loop, for a program that ends with sandboxes still open."""
    for shared in list(_engines.pop(asyncio.get_running_loop(), {}).values()):
        await shared.close()


def _emit(event: Event) -> None:
    _log.debug("%s sandbox=%s %s", event.kind, event.sandbox_id, dict(event.fields))
