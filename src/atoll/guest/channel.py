"""The agent's end of the port: reads it into events, writes frames, lets streams wait for room.

The kernel's virtio console takes at most 32 KiB in one write and gives at most one page in
one read; handing it vectors of such pieces moves a whole frame in one system call.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from atoll.guest.reactor import READABLE, WRITABLE, Reactor
from atoll.wire import Connection, WireEvent

_PAGE = 4096
_READ_PAGES = 32
_WRITE_PIECE = 32 * 1024
# Above this much unsent, streams wait; replies and notices do not.
_CONGESTED_BYTES = 256 * 1024


class Channel:
    """Frames over one non-blocking descriptor. Used by the loop's thread only."""

    def __init__(
        self, fd: int, reactor: Reactor, on_event: Callable[[WireEvent], None], on_gone: Callable[[], None]
    ) -> None:
        self.connection = Connection(peer_is_guest=False)
        self._fd = fd
        self._reactor = reactor
        self._on_event = on_event
        self._on_gone = on_gone
        self._buffer = bytearray(_PAGE * _READ_PAGES)
        view = memoryview(self._buffer)
        self._view = view
        self._pages = [view[i : i + _PAGE] for i in range(0, len(view), _PAGE)]
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._waiting: dict[int, Callable[[], None]] = {}
        os.set_blocking(fd, False)
        reactor.watch(fd, READABLE, self._on_ready)

    # -- out

    def send(self, *parts: bytes | memoryview) -> None:
        """Send now what the port takes, and the rest when it takes more."""
        for part in parts:
            if len(part):
                self._out.append(memoryview(part))
                self._out_bytes += len(part)
        self._flush()

    def room(self, stream: int, resume: Callable[[], None]) -> int:
        """How many bytes of `stream` may be sent now; if none, `resume` is called once when it may be more."""
        room = 0 if self._out_bytes > _CONGESTED_BYTES else self.connection.sendable(stream)
        if not room and self.connection.is_sending(stream):
            self._waiting[stream] = resume
        return room

    def credit_arrived(self, stream: int) -> None:
        if (resume := self._waiting.pop(stream, None)) is not None:
            resume()

    def forget(self, stream: int) -> None:
        self._waiting.pop(stream, None)

    def _flush(self) -> None:
        while self._out:
            try:
                written = os.writev(self._fd, self._pieces())
            except BlockingIOError:
                self._reactor.watch(self._fd, READABLE | WRITABLE, self._on_ready)
                return
            except BrokenPipeError:
                self._out.clear()
                self._on_gone()
                return
            self._advance(written)

    def _pieces(self) -> list[memoryview]:
        pieces: list[memoryview] = []
        for part in self._out:
            pieces.extend(part[i : i + _WRITE_PIECE] for i in range(0, len(part), _WRITE_PIECE))
            if len(pieces) >= 16:
                break
        return pieces

    def _advance(self, written: int) -> None:
        self._out_bytes -= written
        while written:
            part = self._out[0]
            if written < len(part):
                self._out[0] = part[written:]
                return
            written -= len(part)
            self._out.popleft()

    # -- in

    def _on_ready(self, events: int) -> None:
        if events & WRITABLE:
            self._reactor.watch(self._fd, READABLE, self._on_ready)
            self._flush()
            if self._out_bytes <= _CONGESTED_BYTES:
                self._resume_all()
        if events & ~WRITABLE:
            self._read()

    def _resume_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for resume in waiting.values():
            resume()

    def _read(self) -> None:
        try:
            size = os.readv(self._fd, self._pages)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            size = 0
        if not size:
            self._on_gone()
            return
        for event in self.connection.receive(self._view[:size]):
            self._on_event(event)
