"""A REPL in a sandbox: a Deno process that evaluates what the host sends it on a connection of its own.

How and why: docs/adr/0004-repl.md. The guest is hostile, so its answers are bounded and checked.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import orjson

from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.listening import wait_listening
from atoll.engine.process import Process
from atoll.model.errors import GuestError, InvalidSpec, ProcessNotFound, ScriptError, TooLarge
from atoll.vmm.link import ByteSink, ByteSource

MAX_REQUEST_BYTES = 8 * 1024 * 1024
# The harness stops at 8 Mi characters, of at most three bytes each; this is for one that was tampered with.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
START_TIMEOUT_S = 60
CLOSE_TIMEOUT_S = 2

_HERE = Path(__file__).parent
BOOTSTRAP = (_HERE / "repl_bootstrap.js").read_text("utf-8")
HARNESS = (_HERE / "repl_harness.js").read_text("utf-8")


def new_token() -> str:
    """So that nothing else in the guest that tries ports is taken for the host."""
    return secrets.token_hex(16)


class Repl:
    """One REPL. Evaluations wait for each other; `process` has the program's own stdin, stdout and stderr."""

    def __init__(self, sandbox: GuestPrograms, process: Process) -> None:
        self.process = process
        self._sandbox = sandbox
        self._turn = asyncio.Lock()
        self._source: ByteSource | None = None
        self._sink: ByteSink | None = None
        self._received = bytearray()
        self._asked = 0

    async def connect(self, token: str) -> None:
        """Hand the harness over. ScriptError when the process ends first or is not ready in time."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                port = await wait_listening(self._sandbox, self.process)
                if port is None:
                    raise await self._ended()
                self._source, self._sink = await self._sandbox.connect_port(port)
                await self._sink.write(orjson.dumps([token, HARNESS]) + b"\n")
                await self._answer(0)
        except TimeoutError:
            await self.kill()
            raise ScriptError("Error", f"the REPL was not ready within {START_TIMEOUT_S} s", "") from None
        except BaseException:
            await self.kill()
            raise

    async def eval(self, code: str) -> Any:
        """The value of the last expression, as JSON has it. ScriptError for what the code throws."""
        return await self._ask({"code": code})

    async def call(self, fn: str, args: list[Any]) -> Any:
        """Call a function by its name or its source text, with JSON arguments."""
        return await self._ask({"fn": fn, "args": args})

    async def close(self) -> None:
        """End the process: by itself, or with SIGKILL if it does not."""
        if self._sink is not None:
            self._sink.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.process.wait()
        except TimeoutError:
            await self.kill()
        finally:
            self._hang_up()

    async def kill(self) -> None:
        """End the process now."""
        self._hang_up()
        try:
            await self.process.signal("SIGKILL")
        except ProcessNotFound:
            return

    def _hang_up(self) -> None:
        if self._sink is not None:
            self._sink.close()
        if self._source is not None:
            self._source.cancel()

    async def _ask(self, request: dict[str, Any]) -> Any:
        async with self._turn:
            if self.process.exited is not None:
                raise ProcessNotFound(self.process.pid)
            self._asked += 1
            await self._send({"id": self._asked, **request})
            return _value_of(await self._answer(self._asked))

    async def _send(self, request: dict[str, Any]) -> None:
        try:
            line = orjson.dumps(request)
        except TypeError as error:
            raise InvalidSpec("args", f"cannot be sent as JSON: {error}") from None
        if len(line) > MAX_REQUEST_BYTES:
            raise TooLarge(f"{len(line)} bytes of code or arguments, over the limit of {MAX_REQUEST_BYTES}")
        assert self._sink is not None
        try:
            with self._sandbox.asking():
                await self._sink.write(line + b"\n")
        except GuestError:
            raise await self._ended() from None
        except asyncio.CancelledError:
            # Half a request may be on its way: nothing can follow it.
            await self.kill()
            raise

    async def _answer(self, ident: int) -> dict[str, Any]:
        """The answer to request `ident`; those to requests that were given up come before it and are dropped."""
        while True:
            answer = _parsed(await self._line())
            number = answer.get("id")
            if number == ident:
                return answer
            if not isinstance(number, int) or not 0 < number < ident:
                raise _nonsense()

    async def _line(self) -> bytes:
        assert self._source is not None
        looked_at = 0
        while (end := self._received.find(b"\n", looked_at)) < 0:
            looked_at = len(self._received)
            if looked_at > MAX_ANSWER_BYTES:
                await self.kill()
                raise TooLarge(f"the REPL sent over {MAX_ANSWER_BYTES} bytes in one answer, and was killed")
            try:
                with self._sandbox.asking():
                    chunk = await self._source.read()
            except GuestError:
                chunk = b""
            if not chunk:
                raise await self._ended()
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    async def _ended(self) -> ScriptError:
        """The error of a request that the process did not live to answer."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                status = await self.process.wait()
        except TimeoutError:
            await self.kill()
            return ScriptError("Error", "the REPL closed its connection to the host, and was killed", "")
        how = f"by {status.signal}" if status.signal else f"with status {status.code}"
        return ScriptError("Error", f"the REPL's process ended {how} before it answered", "")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(line)
    except ValueError:
        raise _nonsense() from None
    if not isinstance(answer, dict):
        raise _nonsense()
    return answer


def _value_of(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer.get("value")
    error = answer["error"]
    if not isinstance(error, dict):
        raise _nonsense()
    raise ScriptError(*(str(error.get(key, "")) for key in ("name", "message", "stack")))


def _nonsense() -> ScriptError:
    return ScriptError("Error", "the REPL answered what no REPL would: the code in it took its connection over", "")
