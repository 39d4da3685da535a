"""What `atoll run` makes of its words, before any VM."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from tests.unit.cli.test_commands import CommandLine

from atoll.cli.alone import Copy
from atoll.cli.options import environment, pairs


@pytest.fixture
def atoll(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "state")


def test_pairs_and_what_are_none() -> None:
    assert pairs(["a=1", "b=", "c=x=y"], "--label") == {"a": "1", "b": "", "c": "x=y"}
    assert pairs(None, "--label") == {}
    for word in ("a", "=1", ""):
        with pytest.raises(typer.BadParameter, match="is not K=V"):
            pairs([word], "--label")


def test_a_name_alone_takes_our_value() -> None:
    assert environment(["A", "B=2", "C"], {"A": "1", "B": "no"}) == {"A": "1", "B": "2"}


def test_copies_are_split_at_the_last_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with:colon").touch()
    assert Copy.parse("a") == Copy("a", None)
    assert Copy.parse("a:/x") == Copy("a", "/x")
    assert Copy.parse("a:") == Copy("a", None)
    assert Copy.parse("with:colon") == Copy("with:colon", None)
    assert Copy.parse("with:colon:/x") == Copy("with:colon", "/x")


@pytest.mark.parametrize("option", ["--allow-net=x", "--secret=N=h", "--volume=v:/v"])
def test_what_is_not_built_is_refused_before_anything(atoll: CommandLine, option: str) -> None:
    line = atoll.fails("run", option, "--", "true")
    assert f"{option.partition('=')[0]} is not available in this version" in line


def test_wishes_that_cannot_be(atoll: CommandLine) -> None:
    assert "is not a size" in atoll.fails("run", "--memory", "1GB", "--", "true")
    assert "is not between 768 and 4096 MiB" in atoll.fails("run", "--memory", "1MiB", "--", "true")
    assert "--timeout" in atoll.fails("run", "--timeout", "soon", "--", "true")
    assert "cannot be copied: No such file" in atoll.fails("run", "--copy", "/nowhere:/x", "--", "true")
    assert "labels" in atoll.fails("run", *(f"--label=k{n}=v" for n in range(6)), "--", "true")
    assert "atoll image build" in atoll.fails("run", "--", "true")


@pytest.mark.parametrize(
    "words",
    [["--env", "=x", "--", "true"], ["--user", "nobody", "--", "true"], ["--vcpus", "3", "--", "true"], ["--x"]],
)
def test_wrong_usage_is_status_2(atoll: CommandLine, words: list[str]) -> None:
    assert atoll("run", *words).returncode == 2


def test_options_after_the_command_are_its_own(atoll: CommandLine) -> None:
    assert "atoll image build" in atoll.fails("run", "ls", "--json", "-la")
