"""Records that name one process for good."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from atoll.vmm.figures import memory_of, parent_of, start_ticks
from atoll.vmm.ledger import PROCESS, reap, recorded


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


class ListLedger:
    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    async def add(self, kind: str, ident: str) -> None:
        self.entries.append((kind, ident))

    async def remove(self, kind: str, ident: str) -> None:
        self.entries.remove((kind, ident))


async def test_a_record_lasts_as_long_as_the_context_and_ends_its_process(sleeper: subprocess.Popen[bytes]) -> None:
    ledger = ListLedger()
    async with recorded(ledger, sleeper.pid):
        [(kind, ident)] = ledger.entries
    assert ledger.entries == []
    assert kind == PROCESS
    assert reap(kind, ident)
    assert sleeper.wait() == -9
    assert not reap(kind, ident)


def test_another_process_with_the_same_number_is_spared(sleeper: subprocess.Popen[bytes]) -> None:
    assert not reap(PROCESS, f"{sleeper.pid}:1")
    assert sleeper.poll() is None


@pytest.mark.parametrize("ident", ["", "x:1", "0:1", "99999999999:1"])
def test_nonsense_ends_nothing(ident: str) -> None:
    assert not reap(PROCESS, ident)


def test_figures_of_this_process() -> None:
    figures = memory_of([os.getpid(), 0])
    assert 0 < figures.private_kib <= figures.resident_kib
    assert figures.proportional_kib <= figures.resident_kib
    assert parent_of(os.getpid()) == os.getppid()
    assert start_ticks(0) is None
