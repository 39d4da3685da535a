"""walk and expandGlob: a stream of entries for JavaScript, one array for Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, Any

from pydantic import Field, model_validator

from atoll.api import json_text
from atoll.api.errors import error_object
from atoll.api.outbound import Outbound
from atoll.api.params import Method, Params
from atoll.api.peer import Peer
from atoll.engine.files import DirEntry
from atoll.model.errors import AtollError, TooLarge

# A listing that is complete within this time and size is sent at once.
SHORT_S = 0.05
SHORT_BYTES = 12 * 1024
# How far the listing may be ahead of the socket.
AHEAD_ENTRIES = 256


class _Pattern(Params):
    """A regular expression of JavaScript."""

    source: str
    flags: str = ""


class _Nested(Params):
    """Options stand beside the path (JavaScript) or in `options` (Python)."""

    @model_validator(mode="before")
    @classmethod
    def flatten(cls, given: Any) -> Any:
        options = given.get("options") if isinstance(given, dict) else None
        return {**options, **given} if isinstance(options, dict) else given


class _WalkParams(_Nested):
    path: str
    max_depth: Annotated[float, Field(allow_inf_nan=False)] | None = None
    include_files: bool | None = None
    include_dirs: bool | None = None
    include_symlinks: bool | None = None
    follow_symlinks: bool | None = None
    canonicalize: bool | None = None
    exts: list[str] | None = None
    match: list[_Pattern] | None = None
    skip: list[_Pattern] | None = None


class _GlobParams(_Nested):
    glob: str
    root: str | None = None
    exclude: list[str] | None = None
    include_dirs: bool | None = None
    follow_symlinks: bool | None = None
    canonicalize: bool | None = None
    extended: bool | None = None
    globstar: bool | None = None
    case_insensitive: bool | None = None


async def walk(peer: Peer, params: _WalkParams) -> Any:
    options = {name: value for name, value in params if name != "path" and value is not None}
    for name in ("match", "skip"):
        if name in options:
            options[name] = [(pattern.source, pattern.flags) for pattern in options[name]]
    async with peer.sandbox.files() as files:
        return await _Listing(peer, files.walk(params.path, **options)).answer(_entry)


async def expand_glob(peer: Peer, params: _GlobParams) -> Any:
    options = {name: value for name, value in params if name != "glob" and value is not None}
    async with peer.sandbox.files() as files:
        return await _Listing(peer, files.expand_glob(params.glob, **options)).answer(lambda entry: entry.path)


class _Listing:
    """Entries on their way to a client."""

    def __init__(self, peer: Peer, entries: AsyncIterator[DirEntry]) -> None:
        self._peer = peer
        self._entries = entries
        self._queue: asyncio.Queue[bytes | AtollError | None] = asyncio.Queue(AHEAD_ENTRIES)
        self._short: list[bytes] = []

    async def answer(self, form: Callable[[DirEntry], Any]) -> Any:
        """An array of `form`, or a stream; an error of the first entry is the request's own."""
        if self._peer.quirks.listings_as_arrays:
            return await self._array(form)
        try:
            first = await anext(self._entries, None)
        except BaseException:
            await self._close()
            raise
        stream = self._peer.outbound.open()
        task = self._peer.start_task(self._send(stream, first), lambda: self._peer.outbound.close(stream))
        stream.on_cancel = task.cancel
        return {"streamId": stream.id}

    async def _array(self, form: Callable[[DirEntry], Any]) -> list[Any]:
        """Bounded while it grows: a walk of / must not fill the server's memory before it is refused."""
        found: list[Any] = []
        size = 0
        try:
            async for entry in self._entries:
                found.append(form(entry))
                size += len(entry.path) + 4
                if size > self._peer.quirks.max_message_bytes:
                    raise TooLarge(
                        "the listing is too large for one message; ask for less at once (maxDepth, a subdirectory)"
                    )
        finally:
            await self._close()
        return found

    async def _send(self, stream: Outbound, first: DirEntry | None) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gather(first))
                await stream.settle()
                if not await self._send_whole(stream):
                    await self._send_rest(stream)
        finally:
            self._peer.outbound.close(stream)
            await self._close()

    async def _gather(self, first: DirEntry | None) -> None:
        """Entries, then how they ended: None, or an error."""
        error = None
        try:
            if first is not None:
                await self._queue.put(json_text.encode(_entry(first)))
            with self._peer.sandbox.asking():
                async for entry in self._entries:
                    await self._queue.put(json_text.encode(_entry(entry)))
        except AtollError as failure:
            error = failure
        await self._queue.put(error)

    async def _send_whole(self, stream: Outbound) -> bool:
        """A short listing at once, or False: what has come is kept for the stream then."""
        try:
            async with asyncio.timeout(SHORT_S):
                while isinstance(item := await self._queue.get(), bytes):
                    self._short.append(item)
                    if sum(map(len, self._short)) > SHORT_BYTES:
                        return False
        except TimeoutError:
            return False
        if item is not None:
            self._queue.put_nowait(item)
            return False
        await stream.write_whole(self._short)
        return True

    async def _send_rest(self, stream: Outbound) -> None:
        await stream.start()
        for piece in self._short:
            await stream.write(piece)
        while isinstance(item := await self._queue.get(), bytes):
            await stream.write(item)
        if item is None:
            await stream.end()
        else:
            await stream.fail(error_object(item))

    async def _close(self) -> None:
        if isinstance(self._entries, AsyncGenerator):
            await self._entries.aclose()


def _entry(entry: DirEntry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "name": entry.name,
        "isFile": entry.is_file,
        "isDirectory": entry.is_directory,
        "isSymlink": entry.is_symlink,
    }


METHODS = {"walk": Method(_WalkParams, walk), "expandGlob": Method(_GlobParams, expand_glob)}
