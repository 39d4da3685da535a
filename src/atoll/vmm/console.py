"""The end of what a VM prints, and no more: a guest can print without end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

TAIL_BYTES = 8 * 1024
# Counted in reads, because a serial port gives a few bytes at a time and it is the waking that costs:
# at 64 KiB/s unbounded reads took a fifth of a core. A boot needs some hundred; a guest that prints
# on purpose waits for its own serial port.
BURST_READS = 4000
READS_PER_S = 50
_READ_BYTES = 16 * 1024
_LAST_READS = 64


class ConsoleTail:
    """Reads one descriptor as it comes, at a bounded rate, and keeps its last 8 KiB."""

    def __init__(self, fd: int, on_bytes: Callable[[bytes], None] | None = None) -> None:
        """Takes `fd` over. `on_bytes` sees everything that is read."""
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._loop = asyncio.get_running_loop()
        self._tail = bytearray()
        self._on_bytes = on_bytes
        self._allowance = float(BURST_READS)
        self._counted_at = self._loop.time()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._readable)

    def text(self) -> str:
        """The tail, with what is not printable made harmless."""
        self._take_rest()
        text = self._tail.decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c in "\n\t" else "" for c in text.replace("\r\n", "\n")).strip()

    def close(self) -> None:
        """Idempotent; the tail stays."""
        self._take_rest()
        self._end()

    def _readable(self) -> None:
        now = self._loop.time()
        self._allowance = min(BURST_READS, self._allowance + (now - self._counted_at) * READS_PER_S) - 1
        self._counted_at = now
        self._read_once()
        if self._allowance < 1 and self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(1 / READS_PER_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._fd is not None:
            self._loop.add_reader(self._fd, self._readable)

    def _read_once(self) -> bool:
        """Whether there was something; closes at the end."""
        assert self._fd is not None
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        self._keep(data)
        return True

    def _keep(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        if self._on_bytes is not None:
            self._on_bytes(data)

    def _take_rest(self) -> None:
        """What is waiting now, so that a dying VM's last words are in the tail."""
        for _ in range(_LAST_READS):
            if self._fd is None or not self._read_once():
                return

    def _end(self) -> None:
        if self._fd is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = None
