"""What the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.api.leftovers import Leftovers
from atoll.api.outbound import Ids
from atoll.api.spool import SpoolSpace
from atoll.engine import Engine
from atoll.model.lifecycle import StopReason
from atoll.store import Store


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """`stall_s`: how long a client may leave what it is sent unread. `spool_dir` None is the system's place."""

    max_connections: int = 1024
    stall_s: float = 120.0
    spool_dir: Path | None = None


class Api:
    """What the routes share. `leftovers` is entered, and left, by whoever runs the server."""

    def __init__(self, engine: Engine, store: Store, leftovers: Leftovers, settings: ApiSettings) -> None:
        self.engine = engine
        self.store = store
        self.leftovers = leftovers
        self.settings = settings
        self.ids = Ids()
        self.space = SpoolSpace(settings.spool_dir)
        self.connections = 0
        self.is_closing = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Count a connection for as long as it lasts."""
        self.connections += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self.connections -= 1
            if not self.connections:
                self._quiet.set()

    async def end_all(self) -> None:
        """End every sandbox, and wait until every client has been answered and its socket closed."""
        self.is_closing = True
        for sandbox in self.engine.live:
            sandbox.end(StopReason.SERVER_STOPPED)
        await self._quiet.wait()
