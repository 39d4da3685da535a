"""Moves bytes between file descriptors that can be polled (pipes, terminals, sockets) and streams."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from atoll.guest.channel import Channel
from atoll.guest.reactor import READABLE, WRITABLE, Reactor

# A frame of this size with its header is exactly one 32 KiB piece for the port.
_READ_BYTES = 32 * 1024 - 8
# Frames that one source may send before the loop looks at the others.
_BURST = 8


class Outflow:
    """Sends what is read from `fd` on a stream, to its end; closes `fd`. `on_done` is called once."""

    def __init__(self, fd: int, stream: int, channel: Channel, reactor: Reactor, on_done: Callable[[], None]) -> None:
        self._fd = fd
        self._stream = stream
        self._channel = channel
        self._reactor = reactor
        self._on_done = on_done
        self._open = True
        os.set_blocking(fd, False)
        channel.connection.open_sending(stream)
        reactor.watch(fd, READABLE, self._on_ready)

    def cancel(self) -> None:
        """The host gave the stream up: close the pipe, so that the writer gets SIGPIPE."""
        self._finish(tell=True)

    def _on_ready(self, events: int) -> None:
        for _ in range(_BURST):
            room = self._channel.room(self._stream, self._resume)
            if not room:
                self._reactor.unwatch(self._fd)
                return
            chunk = self._read(min(room, _READ_BYTES))
            if chunk is None:
                return
            if not chunk:
                self._finish(tell=True)
                return
            self._channel.send(self._channel.connection.data(self._stream, chunk) + chunk)

    def _resume(self) -> None:
        if self._open:
            self._reactor.watch(self._fd, READABLE, self._on_ready)

    def _read(self, size: int) -> bytes | None:
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None
        except OSError as error:
            # A terminal's master says EIO when the last holder of the other side is gone.
            if error.errno == errno.EIO:
                return b""
            raise

    def _finish(self, *, tell: bool) -> None:
        if not self._open:
            return
        self._open = False
        self._reactor.unwatch(self._fd)
        os.close(self._fd)
        self._channel.forget(self._stream)
        if tell:
            self._channel.send(self._channel.connection.end(self._stream))
        self._on_done()


class Inflow:
    """Writes what comes on a stream to `fd`, and closes `fd` at its end."""

    def __init__(
        self, fd: int, stream: int, channel: Channel, reactor: Reactor, on_done: Callable[[], None], at_end: bytes = b""
    ) -> None:
        self._fd = fd
        self._stream = stream
        self._channel = channel
        self._reactor = reactor
        self._on_done = on_done
        self._at_end = at_end
        self._open = True
        self._ended = False
        self._queue: deque[memoryview] = deque()
        self._sizes: deque[int] = deque()
        os.set_blocking(fd, False)
        channel.connection.open_receiving(stream)
        # Hang-up is noticed even while there is nothing to write.
        reactor.watch(fd, 0, self._on_ready)

    def feed(self, data: bytes) -> None:
        if self._open:
            self._queue.append(memoryview(data))
            self._sizes.append(len(data))
            self._write()

    def end(self) -> None:
        """The stream is complete: close once everything is written."""
        self._ended = True
        if self._at_end and self._open:
            self._queue.append(memoryview(self._at_end))
            self._sizes.append(0)
        self._write()

    def cancel(self) -> None:
        self._finish()

    def _on_ready(self, events: int) -> None:
        if events & WRITABLE:
            self._write()
        else:
            self._break()

    def _write(self) -> None:
        while self._open and self._queue:
            try:
                written = os.write(self._fd, self._queue[0])
            except BlockingIOError:
                self._reactor.watch(self._fd, WRITABLE, self._on_ready)
                return
            except OSError:
                self._break()
                return
            self._advance(written)
        if self._open:
            if self._ended:
                self._finish()
            else:
                self._reactor.watch(self._fd, 0, self._on_ready)

    def _advance(self, written: int) -> None:
        if written < len(self._queue[0]):
            self._queue[0] = self._queue[0][written:]
            return
        self._queue.popleft()
        size = self._sizes.popleft()
        if size and not self._ended:
            self._channel.send(self._channel.connection.consumed(self._stream, (size,)))

    def _break(self) -> None:
        """Nobody reads any more."""
        if self._open and not self._ended:
            self._channel.send(self._channel.connection.reset(self._stream, "EPIPE", "the process closed its input"))
        self._finish()

    def _finish(self) -> None:
        if self._open:
            self._open = False
            self._queue.clear()
            self._reactor.unwatch(self._fd)
            os.close(self._fd)
            self._on_done()
