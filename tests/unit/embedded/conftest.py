"""Embedded sandboxes whose guest is this host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agents import AgentMachines
from tests.deno_binary import deno_path

from atoll.embedded.shared_engine import MachineFactory, Machines
from atoll.engine import EngineSettings

Options = Callable[..., dict[str, Any]]


class Host:
    """A machine factory that remembers what it did."""

    def __init__(self, home: Path) -> None:
        self.agents = AgentMachines(home)
        self.entered = 0
        self.left = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Machines]:
        self.entered += 1
        try:
            yield Machines(self.agents, EngineSettings(max_sandboxes=3))
        finally:
            self.left += 1

    @property
    def all_ended(self) -> bool:
        return self.entered == self.left and all(machine.process.poll() is not None for machine in self.agents.made)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def options(host: Host, tmp_path: Path) -> dict[str, Any]:
    """For `create`."""
    machines: MachineFactory = host
    env = {"PATH": deno_path(), "DENO_DIR": str(tmp_path / "deno"), "HOME": str(tmp_path), "NO_COLOR": "1"}
    return {"machines": machines, "env": {**env, "TMPDIR": str(tmp_path)}}
