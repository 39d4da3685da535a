"""The config header: both dialects, and everything that is wrong with one."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.api.sandbox_config import parse_config
from atoll.model.errors import InvalidSpec
from atoll.model.spec import SandboxSpec


def parse(config: Any) -> SandboxSpec:
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    return parse_config(base64.b64encode(raw).decode(), default_memory_mib=1280, vcpus=2)


def test_python_dialect() -> None:
    spec = parse(
        {"memory_mb": 1024, "debug": False, "region": "ams", "timeout": "5m", "env": {"A_b": "c"}, "volumes": {}}
    )
    assert (spec.memory_mib, spec.region, spec.lifetime_s, dict(spec.env)) == (1024, "ams", 300, {"A_b": "c"})


def test_javascript_dialect() -> None:
    spec = parse({"memory_mb": 1280, "volumes": [], "stop_at_ms": int(time.time() * 1000) + 60_000})
    assert spec.lifetime_s is not None and 55 < spec.lifetime_s <= 60
    assert parse({"volumes": []}).lifetime_s is None
    assert parse({}).memory_mib == 1280


def test_latin_1() -> None:
    assert dict(parse('{"labels": {"wort": "grüße"}}'.encode("latin-1")).labels) == {"wort": "grüße"}
    assert dict(parse({"labels": {"wort": "grüße"}}).labels) == {"wort": "grüße"}


@pytest.mark.parametrize("ahead_s", [-30, 30 * 60 + 30])
def test_a_clock_that_is_a_little_off(ahead_s: float) -> None:
    assert parse({"stop_at_ms": (time.time() + ahead_s) * 1000}).lifetime_s in (1.0, 1800.0)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"memory_mb": "1280"}, "memory_mb"),
        ({"memory_mb": True}, "memory_mb"),
        ({"memory_mb": 1e400}, "x-deno-sandbox-config"),
        ({"memory_mb": 100}, "memory_mb"),
        ({"memoryMb": 1280}, "memoryMb"),
        ({"env": {"A": 1}}, "env.A"),
        ({"labels": ["x"]}, "labels"),
        ({"timeout": "5 minutes"}, "timeout"),
        ({"stop_at_ms": 5}, "stop_at_ms"),
        ({"stop_at_ms": float(2**62)}, "stop_at_ms"),
        ({"allow_net": ["example.com"]}, "allow_net"),
        ({"secrets": {"K": {"hosts": ["h"], "value": "v"}}}, "secrets"),
        ({"volumes": [{"volume": "v", "path": "/d"}]}, "volumes"),
        ({"root": {"volume": "v"}}, "root"),
        ({"ssh": True}, "ssh"),
        ({"port": 80}, "port"),
        ([], "x-deno-sandbox-config"),
        (b"\xff{", "x-deno-sandbox-config"),
        (b"[" * 100_000, "x-deno-sandbox-config"),
    ],
)
def test_refused(config: Any, field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(config)
    assert caught.value.field == field


def test_no_value_is_told() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse({"env": {"KEY": ["hush-hush"]}, "secrets": {"K": {"value": "hush-hush"}}})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("header", [None, "%%%", "e30", "e30=\n", "ü"])
def test_no_config_at_all(header: str | None) -> None:
    with pytest.raises(InvalidSpec, match="x-deno-sandbox-config"):
        parse_config(header, default_memory_mib=1280, vcpus=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
NAMES = ["memory_mb", "timeout", "stop_at_ms", "env", "labels", "region", "volumes", "ssh", "allow_net", "x"]


@given(st.binary() | st.dictionaries(st.sampled_from(NAMES), json_values))
def test_whatever_comes_is_a_spec_or_an_error_of_ours(config: Any) -> None:
    try:
        assert isinstance(parse(config), SandboxSpec)
    except InvalidSpec as error:
        assert error.field
