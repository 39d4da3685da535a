"""The states of a sandbox and the one table of the moves between them."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a sandbox is in its life; only `RUNNING` takes commands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StopReason(enum.Enum):
    """Why a sandbox ended; the value is what users read."""

    KILLED = "killed"
    SESSION_ENDED = "session ended"
    DEADLINE = "deadline reached"
    GUEST_EXITED = "the guest shut down or panicked"
    VMM_DIED = "the VMM died"
    LINK_LOST = "the guest's agent stopped answering"
    GUEST_MISBEHAVED = "the guest sent what the host does not accept"
    START_FAILED = "start failed"
    SERVER_STOPPED = "the server stopped"
    RECONCILED = "the server ended without stopping it"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.RUNNING, State.STOPPING}),
    State.RUNNING: frozenset({State.STOPPING}),
    State.STOPPING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
}


def advance(present: State, target: State) -> State:
    """`target`, if the table allows the move; ValueError (a bug of ours) if not."""
    if target not in TRANSITIONS[present]:
        raise ValueError(f"a sandbox cannot go from {present.value} to {target.value}")
    return target
