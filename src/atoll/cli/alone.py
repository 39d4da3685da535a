"""A sandbox for one command, in this process: made, used, and gone."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from atoll.cli.attach import Interrupts, Source, attach
from atoll.cli.copying import copy_in, guest_path, real_source
from atoll.cli.host import vmm_config
from atoll.cli.progress import show_progress
from atoll.cli.starting import command_env, run_interruptibly, starting, tell_skipped, wanted_terminal
from atoll.config import Config, parse_memory_mib
from atoll.engine import Engine, EngineSettings, Process, Sandbox
from atoll.engine.host import host_machines
from atoll.model.errors import GuestError, InvalidSpec, SandboxStopped
from atoll.model.events import Actor, Event
from atoll.model.lifecycle import StopReason
from atoll.model.process import ExitStatus, PtySize, SpawnSpec
from atoll.model.spec import SandboxSpec, parse_duration_s

ACTOR = Actor("cli")
# As timeout(1) has it.
TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Copy:
    """Something to put into the sandbox; `target` as the guest names it."""

    source: str
    target: str | None

    @classmethod
    def parse(cls, text: str) -> Copy:
        """`SRC[:DST]`; a colon in the name of something that exists is no separator."""
        source, is_pair, target = text.rpartition(":")
        if not is_pair or not source or Path(text).exists():
            return cls(text, None)
        return cls(source, target or None)


@dataclass(frozen=True, slots=True)
class Wish:
    """What `atoll run` was asked for."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    memory: str | None
    vcpus: int | None
    timeout: str | None
    copies: tuple[Copy, ...]
    cwd: str | None
    user: str
    tty: bool


def run_alone(config: Config, wish: Wish) -> int:
    """The status to end with."""
    spec = _sandbox_spec(config, wish)
    process = _spawn_spec(wish)
    for copy in wish.copies:
        real_source(copy.source)
    # What the engine logs is for an operator; here only its bugs matter, and stdout is the command's.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    return run_interruptibly(lambda interrupts: _run(config, spec, process, wish.copies, interrupts))


def _sandbox_spec(config: Config, wish: Wish) -> SandboxSpec:
    try:
        memory_mib = config.limits.memory_mib_default if wish.memory is None else parse_memory_mib(wish.memory)
    except ValueError as error:
        raise InvalidSpec("--memory", str(error)) from None
    return SandboxSpec(
        memory_mib=memory_mib,
        vcpus=config.limits.vcpus if wish.vcpus is None else wish.vcpus,
        lifetime_s=None if wish.timeout is None else parse_duration_s(wish.timeout, "--timeout"),
        labels=wish.labels,
    )


def _spawn_spec(wish: Wish) -> SpawnSpec:
    size = wanted_terminal(asked=wish.tty)
    return SpawnSpec(
        argv=wish.command,
        cwd=None if wish.cwd is None else guest_path(wish.cwd),
        env=command_env(wish.env, size),
        user=wish.user,
        stdin=True,
        pty=size,
    )


async def _run(
    config: Config, spec: SandboxSpec, process: SpawnSpec, copies: tuple[Copy, ...], interrupts: Interrupts
) -> int:
    limits = config.limits
    engine_settings = EngineSettings(
        max_sandboxes=limits.max_sandboxes, memory_mib_max=limits.memory_mib_max, vcpus=limits.vcpus
    )
    with show_progress() as progress:
        async with (
            host_machines(vmm_config(config), progress=progress) as machines,
            Engine(engine_settings, machines, emit=_ignore) as engine,
        ):
            sandbox = await engine.create(spec, ACTOR)
            try:
                await _copy(sandbox, copies)
                return await _run_command(sandbox, process, interrupts)
            except SandboxStopped:
                return _told_end(sandbox)


def _ignore(event: Event) -> None:
    """Nobody reads the events of a sandbox that lives for one command."""


async def _copy(sandbox: Sandbox, copies: tuple[Copy, ...]) -> None:
    for copy in copies:
        async with sandbox.files() as files:
            target = copy.target or guest_path("")
            folder = target if target.endswith("/") else posixpath.dirname(guest_path(target))
            await files.mkdir(guest_path(folder), recursive=True)
            try:
                await copy_in(files, copy.source, target, tell_skipped)
            except GuestError as error:
                raise InvalidSpec("--copy", f"{copy.source}: {error.message}") from None


async def _run_command(sandbox: Sandbox, spec: SpawnSpec, interrupts: Interrupts) -> int:
    process = await starting(sandbox.spawn(spec, ACTOR))
    if isinstance(process, int):
        return process
    status = await attach(EngineCommand(process), interrupts, pty=spec.pty is not None)
    return status.code if sandbox.ending is None else _told_end(sandbox)


def _told_end(sandbox: Sandbox) -> int:
    """The sandbox ended before its command did."""
    reason = sandbox.ending
    if reason is StopReason.DEADLINE:
        print("atoll: the time was up (--timeout), and the sandbox was ended", file=sys.stderr)
        return TIMED_OUT
    raise SandboxStopped(sandbox.id, reason.value if reason is not None else "for no known reason")


class EngineCommand:
    """A `Command` of an engine in this process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.stdout: Source | None = process.stdout
        self.stderr: Source | None = process.stderr

    async def write_input(self, chunk: bytes) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.write(chunk)

    async def end_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def wait(self) -> ExitStatus:
        return await self._process.wait()

    async def signal(self, name: str) -> None:
        await self._process.signal(name)

    async def resize(self, size: PtySize) -> None:
        await self._process.resize(size)
