"""A sandbox behind a server: its commands and files, in the shapes that `attach` and `copying` take."""

from __future__ import annotations

import binascii
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.cli.rpc import Connection, Incoming, Outgoing
from atoll.model.errors import AtollError, GuestError, ProtocolViolation
from atoll.model.process import ExitStatus, PtySize

READ_BYTES = 512 * 1024


class RemoteCommand:
    """A `Command` behind a server. Waiting for its end is what lets its output go (WIRE 4.4)."""

    def __init__(self, connection: Connection, answer: Mapping[str, Any], stdin: Outgoing) -> None:
        pid = answer.get("pid")
        if not isinstance(pid, int):
            raise ProtocolViolation("the server starts a process without a pid")
        self.pid = pid
        self._connection = connection
        self._stdin = stdin
        self.stdout = _incoming(connection, answer, "stdoutStreamId")
        self.stderr = _incoming(connection, answer, "stderrStreamId")

    @classmethod
    async def start(
        cls,
        connection: Connection,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        user: str,
        pty: PtySize | None,
    ) -> RemoteCommand:
        """GuestError when the guest cannot, as ENOENT for a missing program."""
        stdin = await connection.open_stream()
        answer = await connection.call(
            "spawn",
            command=command[0],
            args=list(command[1:]),
            env=dict(env),
            cwd=cwd,
            stdinStreamId=stdin.id,
            stdout="piped",
            stderr="piped",
            user=user,
            pty=None if pty is None else {"rows": pty.rows, "cols": pty.cols},
        )
        return cls(connection, answer if isinstance(answer, dict) else {}, stdin)

    async def write_input(self, chunk: bytes) -> None:
        await self._stdin.write(chunk)

    async def end_input(self) -> None:
        await self._stdin.end()

    async def wait(self) -> ExitStatus:
        answer = await self._connection.call("processWait", pid=self.pid)
        code = answer.get("code") if isinstance(answer, dict) else None
        if not isinstance(code, int) or not 0 <= code <= 255:
            raise ProtocolViolation("the server tells an exit status out of range")
        return ExitStatus(code, answer.get("signal"))

    async def signal(self, name: str) -> None:
        await self._connection.call("processKill", pid=self.pid, signal=name)

    async def resize(self, size: PtySize) -> None:
        await self._connection.call("processResize", pid=self.pid, rows=size.rows, cols=size.cols)


def _incoming(connection: Connection, answer: Mapping[str, Any], name: str) -> Incoming | None:
    return None if answer.get(name) is None else connection.incoming(answer[name])


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What `lstat` tells. `mode` is the raw st_mode."""

    mode: int
    size: int


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One entry of a directory."""

    name: str


class RemoteTree:
    """The files of a sandbox behind a server. What a guest answers is checked for its type, and not believed."""

    def __init__(self, connection: Connection) -> None:
        self._call = connection.call
        self._connection = connection

    async def lstat(self, path: str, /) -> RemoteFacts:
        return _facts(await self._call("lstat", path=path))

    async def stat(self, path: str, /) -> RemoteFacts:
        return _facts(await self._call("stat", path=path))

    async def real_path(self, path: str, /) -> str:
        return _text(await self._call("realPath", path=path))

    async def read_link(self, path: str, /) -> str:
        return _text(await self._call("readLink", path=path))

    async def read_dir(self, path: str, /) -> list[RemoteEntry]:
        found = await self._call("readDir", path=path)
        if not isinstance(found, list):
            raise ProtocolViolation("a directory that is no list")
        return [RemoteEntry(_text(row.get("name") if isinstance(row, dict) else None)) for row in found]

    async def read(self, path: str) -> AsyncGenerator[bytes, None]:
        """A file's bytes."""
        opened = await self._call("open", path=path, options={"read": True})
        handle = opened.get("fileHandleId") if isinstance(opened, dict) else None
        try:
            while chunk := await self._read_some(handle):
                yield chunk
        finally:
            with contextlib.suppress(AtollError):
                await self._call("fileClose", fileHandleId=handle)

    async def _read_some(self, handle: Any) -> bytes:
        answer = await self._call("fileRead", fileHandleId=handle, length=READ_BYTES)
        data = answer.get("data") if isinstance(answer, dict) else None
        if data is None:
            return b""
        try:
            return binascii.a2b_base64(data)
        except (TypeError, ValueError):
            raise ProtocolViolation("the content of a file that is no base64") from None

    async def mkdir(self, path: str, /, *, recursive: bool = False) -> None:
        await self._call("mkdir", path=path, options={"recursive": recursive})

    async def symlink(self, target: str, path: str, /) -> None:
        await self._call("symlink", target=target, path=path)

    async def write_file(self, path: str, content: AsyncIterable[bytes], /, *, mode: int | None = None) -> None:
        """Returns when the guest has closed it."""
        stream = await self._connection.open_stream()
        async with _writing(self._connection, path, stream, mode):
            try:
                async for chunk in content:
                    await stream.write(chunk)
            except GuestError:
                # The server wants no more of it; its answer says why.
                return
            except BaseException:
                await stream.fail("the content ended early")
                raise
            await stream.end()


@contextlib.asynccontextmanager
async def _writing(connection: Connection, path: str, stream: Outgoing, mode: int | None) -> AsyncIterator[None]:
    """`writeFile` from its request to its answer, around what is sent meanwhile."""
    options = {} if mode is None else {"mode": mode}
    answer = await connection.ask("writeFile", path=path, contentStreamId=stream.id, options=options)
    try:
        yield
        await answer
    finally:
        answer.cancel()


def _facts(answer: Any) -> RemoteFacts:
    mode, size = (answer.get("mode"), answer.get("size")) if isinstance(answer, dict) else (None, None)
    if not isinstance(mode, int) or not isinstance(size, int):
        raise ProtocolViolation("the facts of a file are incomplete")
    return RemoteFacts(mode, size)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ProtocolViolation("a name that is no text")
    return value
