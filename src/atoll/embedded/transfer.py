"""Copying trees between this host and a sandbox.

A download trusts nothing that the guest says: names are checked to be single components, and directories are
opened one in the other by descriptor without following links, so that nothing lands outside the target.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator

from atoll.engine.files import Files
from atoll.model.errors import InvalidSpec, ProtocolViolation

CHUNK_BYTES = 256 * 1024
MAX_DEPTH = 200


async def upload(files: Files, local_path: str, sandbox_path: str) -> None:
    """Files keep their permission bits, links their text. InvalidSpec for what cannot be read here."""
    try:
        mode = await asyncio.to_thread(lambda: os.lstat(local_path).st_mode)
        if stat.S_ISLNK(mode):
            await files.symlink(await asyncio.to_thread(os.readlink, local_path), sandbox_path)
        elif stat.S_ISDIR(mode):
            await files.mkdir(sandbox_path, recursive=True)
            for name in sorted(await asyncio.to_thread(os.listdir, local_path)):
                await upload(files, os.path.join(local_path, name), f"{sandbox_path}/{name}")
        elif stat.S_ISREG(mode):
            await _upload_file(files, local_path, sandbox_path, mode)
        else:
            raise InvalidSpec("local_path", f"{local_path!r} is no file, directory or symbolic link")
    except OSError as error:
        raise InvalidSpec("local_path", f"{local_path!r} cannot be read: {error.strerror}") from None


async def _upload_file(files: Files, local_path: str, sandbox_path: str, mode: int) -> None:
    with await asyncio.to_thread(open, local_path, "rb", 0) as file:

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

        await files.write_file(sandbox_path, chunks(), mode=stat.S_IMODE(mode))


async def download(files: Files, sandbox_path: str, local_path: str) -> None:
    """Files get the permission bits of the guest's, without set-user-ID and the like."""
    facts = await files.lstat(sandbox_path)
    parent, name = _split(local_path)
    try:
        folder = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidSpec("local_path", f"{parent!r} cannot be opened: {error.strerror}") from None
    try:
        await _download(files, sandbox_path, folder, name, facts.mode, 0)
    except OSError as error:
        raise InvalidSpec("local_path", f"{local_path!r} cannot be written: {error}") from None
    finally:
        os.close(folder)


def _split(local_path: str) -> tuple[str, str]:
    return os.path.split(os.path.abspath(local_path))


async def _download(files: Files, path: str, folder: int, name: str, mode: int, depth: int) -> None:
    """What is at `path` in the guest becomes `name` in the open directory `folder`."""
    if depth > MAX_DEPTH:
        raise InvalidSpec("sandbox_path", f"{path[:200]!r} is nested over {MAX_DEPTH} deep")
    if stat.S_ISDIR(mode):
        await _download_directory(files, path, folder, name, depth)
    elif stat.S_ISLNK(mode):
        text = await files.read_link(path)
        os.symlink(text, name, dir_fd=folder)
    elif stat.S_ISREG(mode):
        await _download_file(files, path, folder, name, mode)


async def _download_directory(files: Files, path: str, folder: int, name: str, depth: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        pass
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        for entry in await files.read_dir(path):
            if "/" in entry.name or "\x00" in entry.name or entry.name in ("", ".", ".."):
                raise ProtocolViolation("a directory entry whose name is no name")
            inside = f"{path}/{entry.name}"
            facts = await files.lstat(inside)
            await _download(files, inside, inner, entry.name, facts.mode, depth + 1)
    finally:
        os.close(inner)


async def _download_file(files: Files, path: str, folder: int, name: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    source = await files.open_read(path)
    try:
        with open(os.open(name, flags, mode & 0o777, dir_fd=folder), "wb", 0) as file:  # noqa: ASYNC230
            async for chunk in source:
                view = memoryview(chunk)
                while view:
                    view = view[await asyncio.to_thread(file.write, view) :]
    finally:
        source.cancel()
