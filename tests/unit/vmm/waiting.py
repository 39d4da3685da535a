"""Waiting for what other processes and tasks do, a turn of the loop at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], deadline_s: float = 5) -> None:
    """Give the loop to others until `condition()` holds."""
    async with asyncio.timeout(deadline_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0)
