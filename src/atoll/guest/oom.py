"""Whether the kernel's out-of-memory killer ended a process, as far as its log and counter tell."""

from __future__ import annotations

import os
import re

_KILLED = re.compile(rb"Killed process (\d+) ")


class OomLog:
    """Reads the kernel's log from where it was last left."""

    def __init__(self) -> None:
        self._log = self._open()
        self._count = _oom_kills()
        self._killed: set[int] = set()

    def verdict(self, pid: int) -> str | None:
        """`high-confidence` when the log names `pid`, `low-confidence` when the counter rose, or None."""
        self._read()
        count, before = _oom_kills(), self._count
        self._count = count
        if pid in self._killed:
            self._killed.discard(pid)
            return "high-confidence"
        return "low-confidence" if count > before else None

    @staticmethod
    def _open() -> int | None:
        try:
            fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(fd, 0, os.SEEK_END)
        except OSError:
            return None
        return fd

    def _read(self) -> None:
        while self._log is not None:
            try:
                record = os.read(self._log, 8192)
            except BlockingIOError:
                return
            except OSError:
                # EPIPE: records were overwritten before we came; the next read goes on after the gap.
                continue
            if (match := _KILLED.search(record)) is not None:
                self._killed.add(int(match[1]))
                if len(self._killed) > 1024:
                    self._killed.clear()


def _oom_kills() -> int:
    with open("/proc/vmstat", "rb") as file:
        for line in file:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0
