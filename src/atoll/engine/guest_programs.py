"""What running programs for a purpose (`deno`, `fetch`) needs of a sandbox."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from atoll.engine.files import Files
from atoll.engine.process import Process
from atoll.model.events import Actor
from atoll.model.process import SpawnSpec
from atoll.vmm.link import ByteSink, ByteSource


class GuestPrograms(Protocol):
    """The part of `Sandbox` that such programs are built on; see there."""

    async def spawn(self, spec: SpawnSpec, actor: Actor | None = None) -> Process: ...

    async def run_helper(self, method: str, params: dict[str, Any]) -> Process: ...

    def process(self, pid: int) -> Process: ...

    def files(self) -> AbstractAsyncContextManager[Files]: ...

    def asking(self) -> AbstractContextManager[None]: ...

    async def listening_ports(self, pid: int) -> list[int]: ...

    async def connect_port(self, port: int) -> tuple[ByteSource, ByteSink]: ...
