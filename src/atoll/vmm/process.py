"""One jailed QEMU as a process: started, watched, killed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from atoll.model.errors import LaunchFailed
from atoll.vmm.console import ConsoleTail
from atoll.vmm.figures import parent_of

log = logging.getLogger("atoll.vmm")

_KILL_PATIENCE_S = 2.0


class JailedProcess:
    """A running VMM. `exited` gets its exit status: 128 + n when signal n ended it.

    Start it in the loop's own thread: the jail dies with the thread that started it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        pass_fds: Sequence[int],
        console: int,
        on_console: Callable[[bytes], None] | None = None,
    ) -> None:
        """Takes `console` over. The other descriptors stay the caller's."""
        self.argv = tuple(argv)
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        stderr_read, stderr_write = os.pipe2(os.O_CLOEXEC)
        self._console = ConsoleTail(console, on_console)
        self._stderr = ConsoleTail(stderr_read)
        try:
            self._popen = _spawn(argv, pass_fds, stderr_write)
        except BaseException:
            self._close_tails()
            raise
        finally:
            os.close(stderr_write)
        self._pidfd: int | None = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        log.debug("vmm started", extra={"pid": self.pid})

    @property
    def pid(self) -> int:
        """Of the outermost process of the jail, the one that atoll started."""
        return self._popen.pid

    def pids(self) -> list[int]:
        """The jail's processes, outermost first; the last is QEMU."""
        found = [self.pid]
        for pid in found:
            found.extend(_children(pid))
        return found

    def log_tail(self) -> str:
        """The end of what QEMU and the guest's console said."""
        return "\n".join(text for text in (self._stderr.text(), self._console.text()) if text)

    def failure(self, reason: str) -> LaunchFailed:
        """An error that shows the command and the log."""
        return LaunchFailed(reason, command=self.argv, log_tail=self.log_tail())

    def kill(self) -> None:
        """SIGKILL to QEMU. The jail around it ends when QEMU is gone, so that `exited` means all of it. Idempotent."""
        if self.exited.done():
            return
        killed = [_kill_child(child, self.pid) for child in _children(self.pid)]
        # Without a child the jail is still being built, or is ending by itself.
        if not any(killed):
            self._popen.kill()

    async def close(self) -> None:
        """Kill, wait until it is gone, give descriptors back. Idempotent."""
        self.kill()
        done, _ = await asyncio.wait([self.exited], timeout=_KILL_PATIENCE_S)
        if not done:
            # A child that was born between the look and the kill: the jail's death takes it along.
            self._popen.kill()
            await asyncio.wait([self.exited])
        self._close_tails()

    def _on_exit(self) -> None:
        assert self._pidfd is not None
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = None
        code = self._popen.wait()
        code = 128 - code if code < 0 else code
        log.debug("vmm exited", extra={"pid": self.pid, "code": code})
        self.exited.set_result(code)

    def _close_tails(self) -> None:
        self._console.close()
        self._stderr.close()


def _spawn(argv: Sequence[str], pass_fds: Sequence[int], stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            pass_fds=tuple(pass_fds),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            cwd="/",
            # Ctrl-C at a terminal goes to the whole foreground group: it is for us, and ends no VM by itself.
            process_group=0,
        )
    except OSError as error:
        raise LaunchFailed(f"{argv[0]} cannot be started: {error.strerror}", command=tuple(argv)) from None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill_child(pid: int, parent: int) -> bool:
    """Kill `pid` if it is (still) a child of `parent`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Asked after the pidfd is held: a number that was given to another process has another parent.
        if parent_of(pid) != parent:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(pidfd)
