"""What each sandbox owns on the host. Written before a thing is made, so that a crash leaves nothing unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.store.database import Database


@dataclass(frozen=True, slots=True)
class Owned:
    """One thing: its kind (`process`, `cgroup`, …) and what finds it again (for a process its pid and start time)."""

    sandbox_id: str
    kind: str
    ident: str


class OwnedThings:
    """The table of owned things."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, sandbox_id: str, kind: str, ident: str) -> None:
        """Note it before making it; noting it twice is no error."""
        insert, row = (
            "INSERT OR IGNORE INTO owned (sandbox_id, kind, ident) VALUES (?, ?, ?)",
            (sandbox_id, kind, ident),
        )
        await self._database.write(lambda connection: connection.execute(insert, row).rowcount)

    async def remove(self, sandbox_id: str, kind: str, ident: str) -> None:
        """Forget it after it is gone; forgetting what is not known is no error."""
        delete, row = "DELETE FROM owned WHERE sandbox_id = ? AND kind = ? AND ident = ?", (sandbox_id, kind, ident)
        await self._database.write(lambda connection: connection.execute(delete, row).rowcount)

    async def list_all(self) -> Sequence[Owned]:
        """Everything that is owned, sandbox by sandbox."""
        query = "SELECT sandbox_id, kind, ident FROM owned ORDER BY sandbox_id, kind, ident"
        return await self._database.read(lambda connection: [Owned(*row) for row in connection.execute(query)])
