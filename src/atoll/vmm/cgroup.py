"""Limits for one VMM by cgroup v2, where a subtree was delegated to this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.vmm.shape import Shape

CONTROLLERS = ("memory", "pids", "cpu")
_MIB = 1024 * 1024
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """What one VMM may use. `cpu_quota_us` is per 100 ms."""

    memory_bytes: int
    processes: int
    cpu_quota_us: int

    @classmethod
    def for_shape(cls, shape: Shape) -> CgroupLimits:
        """The guest's RAM and vCPUs, and room for what the VMM itself needs."""
        return cls(
            memory_bytes=(shape.memory_mib + 512) * _MIB,
            processes=128,
            cpu_quota_us=shape.vcpus * _PERIOD_US + _PERIOD_US // 2,
        )

    def files(self) -> dict[str, str]:
        """File name -> content. Swap is refused: guest memory must not reach a disk."""
        return {
            "memory.max": str(self.memory_bytes),
            "memory.swap.max": "0",
            "memory.oom.group": "1",
            "pids.max": str(self.processes),
            "cpu.max": f"{self.cpu_quota_us} {_PERIOD_US}",
        }


class NotDelegated(Exception):
    """No cgroup here is ours to divide; the message says what is missing."""


class CgroupTree:
    """A delegated cgroup: this process is moved to a leaf of it, each VMM gets another."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, mount: Path = Path("/sys/fs/cgroup"), membership: str | None = None) -> CgroupTree:
        """The delegated cgroup this process is in, ready to be divided; NotDelegated with the reason."""
        if membership is None:
            membership = Path("/proc/self/cgroup").read_text()
        root = _own_cgroup(mount, membership)
        _check_delegated(root)
        tree = cls(root)
        tree._enable()
        return tree

    def _enable(self) -> None:
        if set(CONTROLLERS) <= set((self.root / "cgroup.subtree_control").read_text().split()):
            return
        try:
            # A cgroup with processes of its own cannot hand controllers down: step aside first.
            leaf = self.root / "atoll-server"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
            (self.root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
        except OSError as error:
            raise NotDelegated(f"{self.root} cannot be divided: {error.strerror}") from None

    @contextmanager
    def group(self, name: str, limits: CgroupLimits) -> Iterator[Path]:
        """A new cgroup with these limits; everything in it is killed when the context ends."""
        path = self.root / f"atoll-vm-{name}"
        path.mkdir()
        try:
            for file, content in limits.files().items():
                _set_limit(path / file, content)
            yield path
        finally:
            remove_group(path)

    def sweep(self, min_age_s: float = 60.0) -> int:
        """Remove what a server that was killed left: groups of VMs with nothing in them. How many."""
        removed = 0
        for path in self.root.glob("atoll-vm-*"):
            try:
                # A young one may be another server's, on its way to get its first process.
                if time.time() - path.stat().st_ctime >= min_age_s:
                    path.rmdir()
                    removed += 1
            except OSError:
                continue
        return removed


def remove_group(path: Path, deadline_s: float = 2.0) -> bool:
    """Kill what is in the cgroup and remove it; False when that did not work in time."""
    kill = path / "cgroup.kill"
    if kill.exists():
        kill.write_text("1")
    give_up = time.monotonic() + deadline_s
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.005)
    return True


def _set_limit(file: Path, content: str) -> None:
    if file.name == "memory.swap.max" and not file.exists():
        return  # The host has no swap accounting.
    file.write_text(content)


def _own_cgroup(mount: Path, membership: str) -> Path:
    if not (mount / "cgroup.controllers").exists():
        raise NotDelegated("this host does not use cgroup v2 (unified hierarchy)")
    for line in membership.splitlines():
        if line.startswith("0::"):
            return mount / line[3:].lstrip("/")
    raise NotDelegated("this process is in no cgroup of the unified hierarchy")


def _check_delegated(root: Path) -> None:
    missing = set(CONTROLLERS) - set((root / "cgroup.controllers").read_text().split())
    if missing:
        raise NotDelegated(f"{root} lacks the controllers {', '.join(sorted(missing))}; set Delegate=yes in the unit")
    if not os.access(root / "cgroup.subtree_control", os.W_OK):
        raise NotDelegated(f"{root} is not writable; set Delegate=yes in the unit")
    # Root can write everywhere, but may only divide what systemd says is not its own.
    if os.geteuid() == 0 and not _marked_delegated(root):
        raise NotDelegated(f"{root} is not delegated; set Delegate=yes in the unit")


def _marked_delegated(root: Path) -> bool:
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(root, name) == b"1":
                return True
        except OSError:
            continue
    return False
