"""Operations on paths."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from atoll.api.methods.times import file_info, nanoseconds
from atoll.api.params import Method, Params
from atoll.api.peer import Peer

Mode = Annotated[int, Field(ge=0, le=0o7777777)]
# -1 would mean "leave it" to chown(2); null says that here.
UserId = Annotated[int, Field(ge=0, lt=2**32 - 1)]
Length = Annotated[int, Field(ge=0, lt=2**63)]


class PathParams(Params):
    """Of a method about one path."""

    path: str


class _RemoveOptions(Params):
    recursive: bool | None = None


class _RemoveParams(PathParams):
    options: _RemoveOptions | None = None


class _MkdirOptions(_RemoveOptions):
    mode: Mode | None = None


class _MkdirParams(PathParams):
    options: _MkdirOptions | None = None


class _RenameParams(Params):
    old_path: str
    new_path: str


class _CopyParams(Params):
    from_path: str
    to_path: str


class _LinkParams(PathParams):
    target: str


class _ChmodParams(PathParams):
    mode: Mode


class _ChownParams(PathParams):
    uid: UserId | None = None
    gid: UserId | None = None


class _TruncateParams(Params):
    name: str
    length: Length | None = None


class _UmaskParams(Params):
    mask: Mode | None = None


class _UtimeParams(PathParams):
    atime: str | float
    mtime: str | float


class _TempOptions(Params):
    dir: str | None = None
    prefix: str | None = None
    suffix: str | None = None


class _TempParams(Params):
    options: _TempOptions | None = None


async def read_dir(peer: Peer, params: PathParams) -> list[dict[str, Any]]:
    async with peer.sandbox.files() as files:
        return [
            {
                "name": entry.name,
                "isFile": entry.is_file,
                "isDirectory": entry.is_directory,
                "isSymlink": entry.is_symlink,
            }
            for entry in await files.read_dir(params.path)
        ]


async def remove(peer: Peer, params: _RemoveParams) -> None:
    options = params.options or _RemoveOptions()
    async with peer.sandbox.files() as files:
        await files.remove(params.path, recursive=bool(options.recursive))


async def mkdir(peer: Peer, params: _MkdirParams) -> None:
    options = params.options or _MkdirOptions()
    async with peer.sandbox.files() as files:
        await files.mkdir(params.path, recursive=bool(options.recursive), mode=options.mode)


async def rename(peer: Peer, params: _RenameParams) -> None:
    async with peer.sandbox.files() as files:
        await files.rename(params.old_path, params.new_path)


async def copy_file(peer: Peer, params: _CopyParams) -> None:
    async with peer.sandbox.files() as files:
        await files.copy_file(params.from_path, params.to_path)


async def link(peer: Peer, params: _LinkParams) -> None:
    async with peer.sandbox.files() as files:
        await files.link(params.target, params.path)


async def symlink(peer: Peer, params: _LinkParams) -> None:
    async with peer.sandbox.files() as files:
        await files.symlink(params.target, params.path)


async def read_link(peer: Peer, params: PathParams) -> str:
    async with peer.sandbox.files() as files:
        return await files.read_link(params.path)


async def real_path(peer: Peer, params: PathParams) -> str:
    async with peer.sandbox.files() as files:
        return await files.real_path(params.path)


async def stat(peer: Peer, params: PathParams) -> dict[str, Any]:
    async with peer.sandbox.files() as files:
        return file_info(await files.stat(params.path))


async def lstat(peer: Peer, params: PathParams) -> dict[str, Any]:
    async with peer.sandbox.files() as files:
        return file_info(await files.lstat(params.path))


async def chmod(peer: Peer, params: _ChmodParams) -> None:
    async with peer.sandbox.files() as files:
        await files.chmod(params.path, params.mode)


async def chown(peer: Peer, params: _ChownParams) -> None:
    async with peer.sandbox.files() as files:
        await files.chown(params.path, params.uid, params.gid)


async def truncate(peer: Peer, params: _TruncateParams) -> None:
    async with peer.sandbox.files() as files:
        await files.truncate(params.name, params.length or 0)


async def umask(peer: Peer, params: _UmaskParams) -> int:
    """The mask before the call."""
    async with peer.sandbox.files() as files:
        return await files.umask(params.mask)


async def utime(peer: Peer, params: _UtimeParams) -> None:
    times = nanoseconds("atime", params.atime), nanoseconds("mtime", params.mtime)
    async with peer.sandbox.files() as files:
        await files.utime(params.path, *times)


async def make_temp_dir(peer: Peer, params: _TempParams) -> str:
    async with peer.sandbox.files() as files:
        return await files.make_temp_dir(**_temp_options(params))


async def make_temp_file(peer: Peer, params: _TempParams) -> str:
    async with peer.sandbox.files() as files:
        return await files.make_temp_file(**_temp_options(params))


def _temp_options(params: _TempParams) -> dict[str, Any]:
    options = params.options or _TempOptions()
    return {"parent": options.dir, "prefix": options.prefix or "", "suffix": options.suffix or ""}


METHODS = {
    "readDir": Method(PathParams, read_dir),
    "remove": Method(_RemoveParams, remove),
    "mkdir": Method(_MkdirParams, mkdir),
    "rename": Method(_RenameParams, rename),
    "copyFile": Method(_CopyParams, copy_file),
    "link": Method(_LinkParams, link),
    "symlink": Method(_LinkParams, symlink),
    "readLink": Method(PathParams, read_link),
    "realPath": Method(PathParams, real_path),
    "stat": Method(PathParams, stat),
    "lstat": Method(PathParams, lstat),
    "chmod": Method(_ChmodParams, chmod),
    "chown": Method(_ChownParams, chown),
    "truncate": Method(_TruncateParams, truncate),
    "umask": Method(_UmaskParams, umask),
    "utime": Method(_UtimeParams, utime),
    "makeTempDir": Method(_TempParams, make_temp_dir),
    "makeTempFile": Method(_TempParams, make_temp_file),
}
