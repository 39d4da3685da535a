"""The loop: file descriptors by epoll, and calls posted from other threads."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


class Reactor:
    """Runs callbacks on one thread. A callback gets the epoll events of its descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running = True
        self.watch(self._wake, READABLE, self._on_wake)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback` on `events` of `fd`; a second call replaces the first. Events 0 waits for hang-up only."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` on the loop's thread, soon; from any thread."""
        self._posted.append(call)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        while self._running:
            for fd, events in self._poll():
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback(events)

    def _poll(self) -> list[tuple[int, int]]:
        try:
            return self._epoll.poll()
        except InterruptedError:
            return []

    def _on_wake(self, events: int) -> None:
        os.eventfd_read(self._wake)
        for _ in range(len(self._posted)):
            self._posted.popleft()()
