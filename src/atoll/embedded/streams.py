"""A process's streams, as callers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import BinaryIO

from atoll.engine import Sandbox as EngineSandbox
from atoll.model.errors import InvalidSpec, LinkLost, TooLarge
from atoll.vmm.link import ByteSink, ByteSource

Content = bytes | bytearray | memoryview | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]

CHUNK_BYTES = 256 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024


class AsyncReader:
    """Bytes from the guest. Chunks are passed on as they came; nothing is copied that need not be."""

    def __init__(self, sandbox: EngineSandbox, source: ByteSource | None, name: str) -> None:
        self._sandbox = sandbox
        self._source = source
        self._name = name
        self._rest = b""
        self._at_eof = False

    def at_eof(self) -> bool:
        """Whether everything was read and the guest has closed its end."""
        return self._at_eof and not self._rest

    async def read(self, n: int = -1) -> bytes:
        """At most `n` bytes, at least one, or b"" at the end; everything up to the end when `n` is negative."""
        if n == 0:
            return b""
        if n < 0:
            return b"".join([chunk async for chunk in self])
        return self._kept(await self._next(), n)

    async def readline(self) -> bytes:
        """Up to and with the next newline, or up to the end. TooLarge for a line over 16 MiB."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self._next():
            if end := chunk.find(b"\n") + 1:
                parts.append(self._kept(chunk, end))
                break
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_LINE_BYTES:
                raise TooLarge(f"a line on {self._name} is over {MAX_LINE_BYTES} bytes long; use read")
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """`n` bytes. asyncio.IncompleteReadError, with what there was, when the stream ends before."""
        parts: list[bytes] = []
        left = n
        while left > 0:
            if not (chunk := await self._next()):
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            parts.append(self._kept(chunk, left))
            left -= len(parts[-1])
        return b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Chunks as they come."""
        while chunk := await self._next():
            yield chunk

    def _kept(self, chunk: bytes, n: int) -> bytes:
        """The first `n` bytes of `chunk`; the others are for the next read."""
        if len(chunk) <= n:
            return chunk
        self._rest = chunk[n:]
        return chunk[:n]

    async def _next(self) -> bytes:
        if self._rest:
            chunk, self._rest = self._rest, b""
            return chunk
        if self._source is None:
            raise InvalidSpec(self._name, f'cannot be read: the process was not started with {self._name}="piped"')
        try:
            chunk = await self._source.read()
        except LinkLost as lost:
            # Only now: what arrived before the sandbox ended can still be read.
            with self._sandbox.asking():
                raise lost
        self._at_eof = not chunk
        return chunk


class AsyncWriter:
    """Bytes to a process's standard input. GuestError EPIPE when the process has closed it."""

    def __init__(self, sandbox: EngineSandbox, sink: ByteSink | None) -> None:
        self._sandbox = sandbox
        self._sink = sink

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; waits while the process does not read."""
        if self._sink is None:
            raise InvalidSpec("stdin", 'cannot be written: the process was not started with stdin="piped"')
        with self._sandbox.asking():
            await self._sink.write(data)

    async def close(self) -> None:
        """Tell the process that this was all. Safe at any time."""
        if self._sink is not None:
            self._sink.close()


async def chunks_of(content: Content) -> AsyncIterator[bytes]:
    """Any content as chunks. What may block is read on another thread."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
    elif isinstance(content, AsyncIterable):
        async for chunk in content:
            yield chunk
    elif hasattr(content, "read"):
        while chunk := await asyncio.to_thread(content.read, CHUNK_BYTES):
            yield chunk
    else:
        iterator = iter(content)
        while (part := await asyncio.to_thread(next, iterator, None)) is not None:
            yield part
