"""What `run` and `exec` have in common around a command: its terminal, its failure to start, and our own end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from atoll.cli.attach import Interrupts
from atoll.cli.output import printable
from atoll.cli.stdio import hold_places, is_terminal, terminal_size
from atoll.model.errors import GuestError
from atoll.model.process import PtySize

# As env(1) and shells have them.
CANNOT_START = 126
NO_SUCH_COMMAND = 127

Started = TypeVar("Started")


def run_interruptibly(work: Callable[[Interrupts], Awaitable[int]]) -> int:
    """Run `work` on a loop; the status that it gives, or 128 + n when signal n cancelled it."""
    hold_places()
    interrupts = Interrupts()

    async def watched() -> int:
        with interrupts.watching():
            return await work(interrupts)

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        return 128 + (interrupts.ended_by or 0)


def wanted_terminal(*, asked: bool) -> PtySize | None:
    """The size of the terminal that the command gets: if asked for, or if it would have one here."""
    return terminal_size() if asked or (is_terminal(0) and is_terminal(1)) else None


def command_env(env: Mapping[str, str], size: PtySize | None) -> dict[str, str]:
    """`env`, and what a program on our terminal must know of it."""
    return {**({} if size is None else {"TERM": os.environ.get("TERM", "xterm")}), **env}


async def starting(start: Awaitable[Started]) -> Started | int:
    """What `start` gives, or the status of a command that cannot be started, which is told then."""
    try:
        return await start
    except GuestError as error:
        if error.errno_name not in ("ENOENT", "ENOTDIR", "EACCES", "ENOEXEC", "EISDIR"):
            raise
        print(f"atoll: {printable(error.message)}", file=sys.stderr)
        return NO_SUCH_COMMAND if error.errno_name in ("ENOENT", "ENOTDIR") else CANNOT_START


def tell_skipped(name: str, reason: str) -> None:
    print(f"atoll: left out {printable(name)}: {printable(reason)}", file=sys.stderr)
