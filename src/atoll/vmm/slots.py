"""User ids that nothing else on the host has, one for each VM, when the server is root."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atoll.model.errors import LaunchFailed

# systemd's table of user ids marks 1879048192–2147483647 as used by nobody.
PREFERRED_BASE = 2_000_000_000
SLOTS = 4096


def slot_base(uid_map: str, count: int = SLOTS) -> int | None:
    """The first of `count` ids that exist in this user namespace (`/proc/self/uid_map`), or None."""
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for inside, _, length in ranges:
        if inside <= PREFERRED_BASE and PREFERRED_BASE + count <= inside + length:
            return PREFERRED_BASE
    inside, _, length = max(ranges, key=lambda r: r[2])
    # The top of the largest range: the bottom has the system's users.
    return inside + length - count if length >= 2 * count else None


class UidSlots:
    """Leases ids by locks on files that only root can reach: two servers never share one, and a
    crash frees all of them.
    """

    def __init__(self, directory: Path, base: int, count: int = SLOTS) -> None:
        self._directory = directory
        self._base = base
        self._count = count

    @contextmanager
    def lease(self) -> Iterator[int]:
        """A user id for one VM, for as long as the context lasts."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(self._count):
            fd = self._try_lock(number)
            if fd is not None:
                try:
                    yield self._base + number
                finally:
                    os.close(fd)
                return
        raise LaunchFailed(f"all {self._count} user ids for VMs are in use")

    def _try_lock(self, number: int) -> int | None:
        fd = os.open(self._directory / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd
