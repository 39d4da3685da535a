"""The resume barrier, from the host's side: a restored clone becomes somebody of its own before it runs anything."""

from __future__ import annotations

import asyncio
import secrets
import time

from atoll.model.errors import LinkLost, ProtocolViolation
from atoll.vmm.link import GuestLink

ENTROPY_BYTES = 256
# It takes some tens of milliseconds even in emulation; a guest that needs longer is broken.
TIMEOUT_S = 30

# The guest's clock is read from here with an error of half a round trip. A busy host makes a round trip
# long now and then, so it is asked again until one was short.
GOOD_ROUND_TRIP_NS = 30_000_000
TOLERATED_OFFSET_NS = 2_000_000
MAX_CLOCK_READINGS = 8


async def pass_barrier(link: GuestLink, sandbox_id: str) -> None:
    """Entropy, clock, names. Nothing runs in the clone before this returns. LinkLost when it does not pass."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await link.request(
                "resume",
                {
                    "entropy": secrets.token_hex(ENTROPY_BYTES),
                    "hostname": sandbox_id.replace("_", "-"),
                    "machine_id": secrets.token_hex(16),
                    "time_ns": time.time_ns(),
                },
            )
            await _set_clock(link)
    except TimeoutError:
        raise LinkLost(f"the guest did not pass the resume barrier within {TIMEOUT_S} s") from None


async def _set_clock(link: GuestLink) -> None:
    best_trip_ns = None
    for _ in range(MAX_CLOCK_READINGS):
        offset_ns, trip_ns = await _read_clock(link)
        if best_trip_ns is None or trip_ns < best_trip_ns:
            best_trip_ns = trip_ns
            if abs(offset_ns) > TOLERATED_OFFSET_NS:
                await link.request("adjust_clock", {"by_ns": -offset_ns})
        if trip_ns <= GOOD_ROUND_TRIP_NS:
            return


async def _read_clock(link: GuestLink) -> tuple[int, int]:
    """How far ahead the guest's clock is, and the round trip that it was read with; nanoseconds."""
    before, started = time.time_ns(), time.monotonic_ns()
    told = await link.request("clock", {})
    trip = time.monotonic_ns() - started
    if not isinstance(told, int):
        raise ProtocolViolation("a clock that does not tell the time")
    return told - (before + trip // 2), trip
