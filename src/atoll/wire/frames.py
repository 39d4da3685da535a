"""Frames: an 8-byte header (length and kind in one word, id in the other) and a payload.

    word 0   little-endian u32: payload length << 8 | kind
    word 1   little-endian u32: request id or stream id

A REQUEST, RESPONSE or NOTICE carries a u32 length, that many bytes of JSON, and after it an
optional blob of raw bytes. DATA carries raw bytes, CREDIT a u32, END nothing, RESET JSON.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final, NamedTuple

# Raised whenever either end would misread the other; a template holds an agent, so it is part of its key.
GENERATION: Final = 1

REQUEST: Final = 1
RESPONSE: Final = 2
NOTICE: Final = 3
DATA: Final = 16
END: Final = 17
RESET: Final = 18
CREDIT: Final = 19
KINDS: Final = frozenset({REQUEST, RESPONSE, NOTICE, DATA, END, RESET, CREDIT})

MAX_DATA_BYTES: Final = 128 * 1024
# What a guest may say in one control frame. Long answers (directory listings, file contents) are streams.
MAX_GUEST_CONTROL_BYTES: Final = 1024 * 1024
# What the host may say: argv and environment are bounded by execve(2)'s 2 MiB, and JSON may escape each byte to six.
MAX_HOST_CONTROL_BYTES: Final = 15 * 1024 * 1024

HEADER: Final = struct.Struct("<II")
_U32: Final = struct.Struct("<I")


class WireError(Exception):
    """The peer's bytes break the protocol. The connection cannot go on."""


class Frame(NamedTuple):
    """One frame: its kind, its request or stream id, its payload."""

    kind: int
    id: int
    payload: bytes


class FrameDecoder:
    """Turns a byte stream, cut anywhere, into frames; raises WireError on what cannot be one."""

    __slots__ = ("_buffer", "_max_control")

    def __init__(self, max_control_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_control = max_control_bytes

    @property
    def buffered(self) -> int:
        """Bytes held back because their frame is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        offset, available = 0, len(buffer)
        while available - offset >= 8:
            word, ident = HEADER.unpack_from(buffer, offset)
            kind, length = word & 0xFF, word >> 8
            self._check(kind, length)
            end = offset + 8 + length
            if end > available:
                break
            frames.append(Frame(kind, ident, bytes(memoryview(buffer)[offset + 8 : end])))
            offset = end
        if offset:
            del buffer[:offset]
        return frames

    def _check(self, kind: int, length: int) -> None:
        if kind == DATA:
            if not 0 < length <= MAX_DATA_BYTES:
                raise WireError(f"a data frame of {length} bytes; 1 to {MAX_DATA_BYTES} are allowed")
        elif kind not in KINDS:
            raise WireError(f"a frame of the unknown kind {kind}")
        elif length > self._max_control:
            raise WireError(f"a control frame of {length} bytes, over {self._max_control}")
        elif kind == END and length:
            raise WireError(f"an end frame with a payload of {length} bytes")
        elif kind == CREDIT and length != 4:
            raise WireError(f"a credit frame of {length} bytes instead of 4")


def header(kind: int, ident: int, length: int) -> bytes:
    """The 8 bytes before a payload of `length` bytes."""
    return HEADER.pack(length << 8 | kind, ident)


def control(kind: int, ident: int, body: Any, blob: bytes = b"") -> bytes:
    """A whole REQUEST, RESPONSE or NOTICE frame."""
    # ASCII-only JSON: file names that are not UTF-8 travel as lone surrogates (PEP 383).
    text = json.dumps(body, separators=(",", ":")).encode("ascii")
    length = 4 + len(text) + len(blob)
    if length > MAX_HOST_CONTROL_BYTES:
        raise WireError(f"a message of {length} bytes does not fit in a control frame")
    return b"".join((HEADER.pack(length << 8 | kind, ident), _U32.pack(len(text)), text, blob))


def parse_control(payload: bytes) -> tuple[Any, bytes]:
    """The JSON value and the blob of a control frame's payload."""
    if len(payload) < 4:
        raise WireError("a control frame without a length")
    (length,) = _U32.unpack_from(payload)
    if length > len(payload) - 4:
        raise WireError("a control frame shorter than the length it states")
    return parse_json(payload[4 : 4 + length]), payload[4 + length :]


def parse_json(text: bytes) -> Any:
    """JSON from the peer; WireError for anything that the parser refuses, however it refuses it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from None


def credit(stream: int, amount: int) -> bytes:
    """A whole CREDIT frame."""
    return HEADER.pack(4 << 8 | CREDIT, stream) + _U32.pack(amount)


def parse_credit(payload: bytes) -> int:
    """The amount in a CREDIT frame's payload (its length was checked by the decoder)."""
    (amount,) = _U32.unpack(payload)
    return int(amount)
