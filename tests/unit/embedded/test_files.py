"""Files of an embedded sandbox."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atoll import AsyncSandbox
from atoll.embedded import AsyncFiles
from atoll.embedded.transfer import download
from atoll.engine.files import DirEntry
from atoll.model.errors import GuestError, InvalidSpec, ProtocolViolation


@pytest.fixture
async def fs(options: dict[str, Any]) -> AsyncIterator[AsyncFiles]:
    async with AsyncSandbox.create(**options) as sandbox:
        yield sandbox.fs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of the guest."""
    place = tmp_path / "guest"
    place.mkdir()
    return place


async def test_whole_files(fs: AsyncFiles, place: Path) -> None:
    path = str(place / "f")
    await fs.write_text_file(path, "é\n", mode=0o600)
    assert await fs.read_text_file(path) == "é\n" and await fs.read_file(path) == "é\n".encode()
    await fs.write_file(path, [b"a", b"b"], append=True)
    assert await fs.read_file(path) == "é\nab".encode()
    with open(__file__, "rb") as file:
        await fs.write_file(path, file)
    assert b"".join([chunk async for chunk in fs.read_chunks(path)]) == Path(__file__).read_bytes()
    with pytest.raises(GuestError) as caught:
        await fs.write_file(path, b"", create_new=True)
    assert caught.value.errno_name == "EEXIST"
    with pytest.raises(GuestError):
        await fs.read_file(str(place / "none"))


async def test_paths(fs: AsyncFiles, place: Path) -> None:
    await fs.mkdir(f"{place}/a/b", recursive=True)
    await fs.write_file(f"{place}/a/f.txt", b"123")
    await fs.copy_file(f"{place}/a/f.txt", f"{place}/a/b/g.md")
    await fs.rename(f"{place}/a/b/g.md", f"{place}/a/b/h.md")
    await fs.link(f"{place}/a/f.txt", f"{place}/a/hard")
    await fs.symlink("f.txt", f"{place}/a/soft")
    assert await fs.read_link(f"{place}/a/soft") == "f.txt"
    assert await fs.real_path(f"{place}/a/soft") == f"{place}/a/f.txt"
    assert (await fs.stat(f"{place}/a/soft"))["is_file"] and (await fs.lstat(f"{place}/a/soft"))["is_symlink"]
    assert sorted(entry["name"] for entry in await fs.read_dir(f"{place}/a")) == ["b", "f.txt", "hard", "soft"]
    entries = await fs.walk(str(place), exts=["txt", ".md"], include_symlinks=False)
    assert sorted(entry["path"] for entry in entries) == [f"{place}/a/b/h.md", f"{place}/a/f.txt"]
    entries = await fs.walk(str(place), match=[re.compile("HARD", re.IGNORECASE)], max_depth=3, skip=["/b"])
    assert [entry["name"] for entry in entries] == ["hard"]
    assert await fs.expand_glob("**/*.md", root=str(place)) == [f"{place}/a/b/h.md"]
    await fs.truncate(f"{place}/a/f.txt", 1)
    await fs.chmod(f"{place}/a/f.txt", 0o640)
    await fs.chown(f"{place}/a/f.txt", os.getuid(), None)
    await fs.utime(f"{place}/a/f.txt", 1.5, datetime(2001, 1, 1, tzinfo=UTC))
    info = await fs.stat(f"{place}/a/f.txt")
    assert (info["size"], info["mode"] & 0o777) == (1, 0o640)
    assert (info["atime"], info["mtime"]) == ("1970-01-01T00:00:01.500000Z", "2001-01-01T00:00:00.000000Z")
    assert await fs.umask(0o077) == 0o022 and await fs.umask() == 0o077
    assert (await fs.make_temp_dir(dir=str(place), prefix="p", suffix="s")).startswith(f"{place}/p")
    assert (await fs.make_temp_file(dir=str(place))).startswith(f"{place}/")
    await fs.remove(f"{place}/a", recursive=True)
    assert not (place / "a").exists()


async def test_open_files(fs: AsyncFiles, place: Path) -> None:
    async with await fs.create(f"{place}/f") as file:
        data = os.urandom(3_000_000)
        assert await file.write(data) == len(data)
        assert await file.seek(10) == 10
        assert await file.read(5) == data[10:15]
        assert await file.seek(-1, 2) == len(data) - 1
        assert await file.read(5) == data[-1:] and await file.read(5) == b""
        await file.lock(exclusive=True)
        await file.unlock()
        await file.truncate(4)
        await file.utime(5, 6)
        await file.sync()
        await file.sync_data()
        info = await file.stat()
        assert info["size"] == 4 and info["mtime"].startswith("1970-01-01T00:00:06")
    with pytest.raises(GuestError, match=r"(?i)bad|handle"):
        await file.read(1)
    async with await fs.open(f"{place}/f", append=True) as file:
        await file.write(b"x")
    assert (place / "f").read_bytes() == data[:4] + b"x"


def tree(root: Path) -> None:
    (root / "sub/deep").mkdir(parents=True)
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub/big").write_bytes(os.urandom(2_000_000))
    (root / "sub/deep/empty").write_bytes(b"")
    (root / "link").symlink_to("sub/big")
    (root / "broken").symlink_to("/nowhere")


def described(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
        else:
            found[name] = None
    return found


async def test_upload_and_download(fs: AsyncFiles, tmp_path: Path, place: Path) -> None:
    tree(local := tmp_path / "local")
    await fs.upload(str(local), f"{place}/up")
    assert described(place / "up") == described(local)
    await fs.download(str(tmp_path / "back"), f"{place}/up")
    assert described(tmp_path / "back") == described(local)
    await fs.download(str(tmp_path / "one"), f"{place}/up/run.sh")
    assert (tmp_path / "one").read_bytes() == b"#!/bin/sh\n"
    with pytest.raises(InvalidSpec, match="cannot be read"):
        await fs.upload(str(tmp_path / "none"), f"{place}/none")
    with pytest.raises(InvalidSpec, match="cannot be opened"):
        await fs.download(str(tmp_path / "none/x"), f"{place}/up")
    with pytest.raises(GuestError):
        await fs.download(str(tmp_path / "x"), f"{place}/none")


async def test_a_download_stays_in_its_place(fs: AsyncFiles, tmp_path: Path, place: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    (place / "d").mkdir()
    (place / "d/victim").write_text("theirs")
    target = tmp_path / "target"
    target.mkdir()
    (target / "d").symlink_to(outside)
    with pytest.raises(InvalidSpec, match="cannot be written"):
        await fs.download(str(target), str(place))
    (place / "f").write_text("theirs")
    (tmp_path / "t2").mkdir()
    (tmp_path / "t2/f").symlink_to(outside / "victim")
    (place / "d/victim").unlink()
    with pytest.raises(InvalidSpec, match="cannot be written"):
        await fs.download(str(tmp_path / "t2"), str(place))
    assert (outside / "victim").read_text() == "mine"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".", "", "a\0b"])
async def test_names_of_a_hostile_guest(tmp_path: Path, name: str) -> None:
    class Hostile:
        async def lstat(self, path: str) -> Any:
            return type("Facts", (), {"mode": 0o040755})

        async def read_dir(self, path: str) -> list[DirEntry]:
            return [DirEntry(name, name, True, False, False)]

    with pytest.raises(ProtocolViolation):
        await download(Hostile(), "/x", str(tmp_path / "t"))  # type: ignore[arg-type]
