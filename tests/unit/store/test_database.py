from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.model.errors import HostError
from atoll.model.lifecycle import State
from atoll.store import Store
from atoll.store.schema import APPLICATION_ID, MIGRATIONS

WRITER = """
import asyncio, sys
from pathlib import Path
from atoll.model.ids import new_sandbox_id
from atoll.model.spec import SandboxSpec
from atoll.store import Store

async def main():
    async with Store(Path(sys.argv[1])) as store:
        while True:
            sandbox_id = new_sandbox_id()
            await store.owned.add(sandbox_id, "process", "1")
            await store.sandboxes.put_started(sandbox_id, SandboxSpec(labels={"k": "v"}), 1)
            print(sandbox_id, flush=True)

asyncio.run(main())
"""


async def test_kill_9_loses_nothing_that_was_answered(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        answered = [writer.stdout.readline().strip() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        answered += writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    async with Store(path) as store:
        listed = {record.id: record for record in (await store.sandboxes.list(limit=1000)).records}
        owners = {owned.sandbox_id for owned in await store.owned.list_all()}
        # Each is written before it is answered, so the file may be one ahead of what was read.
        assert 0 <= len(listed) - len(answered) <= 1
        assert set(answered) <= set(listed) <= owners
        assert all(listed[name].status is State.STARTING and listed[name].labels for name in answered)


async def test_two_processes_write_at_once(path: Path, store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        await asyncio.to_thread(writer.stdout.readline)
        for number in range(100):
            await store.owned.add("ours", "disk", str(number))
        writer.kill()
    owned = await store.owned.list_all()
    assert sum(one.sandbox_id == "ours" for one in owned) == 100


async def test_it_opens_again_what_it_made(path: Path) -> None:
    for number in range(3):
        async with Store(path) as store:
            await store.owned.add("a", "disk", str(number))
            assert len(await store.owned.list_all()) == number + 1


async def test_only_its_owner_may_read_the_files(store: Store, path: Path) -> None:
    await store.owned.add("a", "disk", "1")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes["atoll.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "content", [b"not a database, but a text of some length\n" * 100, b"SQLite format 3\x00" + b"\xff" * 4096]
)
async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(HostError, match="atoll.db: .*move the file away"):
        await Store(path).open()
    assert path.read_bytes() == content


async def test_another_programs_database_is_refused_and_kept(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE tokens (mine TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HostError, match="another program's"):
        await Store(path).open()
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with Store(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(HostError, match="a newer atoll"):
        await Store(path).open()


async def test_damage_is_found_when_it_is_opened(path: Path) -> None:
    async with Store(path) as store:
        for number in range(2000):
            await store.owned.add("sandbox", "disk", str(number))
    content = bytearray(path.read_bytes())
    assert len(content) > 40960
    content[-20480:] = os.urandom(20480)
    path.write_bytes(content)
    with pytest.raises(HostError, match="damaged|malformed"):
        await Store(path).open()


async def test_an_interrupted_first_start_is_started_again(path: Path) -> None:
    path.touch()
    async with Store(path) as store:
        assert await store.tokens.list() == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="file/atoll.db cannot be opened"):
        await Store(tmp_path / "file" / "atoll.db").open()


async def test_a_closed_store_says_so(path: Path) -> None:
    store = Store(path)
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(HostError, match="not open"):
        await store.tokens.list()


async def test_closing_finishes_what_was_asked_for(path: Path) -> None:
    async with Store(path) as store, asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(store.owned.add("a", "disk", str(number)))
        await asyncio.sleep(0)
        await store.close()
    async with Store(path) as store:
        assert len(await store.owned.list_all()) == 100
