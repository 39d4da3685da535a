"""The store: one file of records and its tables."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from atoll.store.database import Database
from atoll.store.owned import OwnedThings
from atoll.store.records import SandboxRecords
from atoll.store.tokens import Tokens


class Store:
    """`async with Store(path) as store:`. A server and the command line may have it open at once."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.sandboxes = SandboxRecords(self._database)
        self.tokens = Tokens(self._database)
        self.owned = OwnedThings(self._database)

    async def open(self) -> None:
        """Open the file, or make it; HostError if it is not ours, newer than we are, or damaged."""
        await self._database.open()

    async def close(self) -> None:
        """Finish what was asked for, then close the file. Safe to call twice."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
