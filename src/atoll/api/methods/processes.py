"""Processes: spawn, wait, kill."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.api.inbound import Inbound
from atoll.api.params import Method, Params, PidParams, StreamId
from atoll.api.peer import Peer
from atoll.api.process_streams import join
from atoll.model.process import PtySize, SpawnSpec

# "inherit" is the client's own business, and yet Python's REPL can send it (WIRE 4.4).
Output = Literal["piped", "null", "inherit"] | None


class StartParams(Params):
    """What everything that starts a process takes."""

    cwd: str | None = None
    env: dict[str, str] | None = None
    clear_env: bool | None = None
    stdin_stream_id: StreamId | None = None
    stdout: Output = None
    stderr: Output = None


Cells = Annotated[int, Field(ge=1, le=0xFFFF)]


class _Pty(Params):
    rows: Cells
    cols: Cells


class _SpawnParams(StartParams):
    """`user` and `pty` are atoll's own, for `atoll exec`; the official clients send neither."""

    command: str
    args: list[str] | None = None
    user: Literal["app", "root"] | None = None
    pty: _Pty | None = None


class _WaitParams(PidParams):
    vscode: bool | None = None


class _ResizeParams(PidParams):
    rows: Cells
    cols: Cells


class _KillParams(PidParams):
    signal: Annotated[str, Field(max_length=32)] | None = None
    vscode: bool | None = None


def take_stdin(peer: Peer, params: StartParams) -> Inbound | None:
    return None if params.stdin_stream_id is None else peer.inbound.take(params.stdin_stream_id)


async def spawn(peer: Peer, params: _SpawnParams) -> dict[str, Any]:
    stdin = take_stdin(peer, params)
    try:
        process = await peer.sandbox.spawn(_spec(params), peer.actor)
    except BaseException:
        if stdin is not None:
            stdin.discard()
        raise
    return join(peer, process, stdin)


def _spec(params: _SpawnParams) -> SpawnSpec:
    return SpawnSpec(
        argv=(params.command, *(params.args or ())),
        cwd=params.cwd,
        env=params.env or {},
        clear_env=bool(params.clear_env),
        user=params.user or "app",
        stdin=params.stdin_stream_id is not None,
        stdout=params.stdout != "null",
        stderr=params.stderr != "null",
        pty=None if params.pty is None else PtySize(params.pty.rows, params.pty.cols),
    )


async def process_wait(peer: Peer, params: _WaitParams) -> dict[str, Any]:
    """Opens the gate of the process's output first: now the client is ready for it."""
    if (gate := peer.gates.pop(params.pid, None)) is not None:
        gate.set()
    status = await peer.sandbox.process(params.pid).wait()
    oom = None if status.oom is None else status.oom.value
    return {"success": status.success, "code": status.code, "signal": status.signal, "oom": oom}


async def process_kill(peer: Peer, params: _KillParams) -> None:
    """Answers when the signal is sent, not when the process has ended."""
    await peer.sandbox.process(params.pid).signal(params.signal or "SIGTERM")


async def process_resize(peer: Peer, params: _ResizeParams) -> None:
    """Not of the official API: tells a process's terminal that ours has another size now."""
    await peer.sandbox.process(params.pid).resize(PtySize(params.rows, params.cols))


METHODS = {
    "spawn": Method(_SpawnParams, spawn),
    "processWait": Method(_WaitParams, process_wait),
    "processKill": Method(_KillParams, process_kill),
    "processResize": Method(_ResizeParams, process_resize),
}
