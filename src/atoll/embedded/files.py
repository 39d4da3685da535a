"""Files of an embedded sandbox. Relative paths are relative to `/home/app`; GuestError has the guest's errno."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from atoll.embedded.file_facts import DirEntry, FileInfo, WalkEntry, dir_entry, file_info, nanoseconds, walk_entry
from atoll.embedded.streams import Content, chunks_of
from atoll.embedded.transfer import download, upload
from atoll.engine import Sandbox as EngineSandbox

Time = datetime | float
Regex = re.Pattern[str] | str


class AsyncFile:
    """An open file. Close it, or use it as a context manager."""

    def __init__(self, sandbox: EngineSandbox, handle: int) -> None:
        self._sandbox = sandbox
        self._handle = handle

    async def read(self, size: int) -> bytes:
        """At most `size` bytes, perhaps fewer (512 KiB at once); b"" at the end."""
        async with self._sandbox.files() as files:
            return await files.file_read(self._handle, size)

    async def write(self, data: bytes) -> int:
        """How many bytes were written: all of them."""
        written = 0
        async with self._sandbox.files() as files:
            while written < len(data):
                written += await files.file_write(self._handle, data[written:] if written else data)
        return written

    async def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; `whence` as for io.IOBase.seek."""
        async with self._sandbox.files() as files:
            return await files.file_seek(self._handle, offset, whence)

    async def truncate(self, size: int | None = None) -> None:
        async with self._sandbox.files() as files:
            await files.file_truncate(self._handle, size or 0)

    async def stat(self) -> FileInfo:
        async with self._sandbox.files() as files:
            return file_info(await files.file_stat(self._handle))

    async def sync(self) -> None:
        """Flush contents and metadata to the disk."""
        async with self._sandbox.files() as files:
            await files.file_sync(self._handle)

    async def sync_data(self) -> None:
        async with self._sandbox.files() as files:
            await files.file_sync(self._handle, data_only=True)

    async def utime(self, atime: Time, mtime: Time) -> None:
        """Times as datetime or as seconds since the epoch."""
        async with self._sandbox.files() as files:
            await files.file_utime(self._handle, nanoseconds(atime), nanoseconds(mtime))

    async def lock(self, exclusive: bool = False) -> None:
        """Wait for a lock on the whole file."""
        async with self._sandbox.files() as files:
            await files.file_lock(self._handle, exclusive=exclusive)

    async def unlock(self) -> None:
        async with self._sandbox.files() as files:
            await files.file_unlock(self._handle)

    async def close(self) -> None:
        async with self._sandbox.files() as files:
            await files.file_close(self._handle)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncFiles:
    """Everything is done as the user `app`."""

    def __init__(self, sandbox: EngineSandbox) -> None:
        self._sandbox = sandbox

    async def read_file(self, path: str) -> bytes:
        """A file's bytes. TooLarge over 256 MiB."""
        async with self._sandbox.files() as files:
            return await files.read_file(path)

    async def read_text_file(self, path: str) -> str:
        """A file's text; what is not UTF-8 is replaced."""
        return (await self.read_file(path)).decode("utf-8", "replace")

    async def read_chunks(self, path: str) -> AsyncIterator[bytes]:
        """A file of any size in chunks."""
        async with self._sandbox.files() as files:
            source = await files.open_read(path)
            try:
                async for chunk in source:
                    yield chunk
            finally:
                source.cancel()

    async def write_file(
        self,
        path: str,
        data: Content,
        *,
        create: bool = True,
        append: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Write bytes, a stream of bytes or a file object; returns when the guest has closed the file."""
        content = data if isinstance(data, bytes) else chunks_of(data)
        async with self._sandbox.files() as files:
            await files.write_file(path, content, create=create, append=append, create_new=create_new, mode=mode)

    async def write_text_file(
        self,
        path: str,
        content: str,
        *,
        create: bool = True,
        append: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Write text as UTF-8."""
        encoded = content.encode("utf-8")
        await self.write_file(path, encoded, create=create, append=append, create_new=create_new, mode=mode)

    async def read_dir(self, path: str) -> list[DirEntry]:
        async with self._sandbox.files() as files:
            return [dir_entry(entry) for entry in await files.read_dir(path)]

    async def walk(
        self,
        path: str,
        *,
        max_depth: int | None = None,
        include_files: bool = True,
        include_dirs: bool = True,
        include_symlinks: bool = True,
        follow_symlinks: bool = False,
        canonicalize: bool = True,
        exts: Sequence[str] | None = None,
        match: Sequence[Regex] | None = None,
        skip: Sequence[Regex] | None = None,
    ) -> list[WalkEntry]:
        """Everything below `path` and itself, as Deno's walk; `match` and `skip` are regular expressions."""
        options: dict[str, Any] = {
            "max_depth": max_depth,
            "include_files": include_files,
            "include_dirs": include_dirs,
            "include_symlinks": include_symlinks,
            "follow_symlinks": follow_symlinks,
            "canonicalize": canonicalize,
            "exts": None if exts is None else list(exts),
            "match": _patterns(match),
            "skip": _patterns(skip),
        }
        given = {name: value for name, value in options.items() if value is not None}
        async with self._sandbox.files() as files:
            return [walk_entry(entry) async for entry in files.walk(path, **given)]

    async def expand_glob(
        self,
        glob: str,
        *,
        root: str | None = None,
        exclude: Sequence[str] | None = None,
        include_dirs: bool = True,
        follow_symlinks: bool = False,
        canonicalize: bool = True,
        extended: bool = True,
        globstar: bool = True,
        case_insensitive: bool = False,
    ) -> list[str]:
        """The paths that match, sorted."""
        options: dict[str, Any] = {
            "root": root,
            "exclude": None if exclude is None else list(exclude),
            "include_dirs": include_dirs,
            "follow_symlinks": follow_symlinks,
            "canonicalize": canonicalize,
            "extended": extended,
            "globstar": globstar,
            "case_insensitive": case_insensitive,
        }
        given = {name: value for name, value in options.items() if value is not None}
        async with self._sandbox.files() as files:
            return [entry.path async for entry in files.expand_glob(glob, **given)]

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        async with self._sandbox.files() as files:
            await files.remove(path, recursive=recursive)

    async def mkdir(self, path: str, *, recursive: bool = False, mode: int | None = None) -> None:
        """Make a directory; with `recursive` its parents too, and it is no error when it exists."""
        async with self._sandbox.files() as files:
            await files.mkdir(path, recursive=recursive, mode=mode)

    async def rename(self, old_path: str, new_path: str) -> None:
        async with self._sandbox.files() as files:
            await files.rename(old_path, new_path)

    async def copy_file(self, from_path: str, to_path: str) -> None:
        async with self._sandbox.files() as files:
            await files.copy_file(from_path, to_path)

    async def link(self, target: str, path: str) -> None:
        """Make a hard link at `path`."""
        async with self._sandbox.files() as files:
            await files.link(target, path)

    async def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`."""
        async with self._sandbox.files() as files:
            await files.symlink(target, path)

    async def read_link(self, path: str) -> str:
        async with self._sandbox.files() as files:
            return await files.read_link(path)

    async def real_path(self, path: str) -> str:
        async with self._sandbox.files() as files:
            return await files.real_path(path)

    async def stat(self, path: str) -> FileInfo:
        async with self._sandbox.files() as files:
            return file_info(await files.stat(path))

    async def lstat(self, path: str) -> FileInfo:
        """As `stat`, of a symbolic link itself."""
        async with self._sandbox.files() as files:
            return file_info(await files.lstat(path))

    async def chmod(self, path: str, mode: int) -> None:
        async with self._sandbox.files() as files:
            await files.chmod(path, mode)

    async def chown(self, path: str, uid: int | None = None, gid: int | None = None) -> None:
        async with self._sandbox.files() as files:
            await files.chown(path, uid, gid)

    async def truncate(self, name: str, length: int | None = None) -> None:
        async with self._sandbox.files() as files:
            await files.truncate(name, length or 0)

    async def umask(self, mask: int | None = None) -> int:
        """Set the umask of what starts later, or only ask for it; the one before either way."""
        async with self._sandbox.files() as files:
            return await files.umask(mask)

    async def utime(self, path: str, atime: Time, mtime: Time) -> None:
        """Times as datetime or as seconds since the epoch."""
        async with self._sandbox.files() as files:
            await files.utime(path, nanoseconds(atime), nanoseconds(mtime))

    async def make_temp_dir(self, *, dir: str | None = None, prefix: str = "", suffix: str = "") -> str:  # noqa: A002
        async with self._sandbox.files() as files:
            return await files.make_temp_dir(parent=dir, prefix=prefix, suffix=suffix)

    async def make_temp_file(self, *, dir: str | None = None, prefix: str = "", suffix: str = "") -> str:  # noqa: A002
        async with self._sandbox.files() as files:
            return await files.make_temp_file(parent=dir, prefix=prefix, suffix=suffix)

    async def create(self, path: str) -> AsyncFile:
        """Open a new, empty file for reading and writing."""
        return await self.open(path, write=True, truncate=True, create=True)

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
    ) -> AsyncFile:
        """Open a file; with `create` it is made when missing, with `create_new` it must be missing."""
        wanted = {"read": read, "write": write, "append": append, "truncate": truncate}
        async with self._sandbox.files() as files:
            handle = await files.open(path, **wanted, create=create, create_new=create_new, mode=mode)
        return AsyncFile(self._sandbox, handle)

    async def upload(self, local_path: str, sandbox_path: str) -> None:
        """Copy a file, a symbolic link, or what a directory contains from here into the sandbox."""
        async with self._sandbox.files() as files:
            await upload(files, local_path, sandbox_path)

    async def download(self, local_path: str, sandbox_path: str) -> None:
        """Copy a file, a symbolic link, or what a directory contains from the sandbox to here.

        The sandbox is not trusted: nothing is written outside `local_path`, and no link that is there is followed.
        """
        async with self._sandbox.files() as files:
            await download(files, sandbox_path, local_path)


def _patterns(patterns: Sequence[Regex] | None) -> list[tuple[str, str]] | None:
    if patterns is None:
        return None
    return [(text, "") if isinstance(text, str) else (text.pattern, _flags(text)) for text in patterns]


def _flags(pattern: re.Pattern[str]) -> str:
    names = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}
    return "".join(letter for flag, letter in names.items() if pattern.flags & flag)
