"""QEMU's control socket: a thin seam over qemu.qmp that speaks our errors."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError
from qemu.qmp.message import Message

from atoll.model.errors import HostError, LinkLost

log = logging.getLogger("atoll.vmm")


class QmpRefused(HostError):
    """QEMU understood a command and would not do it."""


class Qmp:
    """One QEMU's control connection."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes `sock` over."""
        self._client = QMPClient("atoll")
        self._client.logger = logging.getLogger("atoll.vmm.qmp")
        # The client keeps every event for somebody to fetch, and a guest can cause them without end.
        # A filter that takes what it wants and refuses all keeps nothing.
        self._client.events.event_filter = self._on_event
        self._socket = sock
        self._connected = False
        self._fd_passing: socket.socket | None = None
        self._migrated: asyncio.Future[str] | None = None
        self.shutdown_reason: str | None = None

    async def connect(self) -> None:
        """Greeting and capabilities; LinkLost when QEMU is gone."""
        # The transport owns the socket from here on; descriptors are sent through a duplicate.
        self._fd_passing = self._socket.dup()
        try:
            await self._client.connect(self._socket)
        except QMPError as error:
            raise LinkLost(f"QEMU did not answer on its control socket: {error}") from None
        self._connected = True

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """One command's answer. QmpRefused for QEMU's errors, LinkLost when it is gone."""
        try:
            return await self._client.execute(command, dict(arguments) if arguments else None)
        except ExecuteError as error:
            raise QmpRefused(f"QEMU refused {command}: {error}") from None
        except (QMPError, OSError, EOFError) as error:
            raise LinkLost(f"QEMU went away during {command}: {error}") from None

    async def give_fd(self, name: str, fd: int) -> None:
        """Let QEMU have a duplicate of `fd` under `name`."""
        assert self._fd_passing is not None
        # A blank is no JSON; QEMU keeps the descriptor for the `getfd` that follows.
        socket.send_fds(self._fd_passing, [b" "], [fd])
        await self.execute("getfd", {"fdname": name})

    async def save_state(self, fd: int) -> None:
        """Write everything but RAM to `fd`; the guest is stopped when this returns."""
        await self._prepare_migration()
        await self.give_fd("state", fd)
        await self.execute("migrate", {"uri": "fd:state"})
        await self._finish_migration("save")

    async def load_state(self, fd: int) -> None:
        """Read a saved state from `fd`, a descriptor that QEMU inherited; the guest runs when this returns."""
        await self._prepare_migration()
        await self.execute("migrate-incoming", {"uri": f"fd:{fd}"})
        await self._finish_migration("restore")

    async def _prepare_migration(self) -> None:
        self._migrated = asyncio.get_running_loop().create_future()
        wanted = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
        await self.execute("migrate-set-capabilities", {"capabilities": wanted})

    async def _finish_migration(self, what: str) -> None:
        assert self._migrated is not None
        status = await self._migrated
        if status != "completed":
            answer = await self.execute("query-migrate")
            raise QmpRefused(f"QEMU could not {what} the state: {answer.get('error-desc', status)}")

    def _on_event(self, event: Message) -> bool:
        """Note what matters; False, so that nothing is queued."""
        data = event.get("data") or {}
        name = event.get("event")
        if name == "SHUTDOWN" and isinstance(data, dict):
            self.shutdown_reason = str(data.get("reason"))
        if name == "MIGRATION" and isinstance(data, dict):
            self._note_migration(str(data.get("status")))
        return False

    def _note_migration(self, status: str) -> None:
        if status in ("completed", "failed", "cancelled") and self._migrated is not None and not self._migrated.done():
            self._migrated.set_result(status)

    def vmm_gone(self) -> None:
        """The process has ended: nobody shall wait for its events."""
        if self._migrated is not None and not self._migrated.done():
            self._migrated.set_exception(LinkLost("QEMU went away during a migration"))
            self._migrated.exception()  # Its waiter may be gone; the loop must not report it then.

    async def close(self) -> None:
        """Idempotent."""
        if self._fd_passing is not None:
            self._fd_passing.close()
            self._fd_passing = None
        if not self._connected:
            self._socket.close()
            return
        self._connected = False
        try:
            await self._client.disconnect()
        except (QMPError, OSError, EOFError):
            log.debug("qmp had ended before it was closed")
