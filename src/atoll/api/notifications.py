"""The five stream notifications, in the order in which the client sent them (WIRE 4.3)."""

from __future__ import annotations

import binascii
from typing import Any

from atoll.api.peer import Peer
from atoll.model.errors import CallerError, InvalidSpec

_MAX_MESSAGE_CHARS = 1000


async def apply(peer: Peer, method: str, params: Any) -> None:
    """Do what a notification says. There is no answer to one, so what makes no sense is dropped."""
    stream_id = params.get("streamId") if isinstance(params, dict) else None
    if not isinstance(stream_id, int) or isinstance(stream_id, bool) or not 0 <= stream_id < 2**53:
        return
    match method:
        case "$sandbox.stream.enqueue":
            await _enqueue(peer, stream_id, params.get("data"))
        case "$sandbox.stream.start":
            peer.inbound.get(stream_id)
        case "$sandbox.stream.end":
            peer.inbound.end(stream_id)
        case "$sandbox.stream.error":
            peer.inbound.end(stream_id, CallerError(f"the client's stream failed: {_message(params.get('error'))}"))
        case "$sandbox.stream.cancel":
            peer.outbound.cancel(stream_id)


async def _enqueue(peer: Peer, stream_id: int, data: Any) -> None:
    stream = peer.inbound.get(stream_id)
    try:
        chunk = binascii.a2b_base64(data, strict_mode=True)
    except (TypeError, ValueError):
        stream.end(InvalidSpec("data", "a piece of the stream is not base64"))
        return
    await stream.feed(chunk)


def _message(error: Any) -> str:
    """JavaScript sends an ErrorObject or null, Python plain text."""
    text = error.get("message") if isinstance(error, dict) else error
    return text[:_MAX_MESSAGE_CHARS] if isinstance(text, str) else "no reason given"
