"""One sandbox: what callers do with it, and the one task that moves it through its life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from atoll.engine.barrier import pass_barrier
from atoll.engine.deno import Deno
from atoll.engine.environment import Environment
from atoll.engine.files import Files
from atoll.engine.machines import MachineSource, RunningMachine
from atoll.engine.process import Process, Processes
from atoll.model.errors import (
    AtollError,
    GuestError,
    InvalidSpec,
    LinkLost,
    ProcessNotFound,
    ProtocolViolation,
    SandboxStopped,
)
from atoll.model.events import Actor, Event
from atoll.model.lifecycle import State, StopReason, advance
from atoll.model.process import ExitStatus, SpawnSpec
from atoll.model.spec import MAX_LIFETIME_S, SandboxSpec
from atoll.vmm.link import ByteSink, ByteSource, GuestLink

HOME = "/home/app"
LOST_GRACE_S = 1.0

Emit = Callable[[Event], None]


class Sandbox:
    """`RUNNING` until its reason to end comes; afterwards everything raises SandboxStopped."""

    def __init__(self, sandbox_id: str, spec: SandboxSpec, actor: Actor, source: MachineSource, emit: Emit) -> None:
        self.id = sandbox_id
        self.spec = spec
        self.actor = actor
        self.created_at_ms = now_ms()
        self.state = State.STARTING
        self.stop_reason: StopReason | None = None
        self.stop_at_ms = None if spec.lifetime_s is None else self.created_at_ms + int(spec.lifetime_s * 1000)
        self.environment = Environment(sandbox_id, spec.env)
        self.deno = Deno(self)
        self.accelerator: str | None = None
        self._source = source
        self._emit = emit
        self._machine: RunningMachine | None = None
        self._processes: Processes | None = None
        self._files: Files | None = None
        self._ready = asyncio.Event()
        self._stopped = asyncio.Event()
        self._ending: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._deadline_moved = asyncio.Event()

    # -- what callers do

    async def wait_ready(self) -> None:
        """Until commands can run. The reason why it never will, as an error, if so."""
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure
        self._check()

    async def wait_stopped(self) -> StopReason:
        """Until it has ended and everything that it owned is released."""
        await self._stopped.wait()
        assert self.stop_reason is not None
        return self.stop_reason

    @property
    def ending(self) -> StopReason | None:
        """Why it is about to end or has ended, or None."""
        return self._ending.result() if self._ending.done() else None

    def end(self, reason: StopReason) -> None:
        """Ask for its end; the first reason counts. `wait_stopped` tells when it is over."""
        if not self._ending.done():
            self._ending.set_result(reason)

    async def kill(self, reason: StopReason = StopReason.KILLED) -> None:
        """End it now, and wait until nothing of it is left."""
        self.end(reason)
        await self.wait_stopped()

    def extend(self, stop_at_ms: int) -> int:
        """Move its end to `stop_at_ms`, at most 30 minutes from now; what was granted."""
        self._check()
        now = now_ms()
        if stop_at_ms <= now:
            raise InvalidSpec("stop_at_ms", f"{stop_at_ms} is not in the future")
        self.stop_at_ms = min(stop_at_ms, now + MAX_LIFETIME_S * 1000)
        self._deadline_moved.set()
        return self.stop_at_ms

    async def spawn(self, spec: SpawnSpec, actor: Actor | None = None) -> Process:
        """Start a process. GuestError when the guest cannot, as ENOENT for a missing program."""
        await self.wait_ready()
        env = self.environment.for_process(spec.env, clear=spec.clear_env, user=spec.user)
        with self.asking():
            assert self._processes is not None
            process = await self._processes.start(spec, env, spec.cwd or HOME)
        self.tell("command.started", actor, pid=process.pid, argv=" ".join(spec.argv)[:4096], user=spec.user)
        began_ms = now_ms()

        def tell_end(status: ExitStatus) -> None:
            after_ms = now_ms() - began_ms
            self.tell(
                "command.exited", actor, pid=process.pid, code=status.code, signal=status.signal, after_ms=after_ms
            )

        process.on_exit(tell_end)
        return process

    async def run_helper(self, method: str, params: dict[str, Any]) -> Process:
        """Start one of the agent's own programs, as `fetch`, with all three streams."""
        await self.wait_ready()
        with self.asking():
            assert self._processes is not None
            link = self.link
            return await self._processes.ask(
                method, params, SpawnSpec((method,)), link.open_sink(), link.open_source(), link.open_source()
            )

    def process(self, pid: int) -> Process:
        """A process that was started here. ProcessNotFound for any other."""
        self._check()
        if self._processes is None:
            raise ProcessNotFound(pid)
        return self._processes.get(pid)

    @property
    def processes(self) -> list[Process]:
        """Those that run."""
        return self._processes.running if self._processes is not None else []

    @asynccontextmanager
    async def files(self) -> AsyncIterator[Files]:
        """Its files, once it is ready; losing the VM within the block raises SandboxStopped."""
        await self.wait_ready()
        assert self._files is not None
        with self.asking():
            yield self._files

    async def listening_ports(self, pid: int) -> list[int]:
        """TCP ports that a process or one of its children listens on. GuestError ESRCH when it is gone."""
        with self.asking():
            answer = await self.link.request("listeners", {"pid": pid})
        return [port for port in answer if isinstance(port, int)] if isinstance(answer, list) else []

    async def connect_port(self, port: int) -> tuple[ByteSource, ByteSink]:
        """A TCP connection to a port of the guest's loopback. GuestError ECONNREFUSED when nobody listens."""
        await self.wait_ready()
        with self.asking():
            link = self.link
            source, sink = link.open_source(), link.open_sink()
            try:
                await link.request("connect", {"port": port, "in": sink.stream, "out": source.stream})
            except GuestError:
                link.forget(source, sink)
                raise
            except BaseException:
                # The guest may open them yet: give them up by name, or what it then sends would be a violation.
                source.cancel()
                sink.fail("ECANCELED", "the caller went away")
                raise
            return source, sink

    @property
    def machine(self) -> RunningMachine | None:
        """Its VM, for measurements; None before it is acquired."""
        return self._machine

    @property
    def link(self) -> GuestLink:
        """The link to its agent. SandboxStopped when it has ended."""
        self._check()
        assert self._machine is not None
        return self._machine.link

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Turn the loss of the VM into the error that says why it is gone."""
        try:
            self._check()
            yield
        except LinkLost as error:
            raise SandboxStopped(self.id, self._reason_text()) from error

    def tell(self, kind: str, actor: Actor | None = None, **fields: str | int | float | bool | None) -> None:
        """Emit an event of this sandbox."""
        self._emit(Event(kind, now_ms(), self.id, actor or self.actor, fields))

    def _check(self) -> None:
        if self._ending.done() or self.state in (State.STOPPING, State.STOPPED):
            raise SandboxStopped(self.id, self._reason_text())

    def _reason_text(self) -> str:
        reason = self.stop_reason or self.ending
        return reason.value if reason is not None else StopReason.LINK_LOST.value

    # -- its life, on one task of the engine

    async def live(self) -> None:
        """Start, run until there is a reason to end, release everything. Never raises but for cancellation."""
        self.tell("sandbox.created", memory_mib=self.spec.memory_mib, vcpus=self.spec.vcpus)
        reason = StopReason.SERVER_STOPPED
        try:
            reason = await self._run()
        finally:
            self.end(reason)
            self.state = advance(self.state, State.STOPPING)
            self.stop_reason = self._ending.result()
            await asyncio.shield(self._release())

    async def _run(self) -> StopReason:
        try:
            await self._start()
        except (AtollError, TimeoutError) as error:
            self._failure = (
                error if isinstance(error, AtollError) else LinkLost("the guest did not pass the barrier in time")
            )
            return StopReason.START_FAILED if not self._ending.done() else self._ending.result()
        self.state = advance(self.state, State.RUNNING)
        self._ready.set()
        self.tell("sandbox.ready", accelerator=self.accelerator, after_ms=now_ms() - self.created_at_ms)
        return await self._until_reason()

    async def _start(self) -> None:
        self._machine = machine = await self._source.acquire(self.spec.memory_mib, self.spec.vcpus)
        self.accelerator = machine.accelerator
        self._processes = Processes(machine.link)
        self._files = Files(machine.link)
        machine.link.on_notice = self._on_notice
        machine.link.on_lost = self._on_lost
        if machine.link.lost is not None:
            raise machine.link.lost
        await pass_barrier(machine.link, self.id)

    def _on_notice(self, name: str, params: dict[str, Any]) -> None:
        if name == "process.exited" and self._processes is not None:
            self._processes.on_exited(params)

    def _on_lost(self, error: Exception) -> None:
        self.tell("sandbox.link-lost", reason=str(error))
        if isinstance(error, ProtocolViolation):
            self.end(StopReason.GUEST_MISBEHAVED)
        else:
            # The VMM's own end says more, and comes within moments if it comes.
            asyncio.get_running_loop().call_later(LOST_GRACE_S, self.end, StopReason.LINK_LOST)

    async def _until_reason(self) -> StopReason:
        assert self._machine is not None
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._watch_machine(self._machine)),
                group.create_task(self._watch_deadline()),
            ]
            try:
                return await asyncio.shield(self._ending)
            finally:
                for watcher in watchers:
                    watcher.cancel()

    async def _watch_machine(self, machine: RunningMachine) -> None:
        by_guest, story = await machine.wait_exited()
        if self.ending is None:
            self.tell("machine.exited", cause=story)
        self.end(StopReason.GUEST_EXITED if by_guest else StopReason.VMM_DIED)

    async def _watch_deadline(self) -> None:
        while True:
            self._deadline_moved.clear()
            left_s = None if self.stop_at_ms is None else max(0.0, (self.stop_at_ms - now_ms()) / 1000)
            try:
                async with asyncio.timeout(left_s):
                    await self._deadline_moved.wait()
            except TimeoutError:
                self.end(StopReason.DEADLINE)
                return

    async def _release(self) -> None:
        """Answer whoever waits, then destroy the VM; in this order nobody waits for a VM that is gone."""
        if self._processes is not None:
            self._processes.kill_all()
        if self._machine is not None:
            self._machine.link.on_lost = None
            self._machine.link.close()
            await self._machine.destroy()
        self.state = advance(self.state, State.STOPPED)
        self._ready.set()
        self.tell("sandbox.stopped", reason=self._reason_text(), after_ms=now_ms() - self.created_at_ms)

    def settle(self) -> None:
        """The engine has forgotten it: its place is free, and whoever waited for its end may go on."""
        self.end(self.stop_reason or StopReason.SERVER_STOPPED)
        self._ready.set()
        self._stopped.set()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
