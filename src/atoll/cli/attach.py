"""A command in a sandbox, joined with this process's stdin, stdout, stderr, signals and terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

from atoll.cli.stdio import Input, Output, raw_mode, terminal_size
from atoll.model.errors import AtollError
from atoll.model.process import ExitStatus, PtySize

# A child that the command left behind may hold its pipe for ever: output that stands still this long is over.
QUIET_S = 1.5
# Pipes, windows and sockets hold far less when the command ends. A child that goes on writing is not waited for.
MAX_LATE_BYTES = 64 * 1024 * 1024

# The first of these goes to the command, the second ends the sandbox or the connection.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


class Source(Protocol):
    """Output of the command."""

    async def read(self) -> bytes: ...

    def cancel(self) -> None: ...


class Command(Protocol):
    """What runs in the sandbox, on this host or behind a server."""

    @property
    def stdout(self) -> Source | None: ...

    @property
    def stderr(self) -> Source | None: ...

    async def write_input(self, chunk: bytes) -> None:
        """AtollError when the command takes no more."""

    async def end_input(self) -> None: ...

    async def wait(self) -> ExitStatus: ...

    async def signal(self, name: str) -> None: ...

    async def resize(self, size: PtySize) -> None: ...


class Interrupts:
    """What signals do: before and after the command they cancel, while it runs they go to it.

    `ended_by` is the signal that cancelled, as a number, or None.
    """

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self._main: asyncio.Task[Any] | None = None
        self._command: Command | None = None
        self._group: asyncio.TaskGroup | None = None
        self._warned = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """From now on; the current task is the one that is cancelled."""
        self._main = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (*_ENDING, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_ending, number)
        try:
            yield
        finally:
            for number in (*_ENDING, signal.SIGHUP):
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def going_to(self, command: Command, group: asyncio.TaskGroup) -> Iterator[None]:
        """While this lasts, signals are the command's; the tasks that send them are `group`'s."""
        loop = asyncio.get_running_loop()
        self._command, self._group = command, group
        for number in _PASSED_ON:
            loop.add_signal_handler(number, self._send, number)
        loop.add_signal_handler(signal.SIGWINCH, self._resize)
        try:
            yield
        finally:
            self._command = self._group = None
            for number in (*_PASSED_ON, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def _on_ending(self, number: int) -> None:
        if self._command is not None and not self._warned and number != signal.SIGHUP:
            self._warned = True
            self._send(number)
        elif self.ended_by is None and self._main is not None:
            # Once only: a second cancellation would interrupt the clearing up.
            self.ended_by = int(number)
            self._main.cancel()

    def _send(self, number: int) -> None:
        if self._command is not None:
            self._start(self._command.signal(signal.Signals(number).name))

    def _resize(self) -> None:
        if self._command is not None:
            self._start(self._command.resize(terminal_size()))

    def _start(self, telling: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        self._group.create_task(_tolerant(telling))


async def _tolerant(telling: Coroutine[Any, Any, None]) -> None:
    """It may have ended by now, or have no terminal."""
    with contextlib.suppress(AtollError):
        await telling


class _Flow:
    """How output moves, for whoever decides that no more will come."""

    def __init__(self) -> None:
        self.passed = 0
        self.writing = 0


async def attach(command: Command, interrupts: Interrupts, *, pty: bool) -> ExitStatus:
    """Move bytes both ways until the command has ended and its output is written. How it ended."""
    flow = _Flow()
    async with asyncio.TaskGroup() as group:
        with raw_mode(0) if pty else contextlib.nullcontext(), interrupts.going_to(command, group):
            feeding = group.create_task(_feed(command))
            outputs = [
                group.create_task(_pass_on(source, fd, flow))
                for source, fd in ((command.stdout, 1), (command.stderr, 2))
                if source is not None
            ]
            status = await command.wait()
            await _last_output(set(outputs), flow)
        for task in (feeding, *outputs):
            task.cancel()
    return status


async def _feed(command: Command) -> None:
    source = Input(0)
    try:
        while chunk := await source.read():
            await command.write_input(chunk)
        await command.end_input()
    except AtollError:
        # It closed its input, or has ended: its status says more than this could.
        pass


async def _pass_on(source: Source, fd: int, flow: _Flow) -> None:
    try:
        with Output(fd) as output:
            while chunk := await source.read():
                flow.passed += len(chunk)
                flow.writing += 1
                try:
                    await output.write(chunk)
                finally:
                    flow.writing -= 1
    except BrokenPipeError:
        # As with any pipe: the command learns it when it writes more.
        source.cancel()
    except AtollError:
        # The sandbox is gone; whoever waits for the command tells why.
        pass


async def _last_output(outputs: set[asyncio.Task[None]], flow: _Flow) -> None:
    limit = flow.passed + MAX_LATE_BYTES
    while outputs:
        before = flow.passed
        _, outputs = await asyncio.wait(outputs, timeout=QUIET_S)
        if flow.passed > limit or (flow.passed == before and not flow.writing):
            return
