"""Streams between the port and threads that may block: file contents and long listings."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from atoll.guest.channel import Channel
from atoll.guest.reactor import Reactor

# Chunks that a thread may be ahead of the port.
_AHEAD = 4


class Cancelled(Exception):
    """The host gave the stream up."""


class Outgoing:
    """A thread sends bytes on a stream: `put` blocks until there is room, then `end` or `fail`."""

    def __init__(self, stream: int, channel: Channel, reactor: Reactor, on_done: Callable[[], None]) -> None:
        self._stream = stream
        self._channel = channel
        self._reactor = reactor
        self._on_done = on_done
        self._condition = threading.Condition()
        self._queue: deque[memoryview] = deque()
        self._last: Callable[[], bytes] | None = None
        self._cancelled = False
        self._closed = False
        channel.connection.open_sending(stream)

    # -- on the thread

    def put(self, chunk: bytes) -> None:
        if not chunk:
            return
        with self._condition:
            while len(self._queue) >= _AHEAD and not self._cancelled:
                self._condition.wait()
            if self._cancelled:
                raise Cancelled
            self._queue.append(memoryview(chunk))
            first = len(self._queue) == 1
        if first:
            self._reactor.post(self._pump)

    def end(self) -> None:
        self._finish_with(lambda: self._channel.connection.end(self._stream))

    def fail(self, errno_name: str, message: str) -> None:
        self._finish_with(lambda: self._channel.connection.reset(self._stream, errno_name, message))

    def _finish_with(self, last: Callable[[], bytes]) -> None:
        with self._condition:
            self._last = last
        self._reactor.post(self._pump)

    # -- on the loop

    def cancel(self) -> None:
        with self._condition:
            self._cancelled = True
            self._queue.clear()
            self._condition.notify_all()
        if not self._closed:
            self._close(self._channel.connection.end(self._stream))

    def _pump(self) -> None:
        connection = self._channel.connection
        while not self._closed:
            with self._condition:
                head = self._queue[0] if self._queue else None
                last = self._last
            if head is None:
                if last is not None:
                    self._close(last())
                return
            room = self._channel.room(self._stream, self._pump)
            if not room:
                return
            piece = head[:room]
            self._channel.send(connection.data(self._stream, piece), piece)
            self._advance(head[room:])

    def _advance(self, rest: memoryview) -> None:
        with self._condition:
            if len(rest):
                self._queue[0] = rest
            else:
                self._queue.popleft()
                self._condition.notify()

    def _close(self, frame: bytes) -> None:
        self._closed = True
        self._channel.forget(self._stream)
        self._channel.send(frame)
        self._on_done()


class Incoming:
    """A thread takes bytes from a stream: `get` blocks for the next, b"" is the end."""

    def __init__(self, stream: int, channel: Channel, reactor: Reactor, on_done: Callable[[], None]) -> None:
        self._stream = stream
        self._channel = channel
        self._reactor = reactor
        self._on_done = on_done
        self._condition = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._ended = False
        self._failure: OSError | None = None
        channel.connection.open_receiving(stream)

    # -- on the thread

    def get(self) -> bytes:
        with self._condition:
            while not self._queue and not self._ended:
                self._condition.wait()
            if self._failure is not None:
                raise self._failure
            if not self._queue:
                return b""
            chunk = self._queue.popleft()
        self._reactor.post(lambda: self._credit(len(chunk)))
        return chunk

    def refuse(self, errno_name: str, message: str) -> None:
        """The thread wants no more."""
        self._reactor.post(lambda: self._refuse(errno_name, message))

    # -- on the loop

    def feed(self, data: bytes) -> None:
        with self._condition:
            self._queue.append(data)
            self._condition.notify()

    def end(self) -> None:
        self._stop(None)

    def cancel(self, error: OSError | None = None) -> None:
        self._stop(error or OSError(125, "the sender gave the stream up"))

    def _stop(self, failure: OSError | None) -> None:
        with self._condition:
            self._ended = True
            self._failure = failure
            self._condition.notify()
        self._on_done()

    def _credit(self, size: int) -> None:
        self._channel.send(self._channel.connection.consumed(self._stream, (size,)))

    def _refuse(self, errno_name: str, message: str) -> None:
        if not self._ended:
            self._channel.send(self._channel.connection.reset(self._stream, errno_name, message))
            self.cancel()
