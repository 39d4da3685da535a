"""Open files, by handle."""

from __future__ import annotations

import binascii
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.api.methods.contents import from_base64
from atoll.api.methods.paths import Length, Mode, PathParams
from atoll.api.methods.times import file_info, nanoseconds
from atoll.api.params import Method, Params
from atoll.api.peer import Peer
from atoll.model.errors import InvalidSpec


class _OpenOptions(Params):
    read: bool | None = None
    write: bool | None = None
    append: bool | None = None
    truncate: bool | None = None
    create: bool | None = None
    create_new: bool | None = None
    mode: Mode | None = None


class _OpenParams(PathParams):
    options: _OpenOptions | None = None


class _HandleParams(Params):
    file_handle_id: int


class _ReadParams(_HandleParams):
    length: Length


class _WriteParams(_HandleParams):
    data: str


class _SeekParams(_HandleParams):
    offset: int | Annotated[str, Field(pattern=r"^-?\d{1,19}$")]
    whence: Literal[0, 1, 2]


class _TruncateParams(_HandleParams):
    """JavaScript says `len`, Python `size`."""

    len: Length | None = None
    size: Length | None = None


class _UtimeParams(_HandleParams):
    """JavaScript sends ISO dates, Python seconds."""

    atime: str | float
    mtime: str | float


class _LockParams(_HandleParams):
    exclusive: bool | None = None


async def open_(peer: Peer, params: _OpenParams) -> dict[str, int]:
    options = params.options or _OpenOptions(read=True)
    given = {name: value for name, value in options if value is not None}
    # Deno's `open` reads unless something else is asked for.
    given.setdefault("read", not given)
    async with peer.sandbox.files() as files:
        return {"fileHandleId": await files.open(params.path, **given)}


async def create(peer: Peer, params: PathParams) -> dict[str, int]:
    async with peer.sandbox.files() as files:
        return {"fileHandleId": await files.open(params.path, read=True, write=True, truncate=True, create=True)}


async def read(peer: Peer, params: _ReadParams) -> dict[str, str | None]:
    async with peer.sandbox.files() as files:
        data = await files.file_read(params.file_handle_id, params.length)
    if not data and params.length:
        return {"data": peer.quirks.end_of_file}
    return {"data": binascii.b2a_base64(data, newline=False).decode("ascii")}


async def write(peer: Peer, params: _WriteParams) -> dict[str, int]:
    data = from_base64("data", params.data)
    async with peer.sandbox.files() as files:
        return {"bytesWritten": await files.file_write(params.file_handle_id, data)}


async def seek(peer: Peer, params: _SeekParams) -> dict[str, int]:
    # JavaScript sends a bigint as decimal text.
    offset = int(params.offset)
    if not -(2**63) <= offset < 2**63:
        raise InvalidSpec("offset", "does not fit in 64 bits")
    async with peer.sandbox.files() as files:
        return {"position": await files.file_seek(params.file_handle_id, offset, params.whence)}


async def stat(peer: Peer, params: _HandleParams) -> dict[str, Any]:
    async with peer.sandbox.files() as files:
        return file_info(await files.file_stat(params.file_handle_id))


async def truncate(peer: Peer, params: _TruncateParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_truncate(params.file_handle_id, params.len or params.size or 0)


async def utime(peer: Peer, params: _UtimeParams) -> None:
    times = nanoseconds("atime", params.atime), nanoseconds("mtime", params.mtime)
    async with peer.sandbox.files() as files:
        await files.file_utime(params.file_handle_id, *times)


async def lock(peer: Peer, params: _LockParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_lock(params.file_handle_id, exclusive=bool(params.exclusive))


async def unlock(peer: Peer, params: _HandleParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_unlock(params.file_handle_id)


async def sync(peer: Peer, params: _HandleParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_sync(params.file_handle_id)


async def sync_data(peer: Peer, params: _HandleParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_sync(params.file_handle_id, data_only=True)


async def close(peer: Peer, params: _HandleParams) -> None:
    async with peer.sandbox.files() as files:
        await files.file_close(params.file_handle_id)


METHODS = {
    "open": Method(_OpenParams, open_),
    "create": Method(PathParams, create),
    "fileRead": Method(_ReadParams, read),
    "fileWrite": Method(_WriteParams, write),
    "fileSeek": Method(_SeekParams, seek),
    "fileStat": Method(_HandleParams, stat),
    "fileTruncate": Method(_TruncateParams, truncate),
    "fileUtime": Method(_UtimeParams, utime),
    "fileLock": Method(_LockParams, lock),
    "fileUnlock": Method(_HandleParams, unlock),
    "fileSync": Method(_HandleParams, sync),
    "fileSyncData": Method(_HandleParams, sync_data),
    "fileClose": Method(_HandleParams, close),
}
