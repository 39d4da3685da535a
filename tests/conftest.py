"""The suite leaves nothing behind: whatever a test started and did not end fails the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.leftovers import become_subreaper, end_processes, host_things


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    named = os.environ.get("ATOLL_SERVER_STATE_DIR")
    state_dir = Path(named).resolve() if named else None
    become_subreaper()
    before = host_things(state_dir)
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [*end_processes(others), *sorted(host_things(state_dir) - before)]
    assert not left, "the suite left behind: " + "; ".join(left)
