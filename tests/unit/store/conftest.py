from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "atoll.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store(path) as opened:
        yield opened
