"""A sandbox whose guest is this host, with Deno on its PATH and a working directory of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.agents import AgentMachines
from tests.deno_binary import deno_path

from atoll.engine import Engine, EngineSettings, Sandbox
from atoll.model.errors import ProcessNotFound
from atoll.model.events import Actor
from atoll.model.spec import SandboxSpec


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Sandbox]:
    env = {"PATH": deno_path(), "DENO_DIR": str(tmp_path / "deno"), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    async with Engine(EngineSettings(), AgentMachines(tmp_path)) as engine:
        sandbox = await engine.create(SandboxSpec(env={**env, "NO_COLOR": "1"}), Actor("test"))
        yield sandbox
        # Here a guest's processes are this host's, and do not end with a VM.
        for process in sandbox.processes:
            with suppress(ProcessNotFound):
                await process.signal("SIGKILL")
            await process.wait()
