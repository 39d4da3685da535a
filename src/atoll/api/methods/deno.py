"""Deno: scripts, REPLs, and waiting for their HTTP servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

from atoll.api.methods.processes import StartParams, take_stdin
from atoll.api.outbound import watcher_restart
from atoll.api.params import Method, PidParams
from atoll.api.peer import Peer
from atoll.api.process_streams import join
from atoll.model.errors import AtollError


class _ScriptParams(StartParams):
    """`args`, which Python may send, are options of `deno run`."""

    script_args: list[str] | None = None
    args: list[str] | None = None


class _RunParams(_ScriptParams):
    entrypoint: str | None = None
    watch: bool | list[str] | None = None
    code: str | None = None
    extension: Literal["js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"] | None = None


class _EvalParams(PidParams):
    code: str


class _CallParams(PidParams):
    fn: str
    args: list[Any] | None = None


async def spawn_deno(peer: Peer, params: _RunParams) -> dict[str, Any]:
    stdin = take_stdin(peer, params)
    try:
        started = await peer.sandbox.deno.run(
            entrypoint=params.entrypoint,
            code=params.code,
            extension=params.extension or "ts",
            watch=params.watch or False,
            extra_args=params.args or (),
            **_start_options(params),
        )
    except BaseException:
        if stdin is not None:
            stdin.discard()
        raise
    watcher_id = None
    if started.restarts is not None:
        watcher_id = str(peer.ids.new())
        peer.start_task(_tell_restarts(peer, watcher_id, started.restarts), lambda: None)
    return {**join(peer, started.process, stdin), "watcherId": watcher_id}


async def _tell_restarts(peer: Peer, watcher_id: str, restarts: AsyncIterator[None]) -> None:
    try:
        async for _ in restarts:
            await peer.outbox.send(watcher_restart(watcher_id))
    except AtollError:
        pass  # The program or its sandbox has ended: nothing starts anew.


async def deno_http_wait(peer: Peer, params: PidParams) -> bool:
    return await peer.sandbox.deno.wait_http(params.pid)


async def spawn_repl(peer: Peer, params: _ScriptParams) -> dict[str, Any]:
    stdin = take_stdin(peer, params)
    try:
        repl = await peer.sandbox.deno.start_repl(**_start_options(params))
    except BaseException:
        if stdin is not None:
            stdin.discard()
        raise
    return join(peer, repl.process, stdin)


def _start_options(params: _ScriptParams) -> dict[str, Any]:
    return {
        "script_args": params.script_args or (),
        "cwd": params.cwd,
        "env": params.env or {},
        "clear_env": bool(params.clear_env),
        "stdin": params.stdin_stream_id is not None,
        "stdout": params.stdout != "null",
        "stderr": params.stderr != "null",
    }


async def repl_eval(peer: Peer, params: _EvalParams) -> Any:
    return await peer.sandbox.deno.repl_eval(params.pid, params.code)


async def repl_call(peer: Peer, params: _CallParams) -> Any:
    return await peer.sandbox.deno.repl_call(params.pid, params.fn, params.args or [])


async def repl_close(peer: Peer, params: PidParams) -> None:
    await peer.sandbox.deno.repl_close(params.pid)


METHODS = {
    "spawnDeno": Method(_RunParams, spawn_deno),
    "denoHttpWait": Method(PidParams, deno_http_wait),
    "spawnDenoRepl": Method(_ScriptParams, spawn_repl),
    "denoReplEval": Method(_EvalParams, repl_eval),
    "denoReplCall": Method(_CallParams, repl_call),
    "denoReplClose": Method(PidParams, repl_close),
}
