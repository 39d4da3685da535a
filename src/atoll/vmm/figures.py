"""What processes really hold of the host's memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """KiB. Proportional: shared pages divided by the number of those who map them."""

    proportional_kib: int
    private_kib: int
    resident_kib: int


def memory_of(pids: Iterable[int]) -> MemoryFigures:
    """The sum over these processes; one that is gone counts nothing."""
    sums = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0, "Rss": 0}
    for pid in pids:
        for name, kib in _rollup(pid).items():
            if name in sums:
                sums[name] += kib
    return MemoryFigures(sums["Pss"], sums["Private_Clean"] + sums["Private_Dirty"], sums["Rss"])


def _rollup(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone."""
    return _stat_field(pid, 22)


def parent_of(pid: int) -> int | None:
    """The parent's pid; None when the process is gone."""
    return _stat_field(pid, 4)


def _stat_field(pid: int, number: int) -> int | None:
    """A field of `/proc/PID/stat`, numbered as in proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses can hold anything, blanks and parentheses included; field 3 follows it.
    return int(stat.rpartition(")")[2].split()[number - 3])
