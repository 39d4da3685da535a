"""A client of `atoll serve` for the command line: where it is, its REST calls, and connections to its sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from atoll import __version__
from atoll.cli.rpc import Connection, Refused, Unreachable
from atoll.model.errors import (
    AtollError,
    HostError,
    InvalidSpec,
    SandboxNotFound,
    SandboxStopped,
    Unauthorized,
)
from atoll.model.ids import is_sandbox_id

DEFAULT_URL = "http://127.0.0.1:8700"
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_MESSAGE_BYTES = 100 * 1024 * 1024
ANSWER_S = 60.0
# A server that vanished without a word is found out by the kernel.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_TOKEN_REMEDY = "give one by --token or ATOLL_TOKEN; on the server's host, `atoll token create NAME` makes one"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, without a slash at the end, and the token for it."""

    url: str
    token: str

    @classmethod
    def find(cls, url: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> Address:
        """By option, by our variables, by the official clients' ones. InvalidSpec or Unauthorized without."""
        url = url or environ.get("ATOLL_URL") or environ.get("DENO_SANDBOX_ENDPOINT") or DEFAULT_URL
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidSpec("url", f'{url[:200]!r} is not the address of a server, as "{DEFAULT_URL}"')
        token = token or environ.get("ATOLL_TOKEN") or environ.get("DENO_DEPLOY_TOKEN")
        if not token:
            raise Unauthorized(f"{url} needs a token; {_TOKEN_REMEDY}")
        if not (token.isascii() and token.isprintable()):
            raise InvalidSpec("token", "has characters that no token has")
        return cls(url.rstrip("/"), token)


class Server:
    """One server's REST calls, and connections to its sandboxes. An async context manager."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._address.token}", "User-Agent": f"atoll/{__version__}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()

    async def sandboxes(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """All that the server knows with these labels, newest first."""
        found = await self._ask("GET", "/api/v2/sandboxes", {f"labels[{key}]": text for key, text in labels.items()})
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise self._strange("its list of sandboxes is none")
        return found

    async def kill(self, sandbox_id: str) -> None:
        """End it; one that has ended already is no error."""
        await self._ask("DELETE", f"/api/v3/sandbox/{_checked(sandbox_id)}")

    async def extend(self, sandbox_id: str, stop_at_ms: int) -> int:
        """Move its end; when it will be, in ms since the epoch."""
        path = f"/api/v3/sandbox/{_checked(sandbox_id)}"
        answer = await self._ask("PATCH", path, body={"stop_at_ms": stop_at_ms})
        granted = answer.get("stop_at_ms") if isinstance(answer, dict) else None
        if not isinstance(granted, int | float):
            raise self._strange("it does not say when the sandbox ends")
        return int(granted)

    @contextlib.asynccontextmanager
    async def connect(self, sandbox_id: str) -> AsyncIterator[Connection]:
        """A conversation with one sandbox that runs."""
        url = f"{self._address.url}/api/v3/sandbox/{_checked(sandbox_id)}/connect"
        with self._reaching():
            try:
                async with asyncio.timeout(ANSWER_S):
                    web_socket = await self._http.ws_connect(url, max_msg_size=MAX_MESSAGE_BYTES)
            except aiohttp.WSServerHandshakeError as error:
                raise self._rejected(error.status, sandbox_id) from None
        _keep_alive(web_socket)
        async with Connection(web_socket, sandbox_id) as connection:
            yield connection

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        with self._reaching():
            async with self._http.request(
                method, self._address.url + path, params=query, data=data, headers=headers, allow_redirects=False
            ) as response:
                return self._value(response.status, await _read_bounded(response))

    def _value(self, status: int, text: bytes) -> Any:
        if not text and 200 <= status < 300:
            return None
        try:
            value = orjson.loads(text)
        except ValueError:
            raise self._strange(f"it answers with HTTP status {status} and no JSON") from None
        if 200 <= status < 300:
            return value
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            raise Refused(str(value.get("code")), value["message"][:2000])
        raise self._strange(f"it answers with HTTP status {status}")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what can go wrong on the way into an error that names the address."""
        try:
            yield
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            remedy = "start one with `atoll serve`, or name another by --url or ATOLL_URL"
            raise Unreachable(f"no server answers at {self._address.url} ({_reason(error)}); {remedy}") from None

    def _strange(self, what: str) -> HostError:
        return HostError(f"what answers at {self._address.url} is no atoll server: {what}")

    def _rejected(self, status: int, sandbox_id: str) -> AtollError:
        """An upgrade's refusal comes without its body."""
        if status == 401:
            return Unauthorized(f"{self._address.url} does not know this token; {_TOKEN_REMEDY}")
        if status == 404:
            return SandboxNotFound(sandbox_id)
        if status == 410:
            return SandboxStopped(sandbox_id, "`atoll ps --all` shows since when")
        return self._strange(f"it refuses a connection with HTTP status {status}")


def _checked(sandbox_id: str) -> str:
    """What is no id is not put into a URL."""
    if not is_sandbox_id(sandbox_id):
        raise SandboxNotFound(sandbox_id[:80])
    return sandbox_id


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HostError(f"{response.url.origin()} answers with more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {ANSWER_S:g} s"
    os_error = getattr(error, "os_error", error)
    return getattr(os_error, "strerror", None) or str(error) or type(error).__name__


def _keep_alive(web_socket: aiohttp.ClientWebSocketResponse) -> None:
    sock = web_socket.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
