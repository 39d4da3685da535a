"""A process in an embedded sandbox."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Literal, Self, TypedDict

from atoll.embedded.errands import Errands
from atoll.embedded.streams import AsyncReader, AsyncWriter, Content, chunks_of
from atoll.engine import Process as EngineProcess
from atoll.engine import Sandbox as EngineSandbox
from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound, SandboxStopped
from atoll.vmm.link import ByteSink, ByteSource

InputMode = Literal["piped", "null"]
OutputMode = Literal["piped", "null", "inherit"]

# How long `wait` waits for inherited output after the process's end: a grandchild may hold the pipe for ever.
LAST_OUTPUT_S = 1.0


class ChildProcessStatus(TypedDict):
    """How a process ended; `code` is 128 + n and `signal` its name when signal n ended it."""

    success: bool
    code: int
    signal: str | None
    oom: bool


class AsyncProcess:
    """A program that runs. As an async context manager it is killed at the end of the block."""

    def __init__(self, sandbox: EngineSandbox, process: EngineProcess, errands: Errands, pipes: Pipes) -> None:
        self._sandbox = sandbox
        self._process = process
        self._pumps = pipes.pump(process, errands)
        self._feeding = pipes.feed(process, errands)
        self._stdout = AsyncReader(sandbox, process.stdout if pipes.stdout == "piped" else None, "stdout")
        self._stderr = AsyncReader(sandbox, process.stderr if pipes.stderr == "piped" else None, "stderr")
        self._stdin = AsyncWriter(sandbox, process.stdin if self._feeding is None else None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> AsyncWriter:
        """For a process with stdin="piped" and without stdin_data."""
        return self._stdin

    @property
    def stdout(self) -> AsyncReader:
        """For a process with stdout="piped"."""
        return self._stdout

    @property
    def stderr(self) -> AsyncReader:
        """For a process with stderr="piped"."""
        return self._stderr

    @property
    def returncode(self) -> int | None:
        """Its exit code, or None while it runs."""
        status = self._process.exited
        return None if status is None else status.code

    async def wait(self) -> ChildProcessStatus:
        """How it ended, once it has. Inherited output has been passed on by then; an error of stdin_data comes here."""
        status = await self._process.wait()
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=LAST_OUTPUT_S)
        if self._feeding is not None and self._feeding.done() and not self._feeding.cancelled():
            self._feeding.result()
        return {
            "success": status.success,
            "code": status.code,
            "signal": status.signal,
            "oom": status.oom is not None,
        }

    async def kill(self, signal: str = "SIGTERM") -> None:
        """Send a signal by its POSIX name. Nothing happens when the process has ended."""
        try:
            await self._process.signal(signal)
        except (ProcessNotFound, SandboxStopped):
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()


class Pipes:
    """What a caller wants done with a process's three streams. InvalidSpec for what is no such wish."""

    def __init__(
        self, stdin: InputMode | None, stdout: OutputMode | None, stderr: OutputMode | None, stdin_data: Content | None
    ) -> None:
        self.stdin = "piped" if stdin_data is not None else stdin or "null"
        self.stdout = stdout or "inherit"
        self.stderr = stderr or "inherit"
        self._stdin_data = stdin_data
        if self.stdin not in ("piped", "null"):
            raise InvalidSpec("stdin", f'{self.stdin!r} is not "piped" or "null"')
        for name, wish in (("stdout", self.stdout), ("stderr", self.stderr)):
            if wish not in ("piped", "null", "inherit"):
                raise InvalidSpec(name, f'{wish!r} is not "piped", "null" or "inherit"')

    def pump(self, process: EngineProcess, errands: Errands) -> list[asyncio.Task[None]]:
        """Start passing inherited output on."""
        outputs = ((self.stdout, process.stdout, "stdout"), (self.stderr, process.stderr, "stderr"))
        wanted = [(source, name) for wish, source, name in outputs if wish == "inherit" and source is not None]
        return [errands.start(_pass_on(source, name)) for source, name in wanted]

    def feed(self, process: EngineProcess, errands: Errands) -> asyncio.Task[None] | None:
        """Start writing stdin_data."""
        if self._stdin_data is None or process.stdin is None:
            return None
        return errands.start(_feed(process.stdin, self._stdin_data))


async def _pass_on(source: ByteSource, name: str) -> None:
    async for chunk in source:
        try:
            await asyncio.to_thread(_print, name, chunk)
        except (OSError, ValueError):
            # Our own stdout is closed: nobody wants the rest.
            source.cancel()
            return


def _print(name: str, chunk: bytes) -> None:
    stream = getattr(sys, name)
    binary = getattr(stream, "buffer", None)
    if binary is None:
        # A stream of text that stands for the real one, as in a notebook.
        stream.write(chunk.decode("utf-8", "replace"))
        stream.flush()
        return
    stream.flush()
    binary.write(chunk)
    binary.flush()


async def _feed(sink: ByteSink, content: Content) -> None:
    try:
        async for chunk in chunks_of(content):
            await sink.write(chunk)
    except GuestError:
        # The process does not read to the end, which is its right.
        return
    finally:
        sink.close()
