"""API tokens. Only their SHA-256 is kept: a token has 256 random bits, so a slow hash would protect nothing more."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.model.errors import InvalidSpec
from atoll.store.database import Database

# Both official clients take a token with this prefix as one that belongs to an organisation (WIRE 1.1).
PREFIX = "ddo_"
# `last_used_at_ms` is for people who look for dead tokens; a write for each request would be waste.
USE_NOTED_EVERY_MS = 60_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_LIVE = "SELECT sha256, name, created_at_ms, revoked_at_ms, last_used_at_ms FROM tokens WHERE revoked_at_ms IS NULL"
_ALL = "SELECT name, created_at_ms, revoked_at_ms, last_used_at_ms FROM tokens ORDER BY created_at_ms DESC, name"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is known of a token; times are Unix milliseconds, `last_used_at_ms` to the minute."""

    name: str
    created_at_ms: int
    revoked_at_ms: int | None
    last_used_at_ms: int | None


class Tokens:
    """The table of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> str:
        """A new token's text, which nobody can ask for again; InvalidSpec if the name is taken or is none."""
        if not _NAME.match(name):
            raise InvalidSpec("name", f"{name[:80]!r} is not 1 to 64 letters, digits, dots, dashes, underscores or @")
        text = PREFIX + secrets.token_urlsafe(32)
        row = (name, _digest(text), _now_ms())
        insert = "INSERT INTO tokens (name, sha256, created_at_ms) VALUES (?, ?, ?)"
        try:
            await self._database.write(lambda connection: connection.execute(insert, row).rowcount, durable=True)
        except sqlite3.IntegrityError:
            raise InvalidSpec("name", f"a token has the name {name!r} already, or had it") from None
        return text

    async def verify(self, text: str) -> TokenRecord | None:
        """The live token with this text. It takes the same time wherever, and whether or not, the text matches."""
        sought = _digest(text)

        def work(connection: sqlite3.Connection) -> TokenRecord | None:
            found = None
            for digest, *fields in connection.execute(_LIVE):
                if hmac.compare_digest(digest, sought):
                    found = TokenRecord(*fields)
            return found

        token = await self._database.read(work)
        if token is not None and _now_ms() - (token.last_used_at_ms or 0) >= USE_NOTED_EVERY_MS:
            await self._note_use(token.name)
        return token

    async def revoke(self, name: str) -> None:
        """End a token at once; InvalidSpec if no live one has this name. The name stays taken: logs may have it."""
        update = "UPDATE tokens SET revoked_at_ms = ? WHERE name = ? AND revoked_at_ms IS NULL"
        values = (_now_ms(), name.encode("utf-8", "replace").decode())
        if not await self._database.write(lambda connection: connection.execute(update, values).rowcount, durable=True):
            raise InvalidSpec("name", f"no live token has the name {name[:80]!r}")

    async def list(self) -> Sequence[TokenRecord]:
        """All tokens, revoked ones too, newest first."""
        return await self._database.read(lambda connection: [TokenRecord(*row) for row in connection.execute(_ALL)])

    async def _note_use(self, name: str) -> None:
        update, values = "UPDATE tokens SET last_used_at_ms = ? WHERE name = ?", (_now_ms(), name)
        await self._database.write(lambda connection: connection.execute(update, values).rowcount)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
