"""What an RPC method knows of the connection that called it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from atoll.api.inbound import InboundStreams
from atoll.api.leftovers import Leftovers
from atoll.api.outbound import Ids, OutboundStreams
from atoll.api.outbox import Outbox
from atoll.api.quirks import Quirks
from atoll.api.spool import SpoolSpace
from atoll.engine import Sandbox
from atoll.model.events import Actor


class StartTask(Protocol):
    """Starts a task that the connection owns; `on_cut` is called if it does not come to its end."""

    def __call__(self, work: Coroutine[Any, Any, None], on_cut: Callable[[], None]) -> asyncio.Task[bool]: ...


@dataclass(slots=True)
class Peer:
    """One client on one WebSocket. `gates` holds, by pid, what lets a process's output go."""

    sandbox: Sandbox
    actor: Actor
    quirks: Quirks
    outbox: Outbox
    inbound: InboundStreams
    outbound: OutboundStreams
    ids: Ids
    space: SpoolSpace
    leftovers: Leftovers
    start_task: StartTask
    abort: Callable[[int], None]
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
