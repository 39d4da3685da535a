"""What can be asked for, and the error for what cannot."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import InvalidSpec
from atoll.model.ids import is_sandbox_id, new_sandbox_id
from atoll.model.lifecycle import State, advance
from atoll.model.process import SpawnSpec
from atoll.model.spec import SandboxSpec, parse_duration_s


def test_ids_are_what_the_javascript_client_accepts() -> None:
    ids = {new_sandbox_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"sbx_[a-z]{3}_[0-9a-hjkmnp-z]{20}", text) and is_sandbox_id(text) for text in ids)


@given(st.text(max_size=40))
def test_only_ids_are_ids(text: str) -> None:
    assert is_sandbox_id(text) == bool(re.fullmatch(r"sbx_[a-z]{3}_[0-9a-hjkmnp-z]{20}", text))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"memory_mib": 767}, "memory_mb"),
        ({"memory_mib": 4097}, "memory_mb"),
        ({"vcpus": 3}, "vcpus"),
        ({"region": "ORD"}, "region"),
        ({"lifetime_s": 0.0}, "timeout"),
        ({"lifetime_s": 1801.0}, "timeout"),
        ({"labels": {str(n): "" for n in range(6)}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"é" * 33: "x"}}, "labels"),
        ({"labels": {"k": "x" * 129}}, "labels"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A\0": "x"}}, "env"),
        ({"env": {"A": "\0"}}, "env"),
        ({"env": {"A": "x" * 131_072}}, "env"),
        ({"env": {f"A{n}": "x" * 100_000 for n in range(11)}}, "env"),
    ],
)
def test_what_is_out_of_range_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        SandboxSpec(**fields)  # type: ignore[arg-type]
    assert caught.value.field == named


def test_environment_values_stay_out_of_the_repr() -> None:
    assert "hunter2" not in repr(SandboxSpec(env={"PASSWORD": "hunter2"}))
    assert "hunter2" not in repr(SpawnSpec(("true",), env={"PASSWORD": "hunter2"}))


@pytest.mark.parametrize(
    ("text", "seconds"), [("session", None), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "1.5m", "5m\n", "9999999999s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidSpec, match="timeout"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"argv": ("a",), "cwd": "\0"},
        {"argv": ("a",), "user": "nobody"},
    ],
)
def test_a_process_that_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidSpec):
        SpawnSpec(**fields)  # type: ignore[arg-type]


def test_a_state_moves_only_by_the_table() -> None:
    assert advance(State.STARTING, State.RUNNING) is State.RUNNING
    with pytest.raises(ValueError, match="cannot go from stopped to running"):
        advance(State.STOPPED, State.RUNNING)
