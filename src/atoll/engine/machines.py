"""What the engine needs of a VM, and of whoever makes VMs."""

from __future__ import annotations

from typing import Protocol

from atoll.vmm.link import GuestLink


class RunningMachine(Protocol):
    """One VM that runs, whose agent answers, and that has not passed the resume barrier yet."""

    @property
    def link(self) -> GuestLink: ...

    @property
    def accelerator(self) -> str:
        """`kvm` or `tcg`."""

    async def wait_exited(self) -> tuple[bool, str]:
        """Returns only when it has ended: whether the guest did that itself, and the story in words."""

    async def destroy(self) -> object:
        """End it and release everything. Idempotent."""


class MachineSource(Protocol):
    """Makes machines: from a pool, a template, or by a cold boot."""

    @property
    def image_digest(self) -> str: ...

    async def acquire(self, memory_mib: int, vcpus: int) -> RunningMachine:
        """A machine for one sandbox. LaunchFailed when none can be had."""
