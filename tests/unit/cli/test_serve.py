"""`atoll serve` where it cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.test_commands import CommandLine


@pytest.fixture
def atoll(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "state")


def test_without_an_image_it_says_what_to_do(atoll: CommandLine) -> None:
    assert "make one with: atoll image build" in atoll.fails("serve", "--listen", "127.0.0.1:0")


def test_settings_that_are_wrong(atoll: CommandLine, tmp_path: Path) -> None:
    assert "server.listen" in atoll.fails("serve", "--listen", "everywhere")
    assert "there is no directory" in atoll.fails("serve", "--ready-file", str(tmp_path / "none" / "ready"))
    assert str(tmp_path / "other") in atoll.fails("serve", "--state", str(tmp_path / "other"))
    assert str(tmp_path / "other") in atoll.fails("serve", "--state-dir", str(tmp_path / "other"))
