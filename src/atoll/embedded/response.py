"""An HTTP response that was fetched from inside a sandbox."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from atoll.embedded.streams import Content, chunks_of
from atoll.engine import Sandbox as EngineSandbox
from atoll.engine.fetch import FetchResponse, fetch
from atoll.model.errors import TooLarge

MAX_BODY_BYTES = 256 * 1024 * 1024

HeaderPairs = dict[str, str] | Sequence[tuple[str, str]]


class AsyncResponse:
    """Header names are in lower case, and the body is decoded. As a context manager it gives up what was not read."""

    def __init__(self, response: FetchResponse) -> None:
        self._response = response

    @property
    def status_code(self) -> int:
        return self._response.status

    @property
    def status_text(self) -> str:
        return self._response.text

    @property
    def headers(self) -> list[tuple[str, str]]:
        """One pair per header line, so that several set-cookie stay apart."""
        return self._response.headers

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code <= 299

    @property
    def is_redirect(self) -> bool:
        return 300 <= self.status_code <= 399

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status_code <= 499

    @property
    def is_server_error(self) -> bool:
        return 500 <= self.status_code <= 599

    async def read(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The body. TooLarge over `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self:
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                await self.close()
                raise TooLarge(f"the response's body is over {limit} bytes; read it in chunks")
        return b"".join(parts)

    async def text(self) -> str:
        """The body as UTF-8."""
        return (await self.read()).decode("utf-8", "replace")

    async def json(self) -> Any:
        return json.loads(await self.read())

    async def close(self) -> None:
        """Give up the rest of the body. Safe at any time."""
        if self._response.body is not None:
            self._response.body.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in chunks, as they come."""
        if self._response.body is not None:
            async for chunk in self._response.body:
                yield chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def fetched(
    sandbox: EngineSandbox,
    url: str,
    method: str,
    headers: HeaderPairs | None,
    redirect: str | None,
    body: Content | None,
    pid: int | None = None,
) -> AsyncResponse:
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or ())
    chunks = None if body is None else chunks_of(body)
    return AsyncResponse(await fetch(sandbox, url, method, pairs, redirect or "follow", chunks, pid))
