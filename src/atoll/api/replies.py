"""The forms of an answer (WIRE 4.1)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from atoll.api import json_text
from atoll.api.errors import TooManyRequests, error_object
from atoll.api.params import described, zod_error
from atoll.api.quirks import Quirks
from atoll.model.errors import InvalidSpec, NotAvailable, TooLarge

METHOD_NOT_FOUND = {"code": -32601, "message": "Method not found"}
INVALID_REQUEST = {"code": -32600, "message": "Invalid request"}


def success(call_id: Any, value: Any, quirks: Quirks) -> bytes:
    """`ok` is always there, null for nothing. What the client could not take becomes an error that it can."""
    reply = json_text.encode({"jsonrpc": "2.0", "id": call_id, "result": {"ok": value}})
    if len(reply) <= quirks.max_message_bytes:
        return reply
    limit_mib = quirks.max_message_bytes // 1024**2
    text = f"the answer is over {limit_mib} MiB, which this client cannot receive; read it in parts with open and read"
    return failure(call_id, TooLarge(text))


def failure(call_id: Any, error: BaseException) -> bytes:
    """An error at the level of results: every client understands it."""
    return json_text.encode({"jsonrpc": "2.0", "id": call_id, "result": {"error": error_object(error)}})


def unknown_method(call_id: Any, method: str, quirks: Quirks) -> bytes:
    if quirks.protocol_errors:
        return _protocol_failure(call_id, METHOD_NOT_FOUND)
    return failure(call_id, NotAvailable(f"the method {method[:80]!r}"))


def invalid_params(call_id: Any, error: ValidationError, quirks: Quirks) -> bytes:
    if quirks.protocol_errors:
        return _protocol_failure(call_id, zod_error(error))
    return failure(call_id, InvalidSpec("params", described(error)))


def invalid_request(call_id: Any, quirks: Quirks) -> bytes:
    if quirks.protocol_errors:
        return _protocol_failure(call_id, INVALID_REQUEST)
    return failure(call_id, InvalidSpec("request", "is not one of JSON-RPC 2.0"))


def too_many(call_id: Any) -> bytes:
    text = "too many requests, or too large ones, are under way on this connection; wait for some of their answers"
    return failure(call_id, TooManyRequests(text))


def _protocol_failure(call_id: Any, error: dict[str, Any]) -> bytes:
    return json_text.encode({"jsonrpc": "2.0", "id": call_id, "error": error})
