"""One VM: its process, its control socket, the link to its agent, and one way to end all of it."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from atoll.vmm.figures import MemoryFigures, memory_of
from atoll.vmm.link import GuestLink
from atoll.vmm.process import JailedProcess
from atoll.vmm.qmp import Qmp
from atoll.vmm.shape import Accel, Shape

log = logging.getLogger("atoll.vmm")


class EndedBy(enum.Enum):
    """Who ended a VM."""

    GUEST = "the guest shut down or panicked"
    VMM = "the VMM died"
    US = "destroyed"


@dataclass(frozen=True, slots=True)
class MachineExit:
    """How a VM ended, with the end of what it and its guest printed."""

    by: EndedBy
    code: int
    log_tail: str

    def story(self) -> str:
        """One paragraph for a record or a log."""
        status = f" (status {self.code})" if self.by is EndedBy.VMM else ""
        tail = f"; the end of its log:\n{self.log_tail}" if self.log_tail and self.by is not EndedBy.US else ""
        return f"{self.by.value}{status}{tail}"


class Machine:
    """One running VM. `exited` is done when it has ended, whoever ended it."""

    def __init__(
        self, shape: Shape, accel: Accel, process: JailedProcess, qmp: Qmp, link: GuestLink, stack: AsyncExitStack
    ) -> None:
        """Owns everything that `stack` releases."""
        self.shape = shape
        self.accel = accel
        self.link = link
        self.started_at = time.monotonic()
        self._process = process
        self._qmp = qmp
        self._stack = stack
        self._ending: asyncio.Task[None] | None = None
        self.exited: asyncio.Future[MachineExit] = asyncio.get_running_loop().create_future()
        process.exited.add_done_callback(self._on_exit)

    @property
    def pid(self) -> int:
        """Of the outermost process."""
        return self._process.pid

    @property
    def accelerator(self) -> str:
        """`kvm` or `tcg`."""
        return self.accel.value

    @property
    def command(self) -> tuple[str, ...]:
        """The jail and QEMU in it, as they were started."""
        return self._process.argv

    def pids(self) -> list[int]:
        """Every process of this VM on the host, QEMU last."""
        return self._process.pids()

    @property
    def alive(self) -> bool:
        return not self._process.exited.done()

    async def pause(self) -> None:
        """The guest's processors stand still; it costs no CPU until `resume`."""
        await self._qmp.execute("stop")

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self._qmp.execute("cont")

    def memory(self) -> MemoryFigures:
        """What the VM's processes hold now, in KiB."""
        return memory_of(self.pids())

    def log_tail(self) -> str:
        """The end of what QEMU and the guest's console printed."""
        return self._process.log_tail()

    async def wait_exited(self) -> tuple[bool, str]:
        """Returns when the VM has ended: whether the guest did that itself, and the story in words."""
        await asyncio.wait([self.exited])
        ending = self.exited.result()
        return ending.by is EndedBy.GUEST, ending.story()

    async def destroy(self) -> None:
        """End the VM and give back everything that it had. Idempotent; a caller that is cancelled does not stop it."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._release())
        await asyncio.shield(self._ending)

    async def _release(self) -> None:
        # First of all, so that nothing that follows waits for a guest that does not answer.
        self._process.kill()
        await self._stack.aclose()
        await asyncio.wait([self.exited])
        log.debug("machine destroyed", extra={"pid": self.pid})

    def _on_exit(self, exited: asyncio.Future[int]) -> None:
        code = exited.result()
        by = EndedBy.US if self._ending is not None else EndedBy.GUEST if code == 0 else EndedBy.VMM
        self.exited.set_result(MachineExit(by, code, self._process.log_tail()))
