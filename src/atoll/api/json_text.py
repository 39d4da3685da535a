"""JSON in and out: orjson, and what it refuses although clients and guests have it."""

from __future__ import annotations

import json
from typing import Any

import orjson

# Text with lone surrogates takes the slow path, which nests no deeper than this.
_MAX_SLOW_BYTES = 4 * 1024 * 1024


def encode(value: Any) -> bytes:
    """JSON of `value`; a lone surrogate (a guest's file name that is not UTF-8) becomes U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Also for integers over 64 bits, which orjson refuses.
        return json.dumps(_replaced(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def decode(text: bytes) -> Any:
    """The value of JSON text; ValueError when it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # JSON.stringify escapes lone surrogates, which is valid JSON that orjson does not take.
        if (b"\\ud" not in text and b"\\uD" not in text) or len(text) > _MAX_SLOW_BYTES:
            raise
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item) for item in value]
    return value
