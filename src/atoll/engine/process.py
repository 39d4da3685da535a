"""A process in a sandbox, as its caller sees it."""

from __future__ import annotations

import asyncio
import signal
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound, ProtocolViolation
from atoll.model.process import ExitStatus, Oom, PtySize, SpawnSpec
from atoll.vmm.link import ByteSink, ByteSource, GuestLink

# Ended processes whose status can still be asked for.
KEPT_EXITS = 4096
KILLED = ExitStatus(128 + signal.SIGKILL, "SIGKILL")


class Process:
    """`stdin`, `stdout` and `stderr` are None where they were not asked for; with a PTY stderr is None."""

    def __init__(
        self,
        pid: int,
        link: GuestLink,
        spec: SpawnSpec,
        stdin: ByteSink | None,
        stdout: ByteSource | None,
        stderr: ByteSource | None,
    ) -> None:
        self.pid = pid
        self.spec = spec
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._link = link
        self._exit: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def exited(self) -> ExitStatus | None:
        """How it ended, or None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> ExitStatus:
        """How it ended. Output may still be in its streams, or still come from its children."""
        return await asyncio.shield(self._exit)

    def on_exit(self, call: Callable[[ExitStatus], None]) -> None:
        """Have `call` called once with how it ended, soon after that is known."""
        self._exit.add_done_callback(lambda ended: call(ended.result()))

    async def signal(self, name: str = "SIGTERM") -> None:
        """Send a signal by its POSIX name. ProcessNotFound when it has ended."""
        number = signal_number(name)
        if self._exit.done():
            raise ProcessNotFound(self.pid)
        try:
            await self._link.request("signal", {"pid": self.pid, "number": number})
        except GuestError as error:
            if error.errno_name == "ESRCH":
                raise ProcessNotFound(self.pid) from None
            raise

    async def resize(self, size: PtySize) -> None:
        """Tell its terminal a new size. GuestError ENOTTY without a terminal."""
        await self._link.request("resize", {"pid": self.pid, "rows": size.rows, "cols": size.cols})

    def settle(self, status: ExitStatus) -> None:
        """Its end became known."""
        if not self._exit.done():
            self._exit.set_result(status)


def signal_number(name: str) -> int:
    """The number of a signal's name; InvalidSpec for what Linux does not have."""
    try:
        return int(signal.Signals[name])
    except KeyError:
        if name == "SIGUNUSED":
            return int(signal.SIGSYS)
        raise InvalidSpec("signal", f"{name[:40]!r} is not a signal of Linux") from None


class Processes:
    """The processes of one sandbox: started here, and reported by its agent when they end."""

    def __init__(self, link: GuestLink) -> None:
        self._link = link
        self._running: dict[int, Process] = {}
        self._ended: OrderedDict[int, Process] = OrderedDict()
        self._starting = 0
        # Ends that came together with the answer that names the pid.
        self._early: dict[int, ExitStatus] = {}

    def get(self, pid: int) -> Process:
        """A process that runs, or ended not long ago. ProcessNotFound otherwise."""
        process = self._running.get(pid) or self._ended.get(pid)
        if process is None:
            raise ProcessNotFound(pid)
        return process

    @property
    def running(self) -> list[Process]:
        return list(self._running.values())

    async def start(self, spec: SpawnSpec, env: dict[str, str], cwd: str) -> Process:
        """Start it. GuestError when the guest cannot."""
        link = self._link
        stdin = link.open_sink() if spec.stdin or spec.pty else None
        stdout = link.open_source() if spec.stdout or spec.pty else None
        stderr = link.open_source() if spec.stderr and not spec.pty else None
        params: dict[str, Any] = {"argv": spec.argv, "env": env, "cwd": cwd, "user": spec.user}
        if spec.pty is not None:
            params["pty"] = [spec.pty.rows, spec.pty.cols]
        return await self.ask("spawn", params, spec, stdin, stdout, stderr)

    async def ask(
        self,
        method: str,
        params: dict[str, Any],
        spec: SpawnSpec,
        stdin: ByteSink | None,
        stdout: ByteSource | None,
        stderr: ByteSource | None,
    ) -> Process:
        """Send a request that starts a process with these streams, and know the process from then on."""
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        named = {name: stream.stream if stream is not None else None for name, stream in streams.items()}
        self._starting += 1
        future = self._link.send_request(method, {**params, **named})
        try:
            answer, _ = await asyncio.shield(future)
        except asyncio.CancelledError:
            # The guest may start it all the same; then nobody wants it.
            future.add_done_callback(lambda done: self._abandon(done, spec, stdin, stdout, stderr))
            raise
        except BaseException:
            self._starting -= 1
            self._link.forget(stdin, stdout, stderr)
            raise
        process = Process(_pid_of(answer), self._link, spec, stdin, stdout, stderr)
        self._register(process)
        return process

    def _register(self, process: Process) -> None:
        self._starting -= 1
        self._ended.pop(process.pid, None)
        self._running[process.pid] = process
        if (status := self._early.pop(process.pid, None)) is not None:
            self._settle(process, status)
        if not self._starting:
            self._early.clear()

    def _abandon(
        self, done: asyncio.Future[tuple[Any, bytes]], spec: SpawnSpec, *streams: ByteSink | ByteSource | None
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            self._starting -= 1
            self._link.forget(*streams)
            return
        for stream in streams:
            if stream is not None:
                stream.close() if isinstance(stream, ByteSink) else stream.cancel()
        process = Process(_pid_of(done.result()[0]), self._link, spec, None, None, None)
        self._register(process)
        if process.exited is None and self._link.lost is None:
            killing = self._link.send_request("signal", {"pid": process.pid, "number": int(signal.SIGKILL)})
            killing.add_done_callback(lambda future: future.cancelled() or future.exception())

    def on_exited(self, params: dict[str, Any]) -> None:
        """The agent reports an end; ProtocolViolation for a process that nobody started."""
        pid, status = _exit_of(params)
        process = self._running.get(pid)
        if process is not None:
            self._settle(process, status)
        elif len(self._early) < self._starting:
            self._early[pid] = status
        else:
            raise ProtocolViolation("the end of a process that was never started")

    def _settle(self, process: Process, status: ExitStatus) -> None:
        self._running.pop(process.pid, None)
        self._ended[process.pid] = process
        while len(self._ended) > KEPT_EXITS:
            self._ended.popitem(last=False)
        process.settle(status)

    def kill_all(self) -> None:
        """The VM is going: whoever waits learns that its process was killed."""
        for process in self.running:
            self._settle(process, KILLED)


def _pid_of(answer: Any) -> int:
    pid = answer.get("pid") if isinstance(answer, dict) else None
    if not isinstance(pid, int) or not 0 < pid <= 1 << 22:
        raise ProtocolViolation("a started process without a pid")
    return pid


def _exit_of(params: dict[str, Any]) -> tuple[int, ExitStatus]:
    code, name, oom = params.get("code"), params.get("signal"), params.get("oom")
    if not isinstance(code, int) or not 0 <= code <= 255:
        raise ProtocolViolation("an exit status out of range")
    if name is not None and not (isinstance(name, str) and len(name) <= 16):
        raise ProtocolViolation("a signal without a name")
    if oom not in (None, Oom.LOW.value, Oom.HIGH.value):
        raise ProtocolViolation("an unknown word about memory")
    return _pid_of(params), ExitStatus(code, name, None if oom is None else Oom(oom))
