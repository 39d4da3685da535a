"""A sandbox in the caller's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from atoll.embedded.deno import AsyncDeno
from atoll.embedded.environment import AsyncEnvironment
from atoll.embedded.errands import Errands
from atoll.embedded.files import AsyncFiles
from atoll.embedded.process import AsyncProcess, InputMode, OutputMode, Pipes
from atoll.embedded.response import AsyncResponse, HeaderPairs, fetched
from atoll.embedded.shared_engine import MachineFactory, lease_engine
from atoll.embedded.streams import Content
from atoll.engine import EngineSettings
from atoll.engine import Sandbox as EngineSandbox
from atoll.engine.sandbox import now_ms
from atoll.model.errors import NotAvailable
from atoll.model.events import Actor
from atoll.model.ids import DEFAULT_REGION
from atoll.model.process import SpawnSpec
from atoll.model.spec import SandboxSpec, parse_duration_s

ACTOR = Actor("embedded")


class AsyncSandbox:
    """Made by `AsyncSandbox.create`, and gone with all that is in it when that block ends."""

    def __init__(self, sandbox: EngineSandbox, errands: Errands) -> None:
        self._sandbox = sandbox
        self._errands = errands
        self._files = AsyncFiles(sandbox)
        self._env = AsyncEnvironment(sandbox)
        self._deno = AsyncDeno(sandbox, errands)

    @classmethod
    @asynccontextmanager
    async def create(
        cls,
        *,
        region: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: str | None = None,
        memory_mb: int | None = None,
        vcpus: int | None = None,
        labels: Mapping[str, str] | None = None,
        root: str | None = None,
        volumes: Mapping[str, str] | None = None,
        allow_net: Sequence[str] | None = None,
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | None = None,
        port: int | None = None,
        machines: MachineFactory | None = None,
    ) -> AsyncIterator[AsyncSandbox]:
        """A sandbox for as long as the block lasts.

        `timeout` is "session" (the default) or a duration, as "30s" or "5m", after which it ends even within the
        block. `memory_mb` is in MiB. NotAvailable for options that this version does not have; LimitReached,
        ImageError or LaunchFailed, each with a remedy, when there can be no sandbox. `machines` is for tests.
        """
        options = {"root": root, "volumes": volumes, "allow_net": allow_net, "secrets": secrets, "port": port}
        _refuse_unbuilt({**options, "ssh": ssh or None})
        lifetime_s = None if timeout is None else parse_duration_s(timeout)
        async with lease_engine(machines or _default_machines()) as engine:
            spec = _spec(engine.settings, region, env, lifetime_s, memory_mb, vcpus, labels)
            sandbox = cls(await engine.create(spec, ACTOR), Errands())
            try:
                yield sandbox
            finally:
                await sandbox.close()

    @property
    def id(self) -> str:
        return self._sandbox.id

    @property
    def url(self) -> str | None:
        """None: `port` is not available in this version."""
        return None

    @property
    def ssh(self) -> None:
        """None: `ssh` is not available in this version."""
        return None

    @property
    def fs(self) -> AsyncFiles:
        return self._files

    @property
    def env(self) -> AsyncEnvironment:
        return self._env

    @property
    def deno(self) -> AsyncDeno:
        return self._deno

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._sandbox.ending is not None

    @property
    def accelerator(self) -> str | None:
        """What runs its VM: `kvm`, or `tcg`, which is emulation."""
        return self._sandbox.accelerator

    async def spawn(
        self,
        command: str,
        *,
        args: Sequence[str] | None = None,
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> AsyncProcess:
        """Start a program. GuestError when the guest cannot, as ENOENT for one that is not there.

        Output is passed on to this process's own unless it is "piped" or "null"; stdin is empty unless it is
        "piped" or `stdin_data` is given, which is written beside whatever else happens.
        """
        pipes = Pipes(stdin, stdout, stderr, stdin_data)
        outputs = pipes.stdout != "null", pipes.stderr != "null"
        spec = SpawnSpec((command, *(args or ())), cwd, env or {}, clear_env, "app", pipes.stdin == "piped", *outputs)
        return AsyncProcess(self._sandbox, await self._sandbox.spawn(spec, ACTOR), self._errands, pipes)

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: HeaderPairs | None = None,
        redirect: Literal["follow", "manual"] | None = None,
        body: Content | None = None,
    ) -> AsyncResponse:
        """Make a request from inside the sandbox, by its network and its rules."""
        return await fetched(self._sandbox, url, method, headers, redirect, body)

    async def extend_timeout(self, additional_s: int) -> datetime:
        """Let it end `additional_s` seconds from now; when it really will. At most 30 minutes are granted."""
        granted_ms = self._sandbox.extend(now_ms() + int(additional_s * 1000))
        return datetime.fromtimestamp(granted_ms / 1000, tz=UTC)

    async def wait_stopped(self) -> str:
        """Until it has ended, by its timeout or otherwise; why, in words."""
        return (await self._sandbox.wait_stopped()).value

    async def kill(self) -> None:
        """End it now, and wait until nothing of it is left. Idempotent."""
        await self._sandbox.kill()

    async def close(self) -> None:
        """As `kill`: nobody else could reach an embedded sandbox. Idempotent."""
        await self.kill()
        await self._errands.close()

    async def expose_http(self, *, port: int | None = None, pid: int | None = None) -> str:
        raise NotAvailable("expose_http")

    async def expose_ssh(self) -> dict[str, Any]:
        raise NotAvailable("expose_ssh")


def _refuse_unbuilt(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise NotAvailable(f"the option {name}")


def _default_machines() -> MachineFactory:
    # Late, so that a program (or a test) with its own machines does not load the VMM and the settings.
    from atoll.embedded.host import default_machines

    return default_machines


def _spec(
    settings: EngineSettings,
    region: str | None,
    env: Mapping[str, str] | None,
    lifetime_s: float | None,
    memory_mb: int | None,
    vcpus: int | None,
    labels: Mapping[str, str] | None,
) -> SandboxSpec:
    return SandboxSpec(
        memory_mib=settings.memory_mib_default if memory_mb is None else memory_mb,
        vcpus=settings.vcpus if vcpus is None else vcpus,
        region=region or DEFAULT_REGION,
        lifetime_s=lifetime_s,
        env=env or {},
        labels=labels or {},
    )
