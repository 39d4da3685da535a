"""The processes that the host asked for: starting, streams, signals, ends."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atoll.guest import spawn
from atoll.guest.channel import Channel
from atoll.guest.identity import Crew
from atoll.guest.oom import OomLog
from atoll.guest.pumps import Inflow, Outflow
from atoll.guest.reactor import READABLE, Reactor

# Bigger than the default of 64 KiB, so that a program seldom waits for the agent's turn; an ordinary user's limit.
_PIPE_BYTES = 256 * 1024
_END_OF_INPUT = b"\x04"

Answer = Callable[[Any], None]
Refuse = Callable[[OSError], None]


@dataclass
class _Process:
    pid: int
    terminal: int | None
    # Called at its end instead of telling the host.
    on_exit: Callable[[], None] | None


@dataclass
class _Files:
    """Our ends and the program's ends of what one program is given."""

    ours: dict[str, int]
    theirs: dict[str, int]
    terminal: str | None = None

    def close_theirs(self) -> None:
        for fd in self.theirs.values():
            os.close(fd)
        self.theirs = {}

    def close(self) -> None:
        self.close_theirs()
        for fd in self.ours.values():
            os.close(fd)


class Processes:
    """All children of pid 1; those that the host started are reported when they end."""

    def __init__(
        self, channel: Channel, reactor: Reactor, crews: dict[str, Crew], flows: dict[int, Inflow | Outflow]
    ) -> None:
        self._channel = channel
        self._reactor = reactor
        self._crews = crews
        self._flows = flows
        self._known: dict[int, _Process] = {}
        self._starting = 0
        # Ends of children that came before the thread which started them told us the pid.
        self._early: dict[int, int] = {}
        self._oom = OomLog()
        self.umask = 0o022
        self._watch_children()

    def _watch_children(self) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._signals = read
        self._reactor.watch(read, READABLE, self._on_child)

    # -- starting

    def start(
        self, params: dict[str, Any], answer: Answer, refuse: Refuse, on_exit: Callable[[], None] | None = None
    ) -> None:
        """Start a program; `answer` gets its pid. The host is told its end, unless `on_exit` is."""
        files = self._open_files(params)
        program = spawn.Program(
            argv=params["argv"],
            env=params["env"],
            cwd=params["cwd"],
            umask=self.umask,
            stdin=files.theirs.get("stdin"),
            stdout=files.theirs.get("stdout"),
            stderr=files.theirs.get("stderr"),
            terminal=files.terminal,
        )
        self._starting += 1

        def task() -> None:
            try:
                pid = spawn.start(program)
            except OSError as error:
                failure = error
                self._reactor.post(lambda: self._failed(files, failure, refuse))
            else:
                self._reactor.post(lambda: self._started(pid, params, files, answer, on_exit))

        self._crews[params["user"]].run(task)

    def _failed(self, files: _Files, error: OSError, refuse: Refuse) -> None:
        self._starting -= 1
        files.close()
        refuse(error)
        self._forget_early()

    def _started(
        self, pid: int, params: dict[str, Any], files: _Files, answer: Answer, on_exit: Callable[[], None] | None
    ) -> None:
        self._starting -= 1
        files.close_theirs()
        terminal = files.ours.get("terminal")
        self._known[pid] = _Process(pid, None if terminal is None else os.dup(terminal), on_exit)
        answer({"pid": pid})
        self._connect(params, files)
        if (status := self._early.pop(pid, None)) is not None:
            self._report(pid, status)
        self._forget_early()

    def _forget_early(self) -> None:
        if not self._starting:
            self._early.clear()

    # -- streams

    def _open_files(self, params: dict[str, Any]) -> _Files:
        if params.get("pty") is not None:
            return self._open_terminal(params)
        ours: dict[str, int] = {}
        theirs: dict[str, int] = {}
        for name in ("stdin", "stdout", "stderr"):
            if params.get(name) is not None:
                read, write = os.pipe2(os.O_CLOEXEC)
                fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                ours[name], theirs[name] = (write, read) if name == "stdin" else (read, write)
        return _Files(ours, theirs)

    def _open_terminal(self, params: dict[str, Any]) -> _Files:
        master, slave = pty.openpty()
        rows, cols = params["pty"]
        termios.tcsetwinsize(master, (rows, cols))
        identity = self._crews[params["user"]].identity
        if identity.root is not None:
            os.fchown(slave, identity.uid, 5)
            os.fchmod(slave, 0o620)
        # The slave stays open until the program has its own, or the master would see a hang-up.
        return _Files({"terminal": master}, {"slave": slave}, os.ttyname(slave))

    def _connect(self, params: dict[str, Any], files: _Files) -> None:
        ours = files.ours
        if "terminal" in ours:
            master = ours["terminal"]
            self._flow_out(master, params["stdout"])
            self._flow_in(os.dup(master), params["stdin"], _END_OF_INPUT)
            return
        if "stdin" in ours:
            self._flow_in(ours["stdin"], params["stdin"])
        for name in ("stdout", "stderr"):
            if name in ours:
                self._flow_out(ours[name], params[name])

    def _flow_out(self, fd: int, stream: int) -> None:
        self._flows[stream] = Outflow(fd, stream, self._channel, self._reactor, lambda: self._ended(stream))

    def _flow_in(self, fd: int, stream: int, at_end: bytes = b"") -> None:
        self._flows[stream] = Inflow(fd, stream, self._channel, self._reactor, lambda: self._ended(stream), at_end)

    def _ended(self, stream: int) -> None:
        self._flows.pop(stream, None)

    # -- what the host may do to them

    def send_signal(self, pid: int, number: int) -> None:
        """OSError ESRCH unless `pid` was started by the host and has not ended."""
        if pid not in self._known:
            raise ProcessLookupError(errno.ESRCH, "no such process")
        os.kill(pid, number)

    def resize(self, pid: int, rows: int, cols: int) -> None:
        process = self._known.get(pid)
        if process is None or process.terminal is None:
            raise OSError(errno.ENOTTY, "no terminal belongs to this process")
        termios.tcsetwinsize(process.terminal, (rows, cols))

    def kill_all(self) -> None:
        """End everything but pid 1 (the template must be idle when it is saved)."""
        os.kill(-1, signal.SIGKILL)

    # -- their ends

    def _on_child(self, events: int) -> None:
        try:
            os.read(self._signals, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._known:
                self._report(pid, status)
            elif self._starting:
                self._early[pid] = status

    def _report(self, pid: int, status: int) -> None:
        process = self._known.pop(pid)
        if process.terminal is not None:
            os.close(process.terminal)
        if process.on_exit is not None:
            process.on_exit()
            return
        exit_code = os.waitstatus_to_exitcode(status)
        body: dict[str, Any] = {"pid": pid, "code": exit_code, "signal": None, "oom": None}
        if exit_code < 0:
            body["code"], body["signal"] = 128 - exit_code, _signal_name(-exit_code)
            if exit_code == -signal.SIGKILL:
                body["oom"] = self._oom.verdict(pid)
        self._channel.send(self._channel.connection.notice("process.exited", body))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
