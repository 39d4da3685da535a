"""One SQLite connection and the one thread that may touch it. The only place that knows SQLite's errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from atoll.model.errors import HostError
from atoll.store.schema import APPLICATION_ID, MIGRATIONS

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

# How long a write waits for another process (the command line beside a server) to finish its own.
BUSY_TIMEOUT_S = 10.0


class Database:
    """Work is done in the order in which it was asked for, each piece in a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._work: queue.SimpleQueue[Callable[[sqlite3.Connection], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Open the file, or make it; HostError if it is not ours, newer than we are, or damaged."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._serve, args=(loop, opened), name="atoll-store", daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was asked for, then close the file. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            await asyncio.to_thread(thread.join)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._ask(work)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work` in a transaction. What is `durable` survives a power cut too, at the price of an fsync.

        The rest survives the end of our process, however it ends: a power cut ends every VM anyway.
        """
        return await self._ask(lambda connection: _in_transaction(connection, work, durable=durable))

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise HostError(f"the records at {self.path} are not open")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def job(connection: sqlite3.Connection) -> None:
            try:
                outcome, error = work(connection), None
            except Exception as caught:  # noqa: BLE001 - it is the asker's error, not this thread's
                outcome, error = None, self._mapped(caught)
            _post(loop, answer, outcome, error)

        self._work.put(job)
        return await answer

    def _serve(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            connection = _connect(self.path)
        except Exception as caught:  # noqa: BLE001 - told to whoever waits in open()
            _post(loop, opened, None, self._mapped(caught))
            return
        with contextlib.closing(connection):
            _post(loop, opened, None, None)
            while (job := self._work.get()) is not None:
                job(connection)

    def _mapped(self, error: Exception) -> Exception:
        if isinstance(error, OSError):
            return HostError(f"the records at {self.path} cannot be opened: {error.strerror}")
        # IntegrityError is a rule of the schema that the asker meant to meet; it handles that itself.
        if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.IntegrityError):
            return error
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        remedy = "; move the file away or restore a copy of it" if damaged else ""
        return HostError(f"the records at {self.path}: {error}{remedy}")


def _post(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], outcome: Any, error: Exception | None) -> None:
    def settle() -> None:
        if future.done():
            return  # the asker was cancelled; the work is done all the same
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(outcome)

    # The loop is closed when its owner died without close(): nobody waits any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)


def _connect(path: Path) -> sqlite3.Connection:
    # Traversable, not listable: a jailed VMM has a uid of its own.
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the mode of the database.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _check_ours(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        _in_transaction(connection, _migrate, durable=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection) -> None:
    """Refuse a file before the first write to it."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID and (application_id or objects):
        raise sqlite3.DatabaseError("this is another program's database")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged ({' '.join(verdict.split())})")


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise sqlite3.NotSupportedError(
            f"a newer atoll made this file (schema {version}, known up to {len(MIGRATIONS)})"
        )
    for script in MIGRATIONS[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    if version < len(MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _statements(script: str) -> list[str]:
    """The statements of a script: `executescript` would commit the transaction that we are in."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _in_transaction(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], *, durable: bool = False
) -> T:
    if durable:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        # IMMEDIATE: a transaction that reads first and writes later could otherwise fail half-way as busy.
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcome = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        return outcome
    finally:
        if durable:
            connection.execute("PRAGMA synchronous = NORMAL")
