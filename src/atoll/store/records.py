"""Sandboxes that are and were: written as they move through their life, listed newest first."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from atoll.model.errors import InvalidSpec, SandboxNotFound
from atoll.model.ids import is_sandbox_id
from atoll.model.lifecycle import State, StopReason
from atoll.model.spec import SandboxSpec
from atoll.store.database import Database

MAX_PAGE = 1000

_HAS_LABEL = " AND seq IN (SELECT seq FROM labels WHERE key = ? AND value = ?)"


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """One sandbox. Times are Unix milliseconds; `accelerator` and `image_digest` are known once it runs."""

    id: str
    status: State
    region: str
    memory_mib: int
    vcpus: int
    accelerator: str | None
    image_digest: str | None
    created_at_ms: int
    stopped_at_ms: int | None
    stop_reason: StopReason | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SandboxPage:
    """Records newest first; `next` is the `after` of the following page, None at the end."""

    records: Sequence[SandboxRecord]
    next: str | None


class SandboxRecords:
    """The table of sandboxes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_started(self, sandbox_id: str, spec: SandboxSpec, created_at_ms: int) -> None:
        """Note a sandbox before anything of it is made."""

        def work(connection: sqlite3.Connection) -> None:
            seq = connection.execute(
                "INSERT INTO sandboxes (id, status, region, memory_mib, vcpus, created_at_ms)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (sandbox_id, State.STARTING.value, spec.region, spec.memory_mib, spec.vcpus, created_at_ms),
            ).lastrowid
            rows = [(_bytes(key), _bytes(value), seq) for key, value in spec.labels.items()]
            connection.executemany("INSERT INTO labels (key, value, seq) VALUES (?, ?, ?)", rows)

        await self._database.write(work)

    async def put_running(self, sandbox_id: str, *, accelerator: str, image_digest: str) -> None:
        await self._update(
            "UPDATE sandboxes SET status = ?, accelerator = ?, image_digest = ? WHERE id = ? AND status = ?",
            (State.RUNNING.value, accelerator, image_digest, sandbox_id, State.STARTING.value),
            sandbox_id,
        )

    async def put_stopped(self, sandbox_id: str, reason: StopReason, stopped_at_ms: int) -> None:
        """Note the end of a sandbox; the first reason stands when it is noted twice."""
        await self._update(
            "UPDATE sandboxes SET status = ?, stop_reason = coalesce(stop_reason, ?),"
            " stopped_at_ms = coalesce(stopped_at_ms, ?) WHERE id = ?",
            (State.STOPPED.value, reason.value, stopped_at_ms, sandbox_id),
            sandbox_id,
        )

    async def stop_all(self, reason: StopReason, stopped_at_ms: int) -> Sequence[str]:
        """Note the end of every sandbox that the records hold for alive; their ids. For the start of a server."""

        def work(connection: sqlite3.Connection) -> Sequence[str]:
            rows = connection.execute(
                "UPDATE sandboxes SET status = ?, stop_reason = ?, stopped_at_ms = max(?, created_at_ms)"
                " WHERE status <> 'stopped' RETURNING id",
                (State.STOPPED.value, reason.value, stopped_at_ms),
            )
            return [sandbox_id for (sandbox_id,) in rows]

        return await self._database.write(work)

    async def get(self, sandbox_id: str) -> SandboxRecord:
        """The record, or SandboxNotFound."""
        if not is_sandbox_id(sandbox_id):
            raise SandboxNotFound(sandbox_id)
        wanted = "SELECT * FROM sandboxes WHERE id = ?"
        rows = await self._database.read(lambda connection: _fetch(connection, wanted, (sandbox_id,)))
        if not rows:
            raise SandboxNotFound(sandbox_id)
        return rows[0][1]

    async def list(
        self, labels: Mapping[str, str] | None = None, *, limit: int = 100, after: str | None = None
    ) -> SandboxPage:
        """Up to `limit` records that have all of `labels`, newest first, from where the page before ended."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidSpec("limit", f"{limit} is not between 1 and {MAX_PAGE}")
        wanted = labels or {}
        query = "SELECT * FROM sandboxes WHERE seq < ?" + _HAS_LABEL * len(wanted) + " ORDER BY seq DESC LIMIT ?"  # noqa: S608
        pairs = (_bytes(text) for pair in wanted.items() for text in pair)
        values = (_read_cursor(after), *pairs, limit + 1)
        rows = await self._database.read(lambda connection: _fetch(connection, query, values))
        page = rows[:limit]
        return SandboxPage([record for _, record in page], str(page[-1][0]) if len(rows) > limit else None)

    async def _update(self, statement: str, values: tuple[Any, ...], sandbox_id: str) -> None:
        changed = await self._database.write(lambda connection: connection.execute(statement, values).rowcount)
        if not changed:
            raise SandboxNotFound(sandbox_id)


def _fetch(connection: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> list[tuple[int, SandboxRecord]]:
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    return [(row["seq"], _record(row, _labels(connection, row["seq"]))) for row in rows]


def _labels(connection: sqlite3.Connection, seq: int) -> Mapping[str, str]:
    rows = connection.execute("SELECT key, value FROM labels WHERE seq = ? ORDER BY key", (seq,))
    return MappingProxyType({_text(key): _text(value) for key, value in rows})


def _record(row: dict[str, Any], labels: Mapping[str, str]) -> SandboxRecord:
    reason = row.pop("stop_reason")
    status = State(row.pop("status"))
    del row["seq"]
    return SandboxRecord(**row, status=status, stop_reason=StopReason(reason) if reason else None, labels=labels)


def _read_cursor(after: str | None) -> int:
    if after is None:
        return 2**63 - 1
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise InvalidSpec("cursor", f"{after[:40]!r} is not one that this server gave")
    return int(after)


def _bytes(label: str) -> bytes:
    """A label as it is stored: JSON can carry lone surrogates, which SQLite's TEXT cannot."""
    return label.encode("utf-8", "surrogatepass")


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")
