"""What this server owns on the host, written down where it outlives the server.

A VMM dies with its parent. The record is for the few milliseconds of a start in which it does not yet.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from atoll.vmm.figures import start_ticks

PROCESS = "vmm-process"


class Ledger(Protocol):
    """Where records are kept; the engine gives the store's."""

    async def add(self, kind: str, ident: str) -> None: ...

    async def remove(self, kind: str, ident: str) -> None: ...


class NoLedger:
    """Records nothing."""

    async def add(self, kind: str, ident: str) -> None:
        return

    async def remove(self, kind: str, ident: str) -> None:
        return


@asynccontextmanager
async def recorded(ledger: Ledger, pid: int) -> AsyncIterator[None]:
    """A process on record for as long as the context lasts."""
    # A pid alone is given to somebody else one day; with its start it names one process for good.
    ident = f"{pid}:{start_ticks(pid) or 0}"
    await ledger.add(PROCESS, ident)
    try:
        yield
    finally:
        await ledger.remove(PROCESS, ident)


def reap(kind: str, ident: str) -> bool:
    """After a crash: end what a record names, if it still exists. Whether it did."""
    if kind != PROCESS:
        return False
    pid, _, ticks = ident.partition(":")
    try:
        pidfd = os.pidfd_open(int(pid))
    except (OSError, ValueError, OverflowError):
        return False
    try:
        # Looked at after the pidfd is held, so that it cannot be another process by the time of the signal.
        if str(start_ticks(int(pid))) != ticks:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(pidfd)
