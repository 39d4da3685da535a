"""A real agent for unit tests: the guest's code in a process of its own, on a socket pair, without a VM."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from atoll.vmm.link import GuestLink

# What the agent starts for `fetch`, as it would start its own archive.
_ENTRY = str(Path(__file__).with_name("agent_entry.py"))

_CHILD = """
import os, sys
from atoll.guest.agent import Agent
from atoll.guest.identity import Identity
home, sys.argv[0] = sys.argv[2:]
names = ("app", "root", "outside")
Agent(int(sys.argv[1]), {n: Identity(n, None, os.getuid(), os.getgid(), home) for n in names}).run()
"""


@contextlib.asynccontextmanager
async def agent_link(home: Path) -> AsyncIterator[GuestLink]:
    """A link to a fresh agent that has `home` as its users' home; everything ends with the block."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(theirs.fileno()), str(home), _ENTRY], pass_fds=[theirs.fileno()]
        )
    try:
        async with GuestLink(ours) as link:
            yield link
    finally:
        assert await asyncio.to_thread(process.wait, 10) == 0


class AgentMachine:
    """A `RunningMachine` whose VM is a process: the real agent and the real link, without QEMU."""

    accelerator = "none"

    def __init__(self, link: GuestLink, process: subprocess.Popen[bytes]) -> None:
        self.link = link
        self.process = process

    async def wait_exited(self) -> tuple[bool, str]:
        await asyncio.to_thread(self.process.wait)
        return True, "the guest's agent ended"

    async def destroy(self) -> None:
        # A VM takes its processes along; here they must be ended one by one.
        for child in psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.link.close()
        await asyncio.to_thread(self.process.wait, 10)


class AgentMachines:
    """A `MachineSource` of such machines."""

    image_digest = "sha256:" + "0" * 64

    def __init__(self, home: Path) -> None:
        self._home = home
        self.made: list[AgentMachine] = []

    async def acquire(self, memory_mib: int, vcpus: int) -> AgentMachine:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(theirs.fileno()), str(self._home), _ENTRY],
                pass_fds=[theirs.fileno()],
            )
        link = GuestLink(ours)
        await link.start()
        await link.hello()
        self.made.append(AgentMachine(link, process))
        return self.made[-1]
