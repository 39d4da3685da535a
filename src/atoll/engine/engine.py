"""All sandboxes of one server (or of one embedding process): admission, look-up, their tasks, their records."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

import structlog

from atoll.engine.admission import Admission
from atoll.engine.machines import MachineSource
from atoll.engine.sandbox import Sandbox
from atoll.engine.settings import EngineSettings
from atoll.model.errors import SandboxNotFound, SandboxStopped
from atoll.model.events import Actor, Event
from atoll.model.ids import new_sandbox_id
from atoll.model.lifecycle import StopReason
from atoll.model.spec import SandboxSpec

# Ended sandboxes that are remembered without asking the records.
KEPT_STOPPED = 1024

_log = structlog.get_logger("atoll.engine")


class Records(Protocol):
    """Where the lives of sandboxes are written down (`store`, or nowhere when embedded)."""

    async def sandbox_created(self, sandbox: Sandbox, image_digest: str) -> None: ...

    async def sandbox_stopped(self, sandbox: Sandbox) -> None: ...

    async def stop_reason_of(self, sandbox_id: str) -> str | None:
        """Why a sandbox of an earlier run ended; None when no such sandbox is known."""


class NoRecords:
    """Keeps nothing: for a sandbox embedded in a program."""

    async def sandbox_created(self, sandbox: Sandbox, image_digest: str) -> None:
        return

    async def sandbox_stopped(self, sandbox: Sandbox) -> None:
        return

    async def stop_reason_of(self, sandbox_id: str) -> str | None:
        return None


def log_event(event: Event) -> None:
    """The default sink of events: the structured log."""
    actor = event.actor
    who = {"via": actor.via, "token": actor.token, "client": actor.client} if actor is not None else {}
    _log.info(event.kind, sandbox=event.sandbox_id, **who, **event.fields)


class Engine:
    """Use as an async context manager; leaving it ends every sandbox."""

    def __init__(
        self,
        settings: EngineSettings,
        source: MachineSource,
        records: Records | None = None,
        emit: Callable[[Event], None] = log_event,
    ) -> None:
        self.settings = settings
        self._source = source
        self._records: Records = records or NoRecords()
        self._emit = emit
        self._admission = Admission(settings)
        self._live: dict[str, Sandbox] = {}
        self._stopped: OrderedDict[str, str] = OrderedDict()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for sandbox in self.live:
            sandbox.end(StopReason.SERVER_STOPPED)
        await self._group.__aexit__(kind, error, traceback)

    @property
    def live(self) -> list[Sandbox]:
        """Sandboxes that have not ended, oldest first."""
        return list(self._live.values())

    def admit(self, spec: SandboxSpec, actor: Actor) -> Sandbox:
        """Start a sandbox, and give it back before it is ready. LimitReached before anything is started."""
        self._admission.check(spec, (other.spec for other in self._live.values()))
        sandbox = Sandbox(new_sandbox_id(spec.region), spec, actor, self._source, self._emit)
        self._live[sandbox.id] = sandbox
        self._group.create_task(self._live_and_record(sandbox), name=sandbox.id)
        return sandbox

    async def create(self, spec: SandboxSpec, actor: Actor) -> Sandbox:
        """`admit`, and wait until commands can run."""
        sandbox = self.admit(spec, actor)
        try:
            await sandbox.wait_ready()
        except BaseException:
            sandbox.end(StopReason.START_FAILED)
            raise
        return sandbox

    async def get(self, sandbox_id: str) -> Sandbox:
        """A sandbox that runs. SandboxStopped or SandboxNotFound otherwise."""
        sandbox = self._live.get(sandbox_id)
        if sandbox is not None and sandbox.ending is None:
            return sandbox
        reason = sandbox.ending.value if sandbox is not None and sandbox.ending else self._stopped.get(sandbox_id)
        reason = reason or await self._records.stop_reason_of(sandbox_id)
        if reason is None:
            raise SandboxNotFound(sandbox_id)
        raise SandboxStopped(sandbox_id, reason)

    def find(self, labels: Mapping[str, str]) -> list[Sandbox]:
        """Live sandboxes that carry all of `labels`."""
        return [sandbox for sandbox in self.live if labels.items() <= sandbox.spec.labels.items()]

    async def _live_and_record(self, sandbox: Sandbox) -> None:
        try:
            await self._records.sandbox_created(sandbox, self._source.image_digest)
            await sandbox.live()
        except Exception:  # noqa: BLE001 - a bug of ours in one sandbox is logged whole, and the others go on
            _log.exception("sandbox.failed", sandbox=sandbox.id)
        finally:
            await self._forget(sandbox)

    async def _forget(self, sandbox: Sandbox) -> None:
        del self._live[sandbox.id]
        sandbox.stop_reason = sandbox.stop_reason or StopReason.SERVER_STOPPED
        self._stopped[sandbox.id] = sandbox.stop_reason.value
        while len(self._stopped) > KEPT_STOPPED:
            self._stopped.popitem(last=False)
        try:
            await self._records.sandbox_stopped(sandbox)
        finally:
            sandbox.settle()
