"""HTTP requests made inside the sandbox, by a program of the agent's (`atoll.guest.fetch`).

So they use the sandbox's network and its rules. The guest is hostile: what its program answers is
bounded and checked here, as if the remote server had been asked directly.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from atoll.engine.guest_programs import GuestPrograms
from atoll.engine.process import Process
from atoll.model.errors import GuestError, InvalidSpec, LinkLost, ProcessNotFound
from atoll.vmm.link import ByteSink, ByteSource

MAX_HEAD_BYTES = 256 * 1024
MAX_HEADERS = 500
MAX_REASON_CHARS = 512
MAX_URL_CHARS = 64 * 1024
MAX_ERROR_CHARS = 2000
# RFC 9110 15.3.5, 15.3.6, 15.4.5: these have no content, and a web `Response` refuses one.
NO_BODY = frozenset({204, 205, 304})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_VALUE = re.compile(r"[^\x00\r\n]{0,65536}\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")

Headers = list[tuple[str, str]]


class FetchBody:
    """The decoded body of a response, as a stream. `cancel` it when it is not read to its end."""

    def __init__(self, process: Process, source: ByteSource, first: bytes) -> None:
        self._process = process
        self._source = source
        self._first = first

    async def read(self) -> bytes:
        """The next bytes, or b"" at the end. GuestError EIO when the body is cut short."""
        if self._first:
            chunk, self._first = self._first, b""
            return chunk
        if chunk := await self._source.read():
            return chunk
        if not (await self._process.wait()).success:
            raise GuestError("EIO", "the response ended before its body was complete")
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    def cancel(self) -> None:
        """Give the rest up: the guest's program ends at its next write. Safe at any time."""
        self._first = b""
        self._source.cancel()


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """A response's head; `body` is None where HTTP has none. Header names are in lower case."""

    status: int
    text: str
    headers: Headers
    body: FetchBody | None


async def fetch(
    sandbox: GuestPrograms,
    url: str,
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    redirect: str = "follow",
    body: AsyncIterable[bytes] | None = None,
    pid: int | None = None,
) -> FetchResponse:
    """Make one request; with `pid` to the port that this process listens on, whatever host the URL names.

    GuestError when there is no response, ECONNREFUSED when `pid` does not listen.
    """
    _check_request(url, method, headers, redirect)
    port = None if pid is None else await _port_of(sandbox, pid)
    process = await sandbox.run_helper("fetch", {})
    request = {"url": url, "method": method, "headers": [*map(list, headers)], "redirect": redirect, "port": port}
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stderr.cancel()
    try:
        with sandbox.asking():
            await _send(process.stdin, request, body)
            head, rest = await _read_head(process.stdout)
        return _response(process, method, head, rest)
    except BaseException:
        await _abandon(process)
        raise


def _check_request(url: str, method: str, headers: Sequence[tuple[str, str]], redirect: str) -> None:
    if len(url) > MAX_URL_CHARS or not url.lower().startswith(("http://", "https://")):
        raise InvalidSpec("url", f"{url[:200]!r} is no http or https URL of at most {MAX_URL_CHARS} characters")
    if not _TOKEN.match(method):
        raise InvalidSpec("method", f"{method[:40]!r} is not the name of a method")
    if redirect not in ("follow", "manual"):
        raise InvalidSpec("redirect", f'{redirect[:40]!r} is not "follow" or "manual"')
    if len(headers) > MAX_HEADERS:
        raise InvalidSpec("headers", f"{len(headers)} headers, over the limit of {MAX_HEADERS}")
    for name, value in headers:
        if not _TOKEN.match(name) or not _VALUE.match(value):
            raise InvalidSpec("headers", f"{name[:80]!r} or its value cannot stand in a header")


async def _port_of(sandbox: GuestPrograms, pid: int) -> int:
    sandbox.process(pid)
    try:
        ports = await sandbox.listening_ports(pid)
    except GuestError as error:
        if error.errno_name == "ESRCH":
            raise ProcessNotFound(pid) from None
        raise
    if not ports:
        raise GuestError("ECONNREFUSED", f"process {pid} listens on no TCP port")
    return ports[0]


async def _send(sink: ByteSink, request: dict[str, Any], body: AsyncIterable[bytes] | None) -> None:
    """The request whole; the program asks the server when it has all of it."""
    try:
        await sink.write(orjson.dumps(request) + b"\n")
        if body is not None:
            async for chunk in body:
                await sink.write(chunk)
    except GuestError as error:
        if error.errno_name != "EPIPE":
            raise
        # The program has ended; what it answered says why.
    sink.close()


async def _read_head(source: ByteSource) -> tuple[dict[str, Any], bytes]:
    """The answer's line of JSON, and what came behind it."""
    received = b""
    while b"\n" not in received:
        chunk = await source.read()
        received += chunk
        if not chunk or len(received) > MAX_HEAD_BYTES:
            raise GuestError("EPROTO", "there was no answer" if not chunk else "the response's head is too large")
    line, _, rest = received.partition(b"\n")
    try:
        head = orjson.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise GuestError("EPROTO", "the answer cannot be read")
    return head, rest


def _response(process: Process, method: str, head: dict[str, Any], rest: bytes) -> FetchResponse:
    if "error" in head:
        raise GuestError(_errno_of(head), _printable(head["error"], MAX_ERROR_CHARS))
    status, reason = head.get("status"), head.get("text")
    # What a web `Response` takes; a server may send anything.
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise GuestError("EPROTO", f"the response has the status {str(status)[:20]}, which is not from 200 to 599")
    headers = _headers(head.get("headers"))
    assert process.stdout is not None
    body = FetchBody(process, process.stdout, rest)
    if method == "HEAD" or status in NO_BODY:
        body.cancel()
        return FetchResponse(status, _printable(reason, MAX_REASON_CHARS), headers, None)
    return FetchResponse(status, _printable(reason, MAX_REASON_CHARS), headers, body)


def _errno_of(head: dict[str, Any]) -> str:
    name = head.get("errno")
    return name if isinstance(name, str) and re.fullmatch(r"E[A-Z0-9]{1,20}", name) else "EIO"


def _headers(answer: Any) -> Headers:
    if not isinstance(answer, list) or len(answer) > MAX_HEADERS:
        raise GuestError("EPROTO", f"the response has no headers, or over {MAX_HEADERS}")
    headers: Headers = []
    for pair in answer:
        match pair:
            case [str(name), str(value)] if _TOKEN.match(name) and _VALUE.match(value):
                headers.append((name.lower(), value))
            case _:
                raise GuestError("EPROTO", "the response has a header that HTTP does not allow")
    return headers


def _printable(text: Any, limit: int) -> str:
    return _UNPRINTABLE.sub(" ", text[:limit]) if isinstance(text, str) else ""


async def _abandon(process: Process) -> None:
    """Kill the program before its streams are closed: it must not take a part of a body for the whole."""
    with suppress(ProcessNotFound, GuestError, LinkLost):
        await process.signal("SIGKILL")
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None:
        process.stdout.cancel()
