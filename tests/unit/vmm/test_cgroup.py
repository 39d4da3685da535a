"""cgroup v2: what is asked for on paper, and a real group where one can be made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from atoll.vmm import cgroup
from atoll.vmm.cgroup import CgroupLimits, CgroupTree, NotDelegated, remove_group
from atoll.vmm.shape import Shape


def hierarchy(root: Path, controllers: str = "cpu memory pids io", enabled: str = "") -> Path:
    own = root / "user.slice" / "app.scope"
    own.mkdir(parents=True)
    (root / "cgroup.controllers").write_text(controllers)
    (own / "cgroup.controllers").write_text(controllers)
    (own / "cgroup.subtree_control").write_text(enabled)
    return own


@pytest.fixture(autouse=True)
def delegated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_marked_delegated", lambda root: True)


MEMBERSHIP = "1:name=systemd:/x\n0::/user.slice/app.scope\n"


def test_the_server_steps_into_a_leaf_and_hands_controllers_down(tmp_path: Path) -> None:
    own = hierarchy(tmp_path)
    tree = CgroupTree.find(tmp_path, MEMBERSHIP)
    assert tree.root == own
    assert (own / "atoll-server" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_an_enabled_subtree_is_left_as_it_is(tmp_path: Path) -> None:
    own = hierarchy(tmp_path, enabled="cpu memory pids")
    CgroupTree.find(tmp_path, MEMBERSHIP)
    assert not (own / "atoll-server").exists()


@pytest.mark.parametrize(("controllers", "reason"), [("cpu pids", "memory"), ("", "cpu, memory, pids")])
def test_missing_controllers_are_named(tmp_path: Path, controllers: str, reason: str) -> None:
    hierarchy(tmp_path, controllers)
    with pytest.raises(NotDelegated, match=f"{reason}.*Delegate=yes"):
        CgroupTree.find(tmp_path, MEMBERSHIP)


def test_cgroup_v1_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotDelegated, match="does not use cgroup v2"):
        CgroupTree.find(tmp_path, MEMBERSHIP)


def test_root_divides_only_what_was_delegated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hierarchy(tmp_path)
    monkeypatch.setattr(cgroup, "_marked_delegated", lambda root: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NotDelegated, match="not delegated"):
        CgroupTree.find(tmp_path, MEMBERSHIP)


def test_limits_of_a_group(tmp_path: Path) -> None:
    tree = CgroupTree(tmp_path)
    with tree.group("x", CgroupLimits.for_shape(Shape(1024, 2))) as path:
        written = {file.name: file.read_text() for file in path.iterdir()}
        for file in path.iterdir():
            file.unlink()  # In a real hierarchy they are not files that stand in the way of rmdir.
    assert written == {
        "memory.max": str((1024 + 512) << 20),
        "memory.oom.group": "1",
        "pids.max": "128",
        "cpu.max": "250000 100000",
    }
    assert not path.exists()


def test_a_sweep_takes_old_empty_groups_only(tmp_path: Path) -> None:
    for name in ("atoll-vm-old", "atoll-vm-busy", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "atoll-vm-busy" / "x").touch()
    assert CgroupTree(tmp_path).sweep() == 0
    assert CgroupTree(tmp_path).sweep(min_age_s=-1) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atoll-vm-busy", "other"]


def _writable_hierarchy() -> Path | None:
    for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (mount / "cgroup.controllers").exists() and os.access(mount, os.W_OK):
            return mount
    return None


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or _writable_hierarchy() is None, reason="needs a cgroup2 mount that we may write"
)
def test_a_real_group_is_killed_and_removed() -> None:
    mount = _writable_hierarchy()
    assert mount is not None
    path = mount / f"atoll-test-{os.getpid()}"
    path.mkdir()
    sleeper = subprocess.Popen(["/bin/sh", "-c", 'echo 0 > "$0" && exec sleep 60', str(path / "cgroup.procs")])
    try:
        while not (path / "cgroup.procs").read_text().strip():
            assert sleeper.poll() is None
        assert remove_group(path)
        assert sleeper.wait() == -9
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not path.exists()
