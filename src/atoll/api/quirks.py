"""What each client needs of us. One table, keyed on the client; every line says why it is there (WIRE 4, 6)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """How one client differs. Everything else is the same for all of them."""

    client: str
    # JavaScript sends the bare text `ping` every 2 s; Python's reader dies of anything that is not JSON.
    answers_text_ping: bool
    # JavaScript with zod <= 4.3 hangs on a protocol-level error; Python makes its typed errors of nothing else.
    protocol_errors: bool
    # JavaScript's `readable` spins on "" for ever; Python hands null to its base64 decoder.
    end_of_file: str | None
    # Python returns what it gets as the list of entries (walk) or of paths (expandGlob); JavaScript wants a stream.
    listings_as_arrays: bool
    # Python hangs on a message over websockets' 1 MiB; the `ws` package takes 100 MiB.
    max_message_bytes: int
    # Python has no way to read a fetched body, so its frames would only be dropped.
    reads_fetched_bodies: bool
    # Python ignores `$sandbox.stream.error`: a stream that fails must end, or its reader waits for ever.
    knows_stream_errors: bool
    # Python does not obey `$sandbox.stream.cancel`: what it sends on is discarded here.
    obeys_stream_cancel: bool
    # JavaScript dies of an `end` that crosses its cancel, and tells of its cancel only when the `start` came after it
    # had taken in the answer that names the stream. So both wait until it has caught up: its WebSocket library answers
    # pings in the order of messages.
    must_settle: bool
    # Python's readers exist only once its processWait goes out, and what comes earlier is lost, so only that opens the
    # gate. Other clients are right either way, and may never ask for the status.
    gate_fallback_s: float | None


PYTHON = Quirks(
    client="python",
    answers_text_ping=False,
    protocol_errors=True,
    end_of_file="",
    listings_as_arrays=True,
    max_message_bytes=1024 * 1024,
    reads_fetched_bodies=False,
    knows_stream_errors=False,
    obeys_stream_cancel=False,
    must_settle=False,
    gate_fallback_s=None,
)

JAVASCRIPT = Quirks(
    client="javascript",
    answers_text_ping=True,
    protocol_errors=False,
    end_of_file=None,
    listings_as_arrays=False,
    max_message_bytes=100 * 1024 * 1024,
    reads_fetched_bodies=True,
    knows_stream_errors=True,
    obeys_stream_cancel=True,
    must_settle=True,
    gate_fallback_s=5.0,
)


def quirks_of(user_agent: str | None) -> Quirks:
    """Python's WebSocket library names itself; who does not is treated as JavaScript, whose form is the schema's."""
    return PYTHON if user_agent is not None and "websockets" in user_agent else JAVASCRIPT
