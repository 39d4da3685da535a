"""Deno in an embedded sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from atoll.embedded.errands import Errands
from atoll.embedded.process import AsyncProcess, InputMode, OutputMode, Pipes
from atoll.embedded.response import AsyncResponse, HeaderPairs, fetched
from atoll.embedded.streams import Content
from atoll.engine import Sandbox as EngineSandbox
from atoll.engine.deno import DenoProcess as EngineDenoProcess
from atoll.engine.deno_repl import Repl
from atoll.model.errors import NotAvailable

Extension = Literal["js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"]


class AsyncDenoProcess(AsyncProcess):
    """A script that runs."""

    def __init__(self, sandbox: EngineSandbox, started: EngineDenoProcess, errands: Errands, pipes: Pipes) -> None:
        super().__init__(sandbox, started.process, errands, pipes)
        self._started = started

    async def wait_http_ready(self) -> bool:
        """Whether it came to listen on a TCP port; False when it ended before that."""
        return await self._sandbox.deno.wait_http(self.pid)

    async def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: HeaderPairs | None = None,
        redirect: Literal["follow", "manual"] | None = None,
        body: Content | None = None,
    ) -> AsyncResponse:
        """Make a request to its server, whatever host `url` names."""
        return await fetched(self._sandbox, url, method, headers, redirect, body, self.pid)

    async def restarts(self) -> AsyncIterator[None]:
        """Yields each time that `watch` starts it again, until it ends. To be iterated once."""
        if self._started.restarts is not None:
            async for restart in self._started.restarts:
                yield restart


class AsyncDenoRepl(AsyncProcess):
    """A REPL. What is declared in it stays; as a context manager it is closed at the end of the block."""

    def __init__(self, sandbox: EngineSandbox, repl: Repl, errands: Errands, pipes: Pipes) -> None:
        super().__init__(sandbox, repl.process, errands, pipes)
        self._repl = repl

    async def eval(self, code: str) -> Any:
        """The value of the last expression, as JSON has it. ScriptError for what the code throws."""
        return await self._repl.eval(code)

    async def call(self, fn: str, args: Sequence[Any] = ()) -> Any:
        """Call a function, given by its name in the REPL or its source text, with JSON arguments."""
        return await self._repl.call(fn, list(args))

    async def close(self) -> None:
        """End it. Idempotent."""
        await self._repl.close()
        await self.wait()

    async def kill(self, signal: str = "SIGKILL") -> None:
        await super().kill(signal)

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class AsyncDeno:
    """Programs in Deno, with all permissions: the VM is the border."""

    def __init__(self, sandbox: EngineSandbox, errands: Errands) -> None:
        self._sandbox = sandbox
        self._errands = errands

    async def run(
        self,
        *,
        entrypoint: str | None = None,
        code: str | None = None,
        extension: Extension = "ts",
        script_args: Sequence[str] = (),
        watch: bool | Sequence[str] = False,
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> AsyncDenoProcess:
        """Start a module from the sandbox's disk, or `code` as if it were a file in `cwd`."""
        pipes = Pipes(stdin, stdout, stderr, stdin_data)
        started = await self._sandbox.deno.run(
            entrypoint=entrypoint,
            code=code,
            extension=extension,
            script_args=script_args,
            watch=watch,
            cwd=cwd,
            clear_env=clear_env,
            env=env,
            stdin=pipes.stdin == "piped",
            stdout=pipes.stdout != "null",
            stderr=pipes.stderr != "null",
        )
        return AsyncDenoProcess(self._sandbox, started, self._errands, pipes)

    async def repl(
        self,
        *,
        script_args: Sequence[str] = (),
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> AsyncDenoRepl:
        """Start a REPL, and wait until it can evaluate."""
        pipes = Pipes(stdin, stdout, stderr, stdin_data)
        repl = await self._sandbox.deno.start_repl(
            script_args=script_args,
            cwd=cwd,
            clear_env=clear_env,
            env=env,
            stdin=pipes.stdin == "piped",
            stdout=pipes.stdout != "null",
            stderr=pipes.stderr != "null",
        )
        return AsyncDenoRepl(self._sandbox, repl, self._errands, pipes)

    async def eval(self, code: str) -> Any:
        """Evaluate `code` in a REPL of its own."""
        async with await self.repl() as repl:
            return await repl.eval(code)

    async def deploy(self, *args: object, **options: object) -> None:
        """Hosting on Deno Deploy, which a sandbox engine does not do."""
        raise NotAvailable("deno.deploy")
