"""Programs in Deno: scripts, REPLs, and waiting for their HTTP servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.engine.deno_repl import BOOTSTRAP, Repl, new_token
from atoll.engine.deno_watch import RestartLog
from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.listening import wait_listening
from atoll.engine.process import Process
from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound
from atoll.model.process import SpawnSpec

EXTENSIONS = frozenset({"js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"})
# Linux takes 128 KiB in one argument (MAX_ARG_STRLEN); what is longer goes through stdin.
MAX_ARGUMENT_BYTES = 120 * 1024
MAX_CODE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DenoProcess:
    """A started script; `restarts` yields None each time that `watch` starts it again."""

    process: Process
    restarts: AsyncIterator[None] | None


class Deno:
    """Deno in one sandbox. Everything runs with all permissions: the VM is the border, not Deno's flags."""

    def __init__(self, sandbox: GuestPrograms) -> None:
        self._sandbox = sandbox
        self._repls: dict[int, Repl] = {}

    async def run(
        self,
        *,
        entrypoint: str | None = None,
        code: str | None = None,
        extension: str = "ts",
        script_args: Sequence[str] = (),
        watch: bool | Sequence[str] = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        extra_args: Sequence[str] = (),
    ) -> DenoProcess:
        """Start a module from the guest's disk, or `code` as if it were a file in `cwd`.

        `extra_args` are further options of `deno run`.
        """
        io = SpawnSpec(("deno",), cwd, env or {}, clear_env, "app", stdin, stdout, stderr)
        if (entrypoint is None) == (code is None):
            raise InvalidSpec("entrypoint", "give either entrypoint or code")
        if code is not None:
            if watch:
                raise InvalidSpec("watch", "needs an entrypoint: code is no file that could change")
            return DenoProcess(await self._run_code(io, code, extension, [*extra_args], [*script_args]), None)
        assert entrypoint is not None
        name = f"./{entrypoint}" if entrypoint.startswith("-") else entrypoint
        if not watch:
            argv = ("deno", "run", "-A", *extra_args, name, *script_args)
            return DenoProcess(await self._sandbox.spawn(_with_argv(io, argv)), None)
        return await self._run_watched(io, _watch_option(watch), [*extra_args, name, *script_args])

    async def _run_watched(self, io: SpawnSpec, option: str, rest: list[str]) -> DenoProcess:
        log = await RestartLog.create(self._sandbox)
        argv = ("deno", "run", "-A", option, "--preload", log.preload, *rest)
        process = await self._sandbox.spawn(_with_argv(io, argv))
        return DenoProcess(process, log.restarts(process))

    async def _run_code(
        self, io: SpawnSpec, code: str, extension: str, extra_args: list[str], script_args: list[str]
    ) -> Process:
        if extension not in EXTENSIONS:
            raise InvalidSpec("extension", f"{extension[:40]!r} is not one of {', '.join(sorted(EXTENSIONS))}")
        size = len(code.encode("utf-8", "surrogatepass"))
        if size <= MAX_ARGUMENT_BYTES and not extra_args:
            # In both ways the module is `$deno$eval.ts` (or `$deno$stdin.ts`) in the working directory, so relative
            # imports and deno.json are found from there, and there is no file to clean up.
            text = f" {code}" if code.startswith("-") else code
            argv = ("deno", "eval", f"--ext={extension}", text, "--", *script_args)
            return await self._sandbox.spawn(_with_argv(io, argv))
        if io.stdin:
            raise InvalidSpec("code", f"{size} bytes with stdin, or with args: write it to a file and run that")
        if size > MAX_CODE_BYTES:
            raise InvalidSpec("code", f"{size} bytes, over {MAX_CODE_BYTES}: write it to a file and run that")
        return await self._run_from_stdin(io, code, extension, extra_args, script_args)

    async def _run_from_stdin(
        self, io: SpawnSpec, code: str, extension: str, extra_args: list[str], script_args: list[str]
    ) -> Process:
        argv = ("deno", "run", "-A", f"--ext={extension}", *extra_args, "-", *script_args)
        process = await self._sandbox.spawn(_with_argv(io, argv, stdin=True))
        sink, process.stdin = process.stdin, None
        assert sink is not None
        try:
            with self._sandbox.asking():
                await sink.write(code.encode("utf-8", "replace"))
        except GuestError:
            # It ended before it had read its program; its status and its stderr say why.
            pass
        finally:
            sink.close()
        return process

    # -- REPLs

    async def start_repl(
        self,
        *,
        script_args: Sequence[str] = (),
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> Repl:
        """Start a REPL, and wait until it can evaluate."""
        token = new_token()
        argv = ("deno", "eval", "--ext=js", BOOTSTRAP.replace("TOKEN", token), "--", *script_args)
        io = SpawnSpec(argv, cwd, env or {}, clear_env, "app", stdin, stdout, stderr)
        repl = Repl(self._sandbox, await self._sandbox.spawn(io))
        await repl.connect(token)
        self._repls = {pid: known for pid, known in self._repls.items() if known.process.exited is None}
        self._repls[repl.process.pid] = repl
        return repl

    async def repl_eval(self, pid: int, code: str) -> Any:
        """`Repl.eval`, by its process. ProcessNotFound when no REPL has this pid."""
        return await self._repl(pid).eval(code)

    async def repl_call(self, pid: int, fn: str, args: list[Any]) -> Any:
        return await self._repl(pid).call(fn, args)

    async def repl_close(self, pid: int) -> None:
        """End a REPL. ProcessNotFound when it is gone already."""
        repl = self._repl(pid)
        await repl.close()
        self._repls.pop(pid, None)

    def _repl(self, pid: int) -> Repl:
        if (repl := self._repls.get(pid)) is None or repl.process.exited is not None:
            raise ProcessNotFound(pid)
        return repl

    # -- HTTP

    async def wait_http(self, pid: int) -> bool:
        """Whether the program came to listen on a TCP port; False when it ended before that."""
        return await wait_listening(self._sandbox, self._sandbox.process(pid)) is not None


def _with_argv(io: SpawnSpec, argv: tuple[str, ...], *, stdin: bool | None = None) -> SpawnSpec:
    wanted = io.stdin if stdin is None else stdin
    return SpawnSpec(argv, io.cwd, io.env, io.clear_env, io.user, wanted, io.stdout, io.stderr)


def _watch_option(watch: bool | Sequence[str]) -> str:
    if isinstance(watch, bool):
        return "--watch"
    for path in watch:
        if "," in path:
            raise InvalidSpec("watch", f"{path[:200]!r} contains a comma, which separates paths")
    return f"--watch={','.join(watch)}" if watch else "--watch"
