"""Waiting for a program to listen on a TCP port."""

from __future__ import annotations

import asyncio
from time import monotonic

from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.process import Process
from atoll.model.errors import GuestError, SandboxStopped

# Each look costs the guest some milliseconds, more in emulation. So they come soon at first and then less and less
# often: what is found is at most a tenth older than the wait was long.
FIRST_STEP_S = 0.02
LAST_STEP_S = 1.0
STEP_OF_WAIT = 0.1


async def wait_listening(sandbox: GuestPrograms, process: Process) -> int | None:
    """The first TCP port that `process` (or a child of it) listens on; None when it ends before it does."""
    started = monotonic()
    while process.exited is None:
        try:
            if ports := await sandbox.listening_ports(process.pid):
                return ports[0]
        except (GuestError, SandboxStopped):
            # It is going; its end is about to be told.
            pass
        step_s = min(LAST_STEP_S, max(FIRST_STEP_S, (monotonic() - started) * STEP_OF_WAIT))
        try:
            async with asyncio.timeout(step_s):
                await process.wait()
        except TimeoutError:
            continue
    return None
