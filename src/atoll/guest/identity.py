"""Threads that act for a user: each has that user's root, credentials and umask, the process has not.

In Linux the file-system context can be un-shared per thread (unshare(2), CLONE_FS) and
credentials belong to threads; only glibc's wrappers keep a process's threads alike, so the
raw system calls are used. A process started by such a thread inherits all of it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

_CLONE_FS = 0x200
# x86-64 numbers (asm/unistd_64.h).
_SYS_SETRESUID, _SYS_SETRESGID, _SYS_SETGROUPS = 117, 119, 116
# Threads that one identity may have blocked at once (a FIFO that nobody opens, a lock that nobody frees).
MAX_THREADS = 64

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """Who to act as. `root` None leaves root and credentials alone (the agent under test on a host)."""

    name: str
    root: str | None
    uid: int
    gid: int
    home: str

    def assume(self) -> None:
        """Become this identity, on the calling thread only, for good."""
        _check(_libc.unshare(_CLONE_FS))
        if self.root is None:
            return
        os.chroot(self.root)
        os.chdir("/")
        if self.uid:
            _check(_libc.syscall(_SYS_SETGROUPS, 0, None))
            _check(_libc.syscall(_SYS_SETRESGID, self.gid, self.gid, self.gid))
            _check(_libc.syscall(_SYS_SETRESUID, self.uid, self.uid, self.uid))

    def enter(self, umask: int) -> None:
        """Before each task: the sandbox's umask, and its working directory for relative paths."""
        os.umask(umask)
        try:
            os.chdir(self.home)
        except OSError:
            os.chdir("/")


class Busy(Exception):
    """All threads of this identity are blocked."""


class Crew:
    """Threads of one identity, made when there is work and none of them is free."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def run(self, task: Callable[[], None]) -> None:
        """Run `task`, which must not raise, on a thread of the crew."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
            else:
                raise Busy(f"{MAX_THREADS} operations are blocked already")
        self._tasks.put(task)

    def _work(self) -> None:
        self.identity.assume()
        while True:
            self._tasks.get()()
            with self._lock:
                self._idle += 1


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
