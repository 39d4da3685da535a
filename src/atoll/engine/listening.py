"""Waiting for a program to listen on a TCP port."""

from __future__ import annotations

import asyncio

from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.process import Process
from atoll.model.errors import GuestError, SandboxStopped

# Each look costs the guest some milliseconds, more in emulation: soon at first, then less often.
FIRST_STEP_S = 0.02
LAST_STEP_S = 0.5
STEP_GROWTH = 1.3


async def wait_listening(sandbox: GuestPrograms, process: Process) -> int | None:
    """The first TCP port that `process` (or a child of it) listens on; None when it ends before it does."""
    step_s = FIRST_STEP_S
    while process.exited is None:
        try:
            if ports := await sandbox.listening_ports(process.pid):
                return ports[0]
        except (GuestError, SandboxStopped):
            # It is going; its end is about to be told.
            pass
        try:
            async with asyncio.timeout(step_s):
                await process.wait()
        except TimeoutError:
            step_s = min(LAST_STEP_S, step_s * STEP_GROWTH)
    return None
