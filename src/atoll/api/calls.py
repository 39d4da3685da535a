"""Requests that are under way on one connection: bounded, and answered even when they are cut short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from atoll.model.errors import AtollError

# More at once are refused: a client that waits for a thousand processes works, one that floods does not.
MAX_CALLS = 2048
# Of their parameters; above this the receive loop waits, and with it the client.
MAX_CALL_BYTES = 128 * 1024 * 1024
# Meanwhile nothing is read from the client, not even that it is gone; clients drop a server that is silent for 20 s.
ROOM_WAIT_S = 10.0


@dataclass(slots=True, eq=False)
class Call:
    """One request. `interruption` is what it is answered with if its task is cancelled on purpose."""

    id: Any
    method: str
    params: Any
    size: int
    task: asyncio.Task[None] | None = None
    interruption: AtollError | None = None
    registered_as: int | None = None
    begun: bool = False
    answering: bool = False

    @property
    def abort_id(self) -> int | None:
        """By which the client may take it back; `abort` itself names somebody else's."""
        given = self.params.get("abortId") if isinstance(self.params, dict) and self.method != "abort" else None
        return given if isinstance(given, int) else None

    def interrupt(self, reason: AtollError) -> None:
        """Have it answered with `reason` now, unless its answer is on its way."""
        if not self.answering and self.interruption is None:
            self.interruption = reason
            # A task that is cancelled before its first step never runs, and could not answer.
            if self.begun and self.task is not None:
                self.task.cancel()


class Calls:
    """Those of one connection."""

    def __init__(self) -> None:
        self._present: set[Call] = set()
        self._by_abort_id: dict[int, Call] = {}
        self._bytes = 0
        self._fewer = asyncio.Event()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [call.task for call in self._present if call.task is not None]

    async def add(self, call: Call) -> bool:
        """Take it in, or say False: there are too many, or too many bytes of parameters for too long."""
        if len(self._present) >= MAX_CALLS or not await self._has_room(call.size):
            return False
        self._present.add(call)
        self._bytes += call.size
        if (abort_id := call.abort_id) is not None:
            call.registered_as = abort_id
            self._by_abort_id[abort_id] = call
        return True

    async def _has_room(self, size: int) -> bool:
        try:
            async with asyncio.timeout(ROOM_WAIT_S):
                while self._bytes and self._bytes + size > MAX_CALL_BYTES:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            return False
        return True

    def remove(self, call: Call) -> None:
        self._present.discard(call)
        self._bytes -= call.size
        self._fewer.set()
        if call.registered_as is not None and self._by_abort_id.get(call.registered_as) is call:
            del self._by_abort_id[call.registered_as]

    def abort(self, abort_id: int, reason: AtollError) -> None:
        """Interrupt the one with this abort id, if there is one."""
        if (call := self._by_abort_id.get(abort_id)) is not None:
            call.interrupt(reason)

    def interrupt_all(self, reason: AtollError) -> None:
        for call in tuple(self._present):
            call.interrupt(reason)
