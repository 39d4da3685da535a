"""The official Python client, unmodified: files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from deno_sandbox.errors import RpcValidationError, UnknownRpcMethod

from tests.clients.python_client import CLIENT_LEAKS, many, sh

pytestmark = CLIENT_LEAKS


async def test_whole_files(sandbox: Any, home: str) -> None:
    fs = sandbox.fs
    await fs.write_text_file(f"{home}/t", "grüße\n")
    await fs.write_text_file(f"{home}/t", "more", append=True)
    assert await fs.read_text_file(f"{home}/t") == "grüße\nmore"
    data = os.urandom(500_000)
    await fs.write_file(f"{home}/b", data, mode=0o600)
    assert await fs.read_file(f"{home}/b") == data
    assert (await fs.stat(f"{home}/b"))["mode"] & 0o777 == 0o600
    await fs.write_file(f"{home}/s", many(data, 7777))
    assert await fs.read_file(f"{home}/s") == data
    with pytest.raises(Exception, match=r"AlreadyExists.*EEXIST"):
        await fs.write_file(f"{home}/s", data, create_new=True)
    with pytest.raises(Exception, match=r"NotFound.*ENOENT"):
        await fs.read_file(f"{home}/none")


async def test_20_mb_both_ways(sandbox: Any, home: str) -> None:
    data = os.urandom(20_000_000)
    await sandbox.fs.write_file(f"{home}/big", data)
    async with await sandbox.fs.open(f"{home}/big") as file:
        parts = [part async for part in read_parts(file)]
    assert b"".join(parts) == data


async def read_parts(file: Any) -> AsyncIterator[bytes]:
    while part := await file.read(512 * 1024):
        yield part


async def test_what_is_over_a_mebibyte_is_an_error_and_no_hang(sandbox: Any, home: str) -> None:
    await sh(sandbox, f"head -c 3000000 /dev/zero > {home}/z; head -c 1048000 /dev/zero | tr '\\0' '\"' > {home}/q")
    for read in (sandbox.fs.read_file(f"{home}/z"), sandbox.fs.read_text_file(f"{home}/z")):
        with pytest.raises(Exception, match=r"TOO_LARGE"):
            await read
    # Within the limit as it is read, and over it once it is escaped.
    with pytest.raises(Exception, match=r"open and read"):
        await sandbox.fs.read_text_file(f"{home}/q")
    await sh(sandbox, f"cd {home}; seq -f 'some-longer-name-to-fill-the-listing-%g' 20000 | xargs touch")
    for listing in (sandbox.fs.walk(home), sandbox.fs.read_dir(home)):
        with pytest.raises(Exception, match=r"TOO_LARGE"):
            await listing
    assert await sh(sandbox, "echo alive") == "alive\n"


async def test_paths(sandbox: Any, home: str) -> None:
    fs = sandbox.fs
    await fs.mkdir(f"{home}/a/b", recursive=True)
    await fs.write_text_file(f"{home}/a/f", "0123456789")
    await fs.link(f"{home}/a/f", f"{home}/a/hard")
    await fs.symlink("f", f"{home}/a/soft", type="file")
    assert await fs.read_link(f"{home}/a/soft") == "f"
    assert (await fs.real_path(f"{home}/a/soft")).endswith("/a/f")
    assert (await fs.lstat(f"{home}/a/soft"))["is_symlink"]
    info = await fs.stat(f"{home}/a/soft")
    assert (info["is_file"], info["size"], info["nlink"]) == (True, 10, 2)
    names = {entry["name"]: entry["is_directory"] for entry in await fs.read_dir(f"{home}/a")}
    assert names == {"b": True, "f": False, "hard": False, "soft": False}
    await fs.copy_file(f"{home}/a/f", f"{home}/a/copy")
    await fs.rename(f"{home}/a/copy", f"{home}/a/moved")
    await fs.truncate(f"{home}/a/moved", 4)
    assert await fs.read_text_file(f"{home}/a/moved") == "0123"
    await fs.truncate(f"{home}/a/moved")
    assert (await fs.stat(f"{home}/a/moved"))["size"] == 0
    await fs.chmod(f"{home}/a/f", 0o640)
    await fs.chown(f"{home}/a/f", None, None)
    await fs.utime(f"{home}/a/f", "2001-02-03T04:05:06Z", "2001-02-03T04:05:06.789Z")
    info = await fs.stat(f"{home}/a/f")
    assert (info["mode"] & 0o777, info["mtime"]) == (0o640, "2001-02-03T04:05:06.789Z")
    for name in ("mtime", "atime", "ctime", "birthtime"):
        assert info[name].endswith("Z") and datetime.fromisoformat(info[name]).year > 2000
    before = await fs.umask(0o077)
    assert await fs.umask() == 0o077
    await fs.umask(before)
    await fs.remove(f"{home}/a", recursive=True)
    with pytest.raises(Exception, match="ENOENT"):
        await fs.stat(f"{home}/a")
    file = await fs.make_temp_file(dir=home, prefix="p-", suffix=".s")
    assert file.startswith(f"{home}/p-") and file.endswith(".s")


async def test_open_files(sandbox: Any, home: str) -> None:
    file = await sandbox.fs.create(f"{home}/f")
    assert await file.write(b"hello world") == 11
    assert await file.seek(6, 0) == 6
    assert (await file.read(100), await file.read(100)) == (b"world", b"")
    assert (await file.stat())["size"] == 11
    await file.truncate(5)
    await file.sync()
    await file.sync_data()
    await file.utime(1000.5, 2000.25)
    assert (await file.stat())["mtime"] == "1970-01-01T00:33:20.250Z"
    await file.lock(True)
    await file.unlock()
    await file.truncate(None)
    await file.close()
    assert await sandbox.fs.read_file(f"{home}/f") == b""
    with pytest.raises(Exception, match="BadResource"):
        await file.stat()
    file = await sandbox.fs.open(f"{home}/g", write=True, create=True)
    await file.write(b"x")
    await file.close()


async def test_walk_and_glob(sandbox: Any, home: str) -> None:
    await sh(sandbox, f"cd {home}; mkdir -p src node_modules; touch a.ts src/c.ts node_modules/e.ts; ln -s src l")
    entries = await sandbox.fs.walk(home)
    assert entries[0] == {
        "path": home,
        "name": home.rpartition("/")[2],
        "is_file": False,
        "is_directory": True,
        "is_symlink": False,
    }
    found = sorted(entry["path"].removeprefix(home) for entry in entries)
    assert found == ["", "/a.ts", "/l", "/node_modules", "/node_modules/e.ts", "/src", "/src/c.ts"]
    only = await sandbox.fs.walk(home, max_depth=1, include_dirs=False, include_symlinks=False, exts=["ts"])
    assert [entry["name"] for entry in only] == ["a.ts"]
    paths = await sandbox.fs.expand_glob("**/*.ts", root=home, exclude=["node_modules"])
    assert [path.removeprefix(home) for path in paths] == ["/a.ts", "/src/c.ts"]


async def test_upload(sandbox: Any, home: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(data := os.urandom(200_000))
    (tmp_path / "link").symlink_to("sub/file")
    await sandbox.fs.upload(str(tmp_path), f"{home}/up")
    assert await sandbox.fs.read_file(f"{home}/up/link") == data
    with pytest.raises(UnknownRpcMethod):
        await sandbox.fs.download(str(tmp_path / "down"), f"{home}/up")


async def test_wrong_parameters(sandbox: Any) -> None:
    with pytest.raises(RpcValidationError) as caught:
        await sandbox._rpc.call("readTextFile", {})
    assert [error["path"] for error in caught.value.errors] == [["path"]]
    with pytest.raises(RpcValidationError, match="Path: options"):
        await sandbox._rpc.call("mkdir", {"path": "/x", "options": {"mode": "deep"}})
    with pytest.raises(UnknownRpcMethod):
        await sandbox._rpc.call("noSuchMethod", {})
    with pytest.raises(Exception, match="NUL"):
        await sandbox.fs.read_file("a\0b")
