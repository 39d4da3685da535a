"""Copying trees between this host and a sandbox.

A copy out trusts nothing that the guest says. Directories are opened one inside the other by descriptor and without
following links, a file gets its name by a rename, and links that would lead out of the copy are left out: nothing is
written outside the target, and whoever follows the copied links later stays inside too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from atoll.model.errors import AtollError, GuestError, HostError, InvalidSpec, ProtocolViolation, TooLarge

CHUNK_BYTES = 256 * 1024
MAX_DEPTH = 200
MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 255
GUEST_HOME = "/home/app"

Skip = Callable[[str, str], None]


class Facts(Protocol):
    """Of a file; `mode` is the raw st_mode."""

    @property
    def mode(self) -> int: ...


class Entry(Protocol):
    """Of a directory."""

    @property
    def name(self) -> str: ...


class WritableTree(Protocol):
    """Files of a sandbox, as a copy into it needs them."""

    async def stat(self, path: str, /) -> Facts: ...

    async def mkdir(self, path: str, /, *, recursive: bool = False) -> None: ...

    async def symlink(self, target: str, path: str, /) -> None: ...

    async def write_file(self, path: str, content: AsyncIterable[bytes], /, *, mode: int | None = None) -> None: ...


class ReadableTree(Protocol):
    """Files of a sandbox, as a copy out of it needs them."""

    async def lstat(self, path: str, /) -> Facts: ...

    async def real_path(self, path: str, /) -> str: ...

    async def read_link(self, path: str, /) -> str: ...

    async def read_dir(self, path: str, /) -> Sequence[Entry]: ...

    def read(self, path: str) -> AsyncGenerator[bytes, None]: ...


# -- into a sandbox


async def copy_in(tree: WritableTree, source: str, target: str, skip: Skip) -> None:
    """As `cp -r`: `source` becomes `target`, or something in it if that is a directory; `DIR/.` is what is in DIR.

    What is no file is told to `skip`. A link at `source` is followed.
    """
    path = guest_path(target)
    local = real_source(source)
    if not means_content(source) and await _is_directory(tree, path):
        path = posixpath.join(path, local.name)
    await _copy_in(tree, local, path, skip)


def real_source(source: str) -> Path:
    """Where a source on this host really is; InvalidSpec when it is nowhere."""
    try:
        return Path(source).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InvalidSpec(source, f"cannot be copied: {getattr(error, 'strerror', None) or error}") from None


def means_content(source: str) -> bool:
    """Whether what is in the directory is meant, and not itself."""
    return source == "." or source.endswith("/.")


def guest_path(text: str) -> str:
    """Absolute and normal; a relative one is below the home directory."""
    return posixpath.normpath(posixpath.join(GUEST_HOME, text))


async def _is_directory(tree: WritableTree, path: str) -> bool:
    try:
        return stat.S_ISDIR((await tree.stat(path)).mode)
    except GuestError as error:
        if error.errno_name in ("ENOENT", "ENOTDIR"):
            return False
        raise


async def _copy_in(tree: WritableTree, source: Path, path: str, skip: Skip) -> None:
    try:
        mode = await asyncio.to_thread(lambda: source.lstat().st_mode)
        if stat.S_ISLNK(mode):
            await tree.symlink(os.readlink(source), path)
        elif stat.S_ISDIR(mode):
            await tree.mkdir(path, recursive=True)
            for name in sorted(await asyncio.to_thread(os.listdir, source)):
                await _copy_in(tree, source / name, posixpath.join(path, name), skip)
        elif stat.S_ISREG(mode):
            with await asyncio.to_thread(open, source, "rb", 0) as file:
                await tree.write_file(path, _chunks(file.read), mode=stat.S_IMODE(mode) & 0o777)
        else:
            skip(str(source), "it is no file, directory or symbolic link")
    except OSError as error:
        raise InvalidSpec(str(source), f"cannot be read: {error.strerror}") from None


async def _chunks(read: Callable[[int], bytes | None]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(read, CHUNK_BYTES):
        yield chunk


# -- out of a sandbox


class CopyOut:
    """One copy out of a sandbox, within `max_bytes` of content. What is left out is told to `skip`."""

    def __init__(self, tree: ReadableTree, skip: Skip, *, max_bytes: int) -> None:
        self._tree = tree
        self._skip = skip
        self._bytes_left = max_bytes
        self._max_bytes = max_bytes
        self._entries_left = MAX_ENTRIES

    async def run(self, source: str, target: Path) -> None:
        """`source` becomes `target`, or something in it if that is a directory. A link at `source` is followed."""
        path = await self._tree.real_path(guest_path(source))
        facts = await self._tree.lstat(path)
        target = _becomes(target, source)
        with _host_errors(target), _opened(target.parent) as folder:
            await self._copy(path, facts, folder, target.name, "")

    async def _copy(self, path: str, facts: Facts, folder: int, name: str, below: str) -> None:
        """What is at `path` in the guest becomes `name` in `folder`; `below` is where that is in the copy."""
        here = posixpath.join(below, name) if below else name
        kind = stat.S_IFMT(facts.mode)
        if kind == stat.S_IFDIR:
            await self._copy_directory(path, folder, name, here)
        elif kind == stat.S_IFREG:
            await self._copy_file(path, folder, name, facts.mode & 0o777)
        elif kind == stat.S_IFLNK:
            await self._copy_link(path, folder, name, here)
        else:
            self._skip(here, "it is a device, a pipe or a socket")

    async def _copy_directory(self, path: str, folder: int, name: str, here: str) -> None:
        if here.count("/") >= MAX_DEPTH:
            raise TooLarge(f"directories are nested more than {MAX_DEPTH} deep")
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        with _opened(name, folder) as inner:
            for entry in await self._tree.read_dir(path):
                await self._copy_entry(path, _checked_name(entry.name), inner, here)

    async def _copy_entry(self, parent: str, name: str, folder: int, below: str) -> None:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise TooLarge(f"more than {MAX_ENTRIES} files and directories")
        path = posixpath.join(parent, name)
        try:
            await self._copy(path, await self._tree.lstat(path), folder, name, below)
        except GuestError as error:
            self._skip(posixpath.join(below, name), error.message)

    async def _copy_file(self, path: str, folder: int, name: str, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _staged(folder, name) as staged:
            with open(os.open(staged, flags, mode, dir_fd=folder), "wb", 0) as file:  # noqa: ASYNC230
                async with contextlib.aclosing(self._tree.read(path)) as chunks:
                    async for chunk in chunks:
                        self._charge(len(chunk))
                        await asyncio.to_thread(_write_all, file.fileno(), chunk)

    async def _copy_link(self, path: str, folder: int, name: str, here: str) -> None:
        text = await self._tree.read_link(path)
        # The copy's own root is the first name in `here`.
        if not stays_inside(text, depth=here.count("/") - 1):
            self._skip(here, f"it is a symbolic link out of the copy, to {text[:200]}")
            return
        with _staged(folder, name) as staged:
            os.symlink(text, staged, dir_fd=folder)

    def _charge(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise TooLarge(f"more than {self._max_bytes} bytes of files; --max-size allows more")


def _becomes(target: Path, source: str) -> Path:
    if target.is_dir() and not means_content(source):
        return target / _checked_name(posixpath.basename(guest_path(source)))
    # `.` and `..` have another name, by which their parent has them.
    return target if target.name not in ("", "..") else target.resolve()


def stays_inside(text: str, *, depth: int) -> bool:
    """Whether a link in a directory `depth` levels below a copy's root cannot lead out of it.

    Only leading `..` are allowed: they pass directories, which are real. Later ones could pass another link.
    """
    if not text or text.startswith("/") or "\x00" in text or depth < 0:
        return False
    parts = [part for part in text.split("/") if part not in ("", ".")]
    ups = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return ups <= depth and ".." not in parts[ups:]


def _checked_name(name: str) -> str:
    """A single component. ProtocolViolation for what would be somewhere else."""
    size = len(name.encode("utf-8", "replace"))
    if name in ("", ".", "..") or "/" in name or "\x00" in name or size > MAX_NAME_BYTES:
        raise ProtocolViolation(f"the sandbox names a file {name[:80]!r}, which is no name; nothing more is copied")
    return name


def _write_all(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def _opened(path: str | Path, folder: int | None = None) -> Iterator[int]:
    """A directory. Inside `folder` a link is not followed: only what the user named may be one."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if folder is not None else 0)
    fd = os.open(path, flags, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _staged(folder: int, name: str) -> Iterator[str]:
    """A name that nothing has, for what becomes `name` at the end; so what was there is replaced, and not followed."""
    staged = f".atoll-{secrets.token_hex(8)}"
    try:
        yield staged
        os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=folder)
        raise


@contextlib.contextmanager
def _host_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except AtollError:
        raise
    except OSError as error:
        raise HostError(f"{target} cannot be written: {error.strerror}") from None
