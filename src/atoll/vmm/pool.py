"""VMs of one size that are restored, warmed and paused: a claim costs one QMP command."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from atoll.model.errors import AtollError
from atoll.vmm.machine import Machine

log = logging.getLogger("atoll.vmm")

MAX_BACKOFF_S = 60.0
WARM_DEADLINE_S = 60.0
# A refill takes a core for some hundred milliseconds; the create that made it necessary goes first.
REFILL_DELAY_S = 0.3


class Pool:
    """Keeps up to `size` machines ready. `run` fills it; `claim` takes one out."""

    def __init__(
        self,
        size: int,
        restore: Callable[[], Awaitable[Machine]],
        *,
        backoff_s: float = 1.0,
        refill_delay_s: float = REFILL_DELAY_S,
    ) -> None:
        self.size = size
        self._refill_delay_s = refill_delay_s
        self._restore = restore
        self._backoff_s = backoff_s
        self._ready: deque[Machine] = deque()
        self._dead: list[Machine] = []
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def ready(self) -> int:
        """How many can be claimed now."""
        return len(self._ready)

    async def run(self) -> None:
        """Keep the pool full, one VM at a time, until cancelled or closed."""
        failures = 0
        while not self._closed:
            await self._bury()
            if len(self._ready) >= self.size:
                self._wanted.clear()
                await self._wanted.wait()
                await asyncio.sleep(self._refill_delay_s)
                continue
            if await self._add_one():
                failures = 0
            else:
                await asyncio.sleep(min(MAX_BACKOFF_S, self._backoff_s * 2**failures))
                failures += 1

    async def claim(self) -> Machine | None:
        """A machine that runs, or None when none is ready. The caller owns it."""
        while self._ready:
            machine = self._ready.popleft()
            self._wanted.set()
            try:
                await machine.resume()
            except AtollError as error:
                log.warning("a pooled machine was lost", extra={"error": str(error)})
                await machine.destroy()
            except BaseException:
                await machine.destroy()
                raise
            else:
                return machine
        return None

    async def wait_full(self) -> None:
        """Until as many are ready as the pool keeps."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._ready) >= self.size or self._closed)

    async def close(self) -> None:
        """Destroy what is ready; nothing is added after this. Cancel `run` first, or beside. Idempotent."""
        self._closed = True
        self._wanted.set()
        while self._ready:
            await self._ready.popleft().destroy()
        await self._bury()
        async with self._changed:
            self._changed.notify_all()

    async def _bury(self) -> None:
        while self._dead:
            await self._dead.pop().destroy()

    async def _add_one(self) -> bool:
        """Whether it worked. Never raises: a pool that cannot be filled makes creates slow, not wrong."""
        try:
            machine = await self._restore()
        except AtollError as error:
            log.warning("the pool could not be filled", extra={"error": str(error)})
            return False
        try:
            async with asyncio.timeout(WARM_DEADLINE_S):
                await machine.link.request("warm", {})
                await machine.pause()
        except (AtollError, TimeoutError) as error:
            log.warning("a machine for the pool did not warm up", extra={"error": str(error)})
            await machine.destroy()
            return False
        except BaseException:
            await machine.destroy()
            raise
        await self._keep(machine)
        return True

    async def _keep(self, machine: Machine) -> None:
        if self._closed:
            await machine.destroy()
            return
        self._ready.append(machine)
        machine.exited.add_done_callback(lambda _: self._lost(machine))
        async with self._changed:
            self._changed.notify_all()

    def _lost(self, machine: Machine) -> None:
        """It died while it waited: the next claim must not get it."""
        if machine in self._ready:
            self._ready.remove(machine)
            self._dead.append(machine)
            self._wanted.set()
