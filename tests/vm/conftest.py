"""Real VMs for the tests of this folder: one launcher, one template for each size, an engine for each test."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from atoll.engine import Engine, EngineSettings, Sandbox
from atoll.engine.host import HostMachines, host_machines
from atoll.image import ImageStore
from atoll.model.events import Actor, Event
from atoll.model.spec import SandboxSpec
from atoll.vmm.launcher import VmmConfig

ACTOR = Actor("test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here shares one event loop, because the VMs do."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
            if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def state_dir() -> Path:
    """Where `./test` has put the guest image."""
    state = Path(os.environ.get("ATOLL_SERVER_STATE_DIR") or Path(__file__).parents[2] / ".state")
    assert ImageStore(state / "images").current() is not None, (
        f"no guest image in {state}: run ./test or atoll image build"
    )
    return state


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def machines(state_dir: Path) -> AsyncIterator[HostMachines]:
    async with host_machines(VmmConfig(state_dir, pool_size=0)) as machines:
        yield machines


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def engine(machines: HostMachines, events: list[Event]) -> AsyncIterator[Engine]:
    async with Engine(EngineSettings(max_sandboxes=200), machines, emit=events.append) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(engine: Engine) -> Sandbox:
    return await engine.create(SandboxSpec(), ACTOR)
