"""`atoll gc` on a state directory with something of everything."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pytest
from tests.unit.cli.test_commands import CommandLine
from tests.unit.image.test_store import built

from atoll.cli.garbage import Collector, size_on_disk
from atoll.config import Config, ServerConfig
from atoll.image import ImageStore, agent_digest
from atoll.vmm.confine import find_qemu, qemu_version
from atoll.vmm.disk import GIB
from atoll.vmm.shape import Accel, Shape
from atoll.vmm.template import TemplateKey, TemplateStore

SIZE = 100_000


class State:
    """One image of today, one of yesterday, a template of each, and what two interruptions have left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = ImageStore(root / "images")
        self.templates = TemplateStore(root / "templates")
        self.images.root.mkdir(parents=True)
        self.old = self.images.add(built(root / "a", b"old" * SIZE, at="2025-01-01")).digest
        self.new = self.images.add(built(root / "b", b"new" * SIZE)).digest
        version = qemu_version(find_qemu())
        self.key = TemplateKey(self.new, agent_digest(), Shape(1280, 2), Accel.TCG, version, 10 * GIB)
        self.stale = dataclasses.replace(self.key, image_digest=self.old)
        asyncio.run(self._make_templates())
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        (self.scratch / "tree").write_bytes(b"t" * SIZE)
        (self.images.root / ".build-x").mkdir()
        (self.images.root / ".build-x" / "scratch-path").write_text(f"{self.scratch}\n")
        (self.templates.root / ".making-y").mkdir()
        (self.templates.root / ".making-y" / "ram").write_bytes(b"r" * SIZE)

    async def _make_templates(self) -> None:
        for key in (self.key, self.stale):
            async with self.templates.making(key) as staging:
                (staging / "ram").write_bytes(b"r" * SIZE)
                self.templates.publish(key, staging)

    @property
    def config(self) -> Config:
        return Config(server=ServerConfig(state_dir=self.root))

    def everything(self) -> list[str]:
        return sorted(str(path) for path in self.root.rglob("*"))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_what_nobody_needs_is_removed_and_counted(state: State) -> None:
    found = Collector(state.config, keep_all=False).collect(images=True)
    assert [(one.kind, one.name) for one in found] == [
        ("broken-off build", ".build-x"),
        ("broken-off template", ".making-y"),
        ("stale template", state.stale.name),
        ("old image", state.old),
    ]
    assert all(SIZE <= one.bytes < 20 * SIZE for one in found)
    assert [image.digest for image in state.images.list()] == [state.new]
    assert state.templates.names() == [state.key.name]
    assert not state.scratch.exists()
    assert Collector(state.config, keep_all=False).collect(images=True) == []


def test_a_dry_run_finds_the_same_and_removes_nothing(state: State) -> None:
    before = state.everything()
    dry = Collector(state.config, keep_all=True).collect(images=True)
    assert [path for path in state.everything() if not path.rpartition("/")[2].startswith(".l")] == [
        path for path in before if not path.rpartition("/")[2].startswith(".l")
    ]
    assert dry == Collector(state.config, keep_all=False).collect(images=True)


def test_images_stay_unless_they_are_asked_for(state: State) -> None:
    Collector(state.config, keep_all=False).collect(images=False)
    assert {image.digest for image in state.images.list()} == {state.old, state.new}


def test_what_is_in_use_stays(state: State) -> None:
    paths = [state.images.root / ".lock", state.templates.root / ".lock-y", state.templates.root / state.stale.name]
    held = [os.open(path, os.O_RDWR | os.O_CREAT) for path in (*paths[:2], state.root / "server.lock")]
    held.append(os.open(paths[2], os.O_RDONLY))
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_EX if fd is not held[-1] else fcntl.LOCK_SH)
    before = state.everything()
    collector = Collector(state.config, keep_all=False)
    assert collector.collect(images=True) == []
    assert state.everything() == before
    assert [note.partition(";")[0] for note in collector.notes] == [
        "an image is being built",
        "a server runs, and may use an older image",
    ]
    for fd in held:
        os.close(fd)


def test_the_command_says_how_much(state: State, tmp_path: Path) -> None:
    atoll = CommandLine(state.root)
    dry = json.loads(atoll("gc", "--images", "--dry-run", "--json").stdout)
    assert dry["dry_run"] and len(dry["removed"]) == 4
    assert dry["bytes"] == sum(one["bytes"] for one in dry["removed"])
    table = atoll("gc").stdout
    assert "stale template" in table and "old image" not in table
    assert table.splitlines()[-1].startswith("freed ")
    assert "nothing to remove" in atoll("gc").stderr
    assert atoll("gc", "--state", str(tmp_path / "none")).returncode == 0
    assert not (tmp_path / "none").exists()


def test_sizes_are_of_what_is_stored(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "full").write_bytes(b"x" * SIZE)
    assert SIZE <= size_on_disk(tmp_path) < 3 * SIZE
    assert size_on_disk(tmp_path / "none") == 0
