"""A sandbox's files, through its agent: every operation runs in the guest as the user `app`.

Relative paths are relative to `/home/app`. GuestError carries the guest's errno. What the
guest answers is checked here, so that callers get the types that are promised.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any

from atoll.model.errors import GuestError, InvalidSpec, ProtocolViolation, TooLarge
from atoll.vmm.link import ByteSource, GuestLink

MAX_READ_BYTES = 512 * 1024
MAX_WRITE_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 64 * 1024

_STAT_FIELDS = (
    *("mode", "size", "dev", "ino", "nlink", "uid", "gid", "rdev", "blksize", "blocks"),
    *("mtime_ns", "atime_ns", "ctime_ns"),
)


@dataclass(frozen=True, slots=True)
class FileStat:
    """`struct stat`; times in nanoseconds since the epoch."""

    mode: int
    size: int
    dev: int
    ino: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    blocks: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class DirEntry:
    """One entry of a listing or a walk; a symbolic link is not followed."""

    path: str
    name: str
    is_file: bool
    is_directory: bool
    is_symlink: bool


class Files:
    """File operations of one sandbox."""

    def __init__(self, link: GuestLink) -> None:
        self._link = link

    # -- whole files

    async def open_read(self, path: str) -> ByteSource:
        """A file's bytes as a stream."""
        source, _ = await self._open_read(path)
        return source

    async def read_file(self, path: str, *, limit: int = 256 * 1024 * 1024) -> bytes:
        """A file's bytes. TooLarge above `limit` bytes."""
        source, _ = await self._open_read(path)
        data = await source.read_all(limit)
        if data is None:
            raise TooLarge(f"{path!r} is larger than {limit} bytes; read it in parts with open and read")
        return data

    async def _open_read(self, path: str) -> tuple[ByteSource, int]:
        source = self._link.open_source()
        answer = await self._opening(source, "read_file", {"path": _path(path), "stream": source.stream})
        return source, _integer(answer, "size")

    async def write_file(
        self,
        path: str,
        content: bytes | AsyncIterable[bytes],
        *,
        append: bool = False,
        create: bool = True,
        create_new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Write a whole file in place; returns when the guest has closed it."""
        sink = self._link.open_sink()
        options = {"append": append, "create": create, "create_new": create_new, "mode": mode}
        done = self._link.send_request("write_file", {"path": _path(path), "stream": sink.stream, **options})
        try:
            if isinstance(content, bytes | bytearray | memoryview):
                await sink.write(content)
            else:
                async for chunk in content:
                    await sink.write(chunk)
        except GuestError:
            # The guest closed its end; its answer to the request says why.
            await done
            raise
        except BaseException:
            sink.fail("ECANCELED", "the content ended early")
            done.cancel()
            raise
        sink.close()
        await done

    # -- listings

    async def read_dir(self, path: str) -> list[DirEntry]:
        """The entries of a directory, in the file system's order."""
        return [entry async for entry in self.entries("read_dir", {"path": _path(path)})]

    async def walk(self, path: str, **options: Any) -> AsyncIterator[DirEntry]:
        """Everything below `path`; options as Deno's walk, `match` and `skip` as lists of (source, flags)."""
        async for entry in self.entries("walk", {"path": _path(path), **options}):
            yield entry

    async def expand_glob(self, glob: str, **options: Any) -> AsyncIterator[DirEntry]:
        """What matches `glob`, sorted by path; options as Deno's expandGlob: root, exclude, include_dirs, …."""
        async for entry in self.entries("expand_glob", {"glob": _path(glob), **options}):
            yield entry

    async def entries(self, method: str, params: dict[str, Any]) -> AsyncIterator[DirEntry]:
        source = self._link.open_source()
        await self._opening(source, method, {**params, "stream": source.stream})
        rest = b""
        try:
            while chunk := await source.read():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    raise ProtocolViolation("a directory entry without an end")
                for line in lines:
                    yield _entry(line)
        finally:
            source.cancel()

    async def _opening(self, source: ByteSource, method: str, params: dict[str, Any]) -> Any:
        try:
            return await self._link.request(method, params)
        except GuestError:
            self._link.forget(source)
            raise
        except BaseException:
            source.cancel()
            raise

    # -- paths

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        await self._do("remove", path=_path(path), recursive=recursive)

    async def mkdir(self, path: str, *, recursive: bool = False, mode: int | None = None) -> None:
        await self._do("mkdir", path=_path(path), recursive=recursive, mode=mode)

    async def rename(self, old: str, new: str) -> None:
        await self._do("rename", old=_path(old), new=_path(new))

    async def copy_file(self, source: str, target: str) -> None:
        await self._do("copy_file", source=_path(source), path=_path(target))

    async def link(self, existing: str, new: str) -> None:
        await self._do("link", source=_path(existing), path=_path(new))

    async def symlink(self, target: str, path: str) -> None:
        await self._do("symlink", text=_path(target), path=_path(path))

    async def read_link(self, path: str) -> str:
        return _text(await self._do("read_link", path=_path(path)))

    async def real_path(self, path: str) -> str:
        return _text(await self._do("real_path", path=_path(path)))

    async def stat(self, path: str) -> FileStat:
        return _stat(await self._do("stat", path=_path(path)))

    async def lstat(self, path: str) -> FileStat:
        return _stat(await self._do("lstat", path=_path(path)))

    async def chmod(self, path: str, mode: int) -> None:
        await self._do("chmod", path=_path(path), mode=mode)

    async def chown(self, path: str, uid: int | None, gid: int | None) -> None:
        await self._do("chown", path=_path(path), uid=uid, gid=gid)

    async def truncate(self, path: str, length: int = 0) -> None:
        await self._do("truncate", path=_path(path), length=length)

    async def umask(self, mask: int | None = None) -> int:
        """Set the sandbox's umask, or only ask for it; the one before either way."""
        return _integer({"mask": await self._do("umask", mask=mask)}, "mask")

    async def utime(self, path: str, atime_ns: int, mtime_ns: int) -> None:
        await self._do("utime", path=_path(path), atime_ns=atime_ns, mtime_ns=mtime_ns)

    async def make_temp_dir(self, *, parent: str | None = None, prefix: str = "", suffix: str = "") -> str:
        return _text(await self._do("make_temp_dir", dir=parent, prefix=_path(prefix), suffix=_path(suffix)))

    async def make_temp_file(self, *, parent: str | None = None, prefix: str = "", suffix: str = "") -> str:
        return _text(await self._do("make_temp_file", dir=parent, prefix=_path(prefix), suffix=_path(suffix)))

    # -- open files

    async def open(
        self,
        path: str,
        *,
        read: bool = True,
        write: bool = False,
        append: bool = False,
        truncate: bool = False,
        create: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> int:
        """A handle for the `file_…` methods; close it."""
        options = {"read": read, "write": write, "append": append, "truncate": truncate}
        made = {"create": create, "create_new": create_new, "mode": mode}
        return _integer({"handle": await self._do("open", path=_path(path), **options, **made)}, "handle")

    async def file_read(self, handle: int, length: int) -> bytes:
        """At most `length` bytes, perhaps fewer (512 KiB at once); b"" at the end."""
        params = {"handle": handle, "length": min(length, MAX_READ_BYTES)}
        _, blob = await self._link.request_with_blob("file_read", params)
        if len(blob) > params["length"]:
            raise ProtocolViolation("more bytes read than were asked for")
        return blob

    async def file_write(self, handle: int, data: bytes) -> int:
        """How many bytes were written, perhaps fewer than given (1 MiB at once)."""
        answer, _ = await self._link.request_with_blob("file_write", {"handle": handle}, data[:MAX_WRITE_BYTES])
        return _integer({"written": answer}, "written")

    async def file_seek(self, handle: int, offset: int, whence: int) -> int:
        return _integer({"at": await self._do("file_seek", handle=handle, offset=offset, whence=whence)}, "at")

    async def file_stat(self, handle: int) -> FileStat:
        return _stat(await self._do("file_stat", handle=handle))

    async def file_truncate(self, handle: int, length: int = 0) -> None:
        await self._do("file_truncate", handle=handle, length=length)

    async def file_utime(self, handle: int, atime_ns: int, mtime_ns: int) -> None:
        await self._do("file_utime", handle=handle, atime_ns=atime_ns, mtime_ns=mtime_ns)

    async def file_sync(self, handle: int, *, data_only: bool = False) -> None:
        await self._do("file_sync", handle=handle, data_only=data_only)

    async def file_lock(self, handle: int, *, exclusive: bool = False) -> None:
        """Wait for the lock; a thread of the agent waits with it."""
        await self._do("file_lock", handle=handle, exclusive=exclusive)

    async def file_unlock(self, handle: int) -> None:
        await self._do("file_unlock", handle=handle)

    async def file_close(self, handle: int) -> None:
        await self._do("file_close", handle=handle)

    async def _do(self, method: str, **params: Any) -> Any:
        return await self._link.request(method, params)


def _path(text: str) -> str:
    if "\x00" in text:
        raise InvalidSpec("path", f"{text[:200]!r} contains a NUL byte")
    return text


def _integer(answer: Any, key: str) -> int:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, int):
        raise ProtocolViolation(f"an answer without the number {key}")
    return value


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise ProtocolViolation("an answer that is not text")
    return answer


def _stat(answer: Any) -> FileStat:
    if not isinstance(answer, dict):
        raise ProtocolViolation("file information that is not an object")
    return FileStat(*(_integer(answer, key) for key in _STAT_FIELDS))


def _entry(line: bytes) -> DirEntry:
    try:
        path, name, *flags = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        raise ProtocolViolation("a directory entry that cannot be read") from None
    if not isinstance(path, str) or not isinstance(name, str) or len(flags) != 3:
        raise ProtocolViolation("a directory entry that cannot be read")
    return DirEntry(path, name, *(flag is True for flag in flags))
