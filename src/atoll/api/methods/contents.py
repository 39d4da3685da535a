"""Whole files: read and write."""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterable

from atoll.api.methods.paths import Mode, PathParams
from atoll.api.params import Method, Params, StreamId
from atoll.api.peer import Peer
from atoll.model.errors import InvalidSpec

# Around the content: the envelope, and some escapes.
_ENVELOPE_BYTES = 4096


class _ReadParams(PathParams):
    abort_id: int | None = None


class _WriteOptions(Params):
    append: bool | None = None
    create: bool | None = None
    create_new: bool | None = None
    mode: Mode | None = None


class _WriteParams(_ReadParams):
    content: str | None = None
    content_stream_id: StreamId | None = None
    options: _WriteOptions | None = None


async def read_file(peer: Peer, params: _ReadParams) -> str:
    limit = (peer.quirks.max_message_bytes - _ENVELOPE_BYTES) // 4 * 3
    async with peer.sandbox.files() as files:
        content = await files.read_file(params.path, limit=limit)
    return binascii.b2a_base64(content, newline=False).decode("ascii")


async def read_text_file(peer: Peer, params: _ReadParams) -> str:
    """Bytes that are not UTF-8 are replaced, as Deno does; a byte order mark is dropped, as TextDecoder does."""
    limit = peer.quirks.max_message_bytes - _ENVELOPE_BYTES
    async with peer.sandbox.files() as files:
        content = await files.read_file(params.path, limit=limit)
    return content.decode("utf-8", "replace").removeprefix("\ufeff")


async def write_file(peer: Peer, params: _WriteParams) -> None:
    if params.content is None:
        await _write_stream(peer, params)
        return
    await _write(peer, params, from_base64("content", params.content))


async def write_text_file(peer: Peer, params: _WriteParams) -> None:
    if params.content is None:
        await _write_stream(peer, params)
        return
    await _write(peer, params, params.content.encode("utf-8", "replace"))


async def _write_stream(peer: Peer, params: _WriteParams) -> None:
    if params.content_stream_id is None:
        raise InvalidSpec("content", "neither content nor contentStreamId is given")
    stream = peer.inbound.take(params.content_stream_id)
    try:
        await _write(peer, params, stream)
    finally:
        stream.discard()


async def _write(peer: Peer, params: _WriteParams, content: bytes | AsyncIterable[bytes]) -> None:
    options = params.options or _WriteOptions()
    async with peer.sandbox.files() as files:
        await files.write_file(
            params.path,
            content,
            append=bool(options.append),
            create=options.create is not False,
            create_new=bool(options.create_new),
            mode=options.mode,
        )


def from_base64(field: str, text: str) -> bytes:
    """The bytes; InvalidSpec for what is no base64."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidSpec(field, "is not base64") from None


METHODS = {
    "readFile": Method(_ReadParams, read_file),
    "readTextFile": Method(_ReadParams, read_text_file),
    "writeFile": Method(_WriteParams, write_file),
    "writeTextFile": Method(_WriteParams, write_text_file),
}
