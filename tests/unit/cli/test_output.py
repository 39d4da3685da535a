from __future__ import annotations

import json
from typing import Any

import pytest

from atoll.cli.output import print_rows, printable, size_text, time_text

ROWS: list[dict[str, Any]] = [
    {"name": "a\x1b[2Jb", "size": 3, "more": None},
    {"name": "[red]c", "size": None, "more": True},
]


def test_a_table_shows_the_columns_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, {"name": "NAME", "size": "SIZE"}, as_json=False, empty="none")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["NAME", "SIZE"], ["a\\x1b[2Jb", "3"], ["[red]c", "-"]]


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, {"name": "NAME"}, as_json=True, empty="none")
    assert json.loads(capsys.readouterr().out) == ROWS


def test_nothing_to_show_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], {"name": "NAME"}, as_json=False, empty="none; do this")
    print_rows([], {"name": "NAME"}, as_json=True, empty="none; do this")
    captured = capsys.readouterr()
    assert captured.out == "[]\n"
    assert captured.err == "none; do this\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ("a\nb\t\u202e", "a\\nb\\t\\u202e"),
        ("ü", "ü"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable(value: object, text: str) -> None:
    assert printable(value) == text


def test_times_and_sizes_read_well() -> None:
    assert (time_text(None), time_text(1_700_000_000_999)) == (None, "2023-11-14T22:13:20Z")
    assert (size_text(5 * 2**19), size_text(3 * 2**29)) == ("2.5 MiB", "1.5 GiB")
