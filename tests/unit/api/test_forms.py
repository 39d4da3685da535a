"""Small conversions: JSON text, times, labels, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.api import json_text
from atoll.api.errors import error_object, http_error
from atoll.api.listing import parse_labels
from atoll.api.methods.times import iso, nanoseconds
from atoll.api.quirks import JAVASCRIPT, PYTHON, quirks_of
from atoll.model import errors
from atoll.model.errors import (
    Aborted,
    AtollError,
    GuestError,
    InvalidSpec,
    LaunchFailed,
    LimitReached,
    ProcessNotFound,
    SandboxNotFound,
    SandboxStopped,
    ScriptError,
    Unauthorized,
)


def test_surrogates() -> None:
    assert (
        json_text.encode({"a": ["bad\udcffname", 1, 2**70]})
        == b'{"a":["bad\xef\xbf\xbdname",1,1180591620717411303424]}'
    )
    assert json_text.encode("\ud83d\ude00") == '"😀"'.encode()
    assert json_text.decode(b'{"p": "\\ud800"}') == {"p": "\ud800"}
    for text in (b"", b"{", b"\xff", b'"\\ud800', b'["\\ud800"' + b"[" * 100_000):
        with pytest.raises(ValueError):
            json_text.decode(text)


@given(st.recursive(st.none() | st.integers(-(2**63), 2**63) | st.text(), lambda inner: st.lists(inner)))
def test_json_there_and_back(value: Any) -> None:
    assert json_text.decode(json_text.encode(value)) == json.loads(json_text.encode(value))


def test_times() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z"
    assert iso(-1_000_000) == "1969-12-31T23:59:59.999Z"
    assert iso(2**63 - 1).startswith("2262") and iso(2**80).startswith("9999") and iso(-(2**80)).startswith("0001")
    assert nanoseconds("a", "2023-11-14T22:13:20.123Z") == 1_700_000_000_123_000_000
    assert nanoseconds("a", "2023-11-14T23:13:20.123+01:00") == 1_700_000_000_123_000_000
    assert nanoseconds("a", "1969-12-31T23:59:59.999Z") == -1_000_000
    assert nanoseconds("a", 1.5) == 1_500_000_000
    for wrong in ("soon", "", float("nan"), float("inf")):
        with pytest.raises(InvalidSpec):
            nanoseconds("a", wrong)


def test_labels_of_both_clients() -> None:
    assert parse_labels([("labels[k [1]]", "v,w"), ("other", "x")]) == {"k [1]": "v,w"}
    assert parse_labels([("labels", repr({"k'": 'v "w"', "ü": "\n"}))]) == {"k'": 'v "w"', "ü": "\n"}
    assert parse_labels([]) == {}


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{1: 2}", "{'a': ['b']}", "__import__('os')", "{" * 5000, "{'a': 'b'}" * 2, "9**9**9"]
)
def test_labels_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSpec, match="labels"):
        parse_labels([("labels", text)])


def test_which_client() -> None:
    assert quirks_of("Python/3.11 websockets/15.0.1") is PYTHON
    assert quirks_of(None) is quirks_of("") is quirks_of("Deno/2.9") is JAVASCRIPT


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidSpec("a", "b"), 400, "INVALID_CONFIG"),
        (Unauthorized("who"), 401, "INVALID_TOKEN"),
        (SandboxNotFound("x"), 404, "SANDBOX_NOT_FOUND"),
        (SandboxStopped("x", "killed"), 410, "SANDBOX_STOPPED"),
        (LimitReached("a", "b", "c"), 429, "SANDBOX_CONCURRENCY_LIMIT_EXCEEDED"),
        (errors.NotAvailable("x"), 501, "NOT_AVAILABLE"),
        (LaunchFailed("why"), 500, "LAUNCH_FAILED"),
    ],
)
def test_http_errors(error: AtollError, status: int, code: str) -> None:
    found, body = http_error(error)
    assert (found, body["code"]) == (status, code)
    assert body["message"]


def test_every_error_of_ours_has_both_forms() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AtollError)]
    assert len(kinds) > 15
    for kind in kinds:
        error = kind.__new__(kind)
        Exception.__init__(error, "text")
        error.__dict__.update(errno_name="ENOENT", reason="text", name="Error", stack="", _message="text")
        assert 400 <= http_error(error)[0] < 600
        found = error_object(error)
        assert found["constructorName"] and found["message"] == "text"


def test_only_a_dead_process_is_one_to_python() -> None:
    def dead(error: Exception) -> bool:
        found = error_object(error)
        return (found["constructorName"], found["code"]) == ("TypeError", "ENOENT")

    assert dead(ProcessNotFound(1))
    assert not dead(GuestError("ENOENT", "no such file"))
    assert error_object(GuestError("ENOENT", "x"))["constructorName"] == "NotFound"
    assert error_object(GuestError("EISDIR", "x"))["constructorName"] == "IsADirectory"
    assert error_object(GuestError("EXDEV", "x")) == {
        "constructorName": "Error",
        "message": "x",
        "code": "EXDEV",
        "name": None,
    }


def test_errors_that_need_care() -> None:
    assert error_object(Aborted("x")) == {
        "constructorName": "DOMException",
        "message": "x",
        "code": None,
        "name": "AbortError",
    }
    assert error_object(ScriptError("RangeError", "far", "at x"))["constructorName"] == "RangeError"
    assert error_object(ScriptError("MyError", "far", "at x"))["constructorName"] == "Error"
    assert "secret" not in str(error_object(RuntimeError("secret")))
    hidden = LaunchFailed("it did not boot", command=("qemu", "secret"), log_tail="secret")
    assert "secret" not in str(error_object(hidden)) + str(http_error(hidden))
