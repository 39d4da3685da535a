"""Templates on disk: whole or not at all, one maker, none removed while in use."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import pytest

from atoll.vmm.shape import Accel, Shape
from atoll.vmm.template import TemplateKey, TemplateStore

MIB = 1024 * 1024
KEY = TemplateKey("sha256:image", "sha256:agent", Shape(1, 1), Accel.TCG, "7.2.1", disk_bytes=MIB)


def write_whole(store: TemplateStore, key: TemplateKey, staging: Path) -> None:
    (staging / "ram").write_bytes(b"r" * 4096)
    os.truncate(staging / "ram", key.shape.memory_mib * MIB)
    (staging / "state").write_bytes(b"state")
    (staging / "disk").touch()
    os.truncate(staging / "disk", key.disk_bytes)
    store.publish(key, staging)


async def make(store: TemplateStore, key: TemplateKey) -> None:
    async with store.making(key) as staging:
        write_whole(store, key, staging)


@pytest.mark.parametrize(
    "change",
    [
        {"image_digest": "sha256:other"},
        {"agent_digest": "sha256:other"},
        {"shape": Shape(2, 1)},
        {"shape": Shape(1, 2)},
        {"accel": Accel.KVM},
        {"qemu_version": "7.2.2"},
        {"disk_bytes": 2 * MIB},
        {"host_cpu": "another"},
        {"command_format": 999},
    ],
)
async def test_another_key_is_another_template(tmp_path: Path, change: dict[str, object]) -> None:
    store = TemplateStore(tmp_path)
    await make(store, KEY)
    assert store.open(dataclasses.replace(KEY, **change)) is None  # type: ignore[arg-type]


async def test_made_and_opened(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    assert store.open(KEY) is None
    await make(store, KEY)
    template = store.open(KEY)
    assert template is not None
    assert os.fstat(template.ram).st_size == MIB
    assert template.ram_kib == 4
    one, two = template.open_state(), template.open_state()
    assert os.read(one, 10) == os.read(two, 10) == b"state"
    os.close(one)
    os.close(two)
    template.close()
    template.close()


async def test_what_a_crash_left_is_removed_by_the_next_maker(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    half = tmp_path / f".making-{KEY.name}"
    half.mkdir()
    (half / "ram").write_bytes(b"half")
    assert store.open(KEY) is None
    async with store.making(KEY) as staging:
        assert list(staging.iterdir()) == []
    assert not half.exists()
    assert store.names() == []


async def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    with pytest.raises(RuntimeError):
        async with store.making(KEY) as staging:
            (staging / "ram").write_bytes(b"half")
            raise RuntimeError
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("harm", ["no manifest", "other manifest", "short ram", "no disk"])
async def test_a_damaged_template_is_not_used(tmp_path: Path, harm: str) -> None:
    store = TemplateStore(tmp_path)
    await make(store, KEY)
    path = tmp_path / KEY.name
    match harm:
        case "no manifest":
            (path / "template.json").unlink()
        case "other manifest":
            (path / "template.json").write_text(json.dumps({"image_digest": "x"}))
        case "short ram":
            os.truncate(path / "ram", 4096)
        case _:
            (path / "disk").unlink()
    before = len(os.listdir("/proc/self/fd"))
    assert store.open(KEY) is None
    assert len(os.listdir("/proc/self/fd")) == before


async def test_only_one_makes_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    async def maker(name: str) -> None:
        store = TemplateStore(tmp_path)
        async with store.making(KEY) as staging:
            order.append(f"{name} in")
            await asyncio.sleep(0.01)
            if store.open(KEY) is None:
                write_whole(store, KEY, staging)
            order.append(f"{name} out")

    async with asyncio.TaskGroup() as group:
        group.create_task(maker("a"))
        group.create_task(maker("b"))
    assert order in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])


async def test_stale_ones_go_unless_they_are_in_use(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    old = dataclasses.replace(KEY, image_digest="sha256:old")
    sibling = dataclasses.replace(KEY, shape=Shape(2, 2))
    for key in (KEY, old, sibling):
        await make(store, key)
    used = store.open(old)
    assert used is not None
    assert store.collect(KEY) == []
    used.close()
    assert store.collect(KEY) == [old.name]
    assert store.names() == sorted([KEY.name, sibling.name])


async def test_the_least_used_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    keys = [dataclasses.replace(KEY, shape=Shape(n, 1)) for n in (1, 2, 3)]
    for age, key in enumerate(keys):
        await make(store, key)
        os.utime(tmp_path / key.name, (1000 - age, 1000 - age))
    assert store.collect(KEY, keep=2) == [keys[2].name]


async def test_a_clone_in_the_making_keeps_what_it_needs(tmp_path: Path) -> None:
    store = TemplateStore(tmp_path)
    await make(store, KEY)
    template = store.open(KEY)
    assert template is not None
    with template.held():
        template.close()
        assert os.fstat(template.ram).st_size == MIB
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(template.ram)
