"""What a run of the suite left on this machine: processes, namespaces, devices, files. Looks at its own things only."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
# What a VM needs from its last signal to its end, on a loaded machine.
GRACE_S = 10.0
# Names of host things that atoll makes; others on this machine are not ours to judge.
PREFIX = "atoll"


def become_subreaper() -> None:
    """Have orphans of our children become our children, so that they cannot hide."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_processes(allowed: Iterable[int] = (), grace_s: float = GRACE_S) -> list[str]:
    """Wait for our descendants to end; those that do not are killed and named."""
    running = [child for child in psutil.Process().children(recursive=True) if child.pid not in set(allowed)]
    _, alive = psutil.wait_procs(running, timeout=grace_s)
    named = [f"process {_describe(process)}" for process in alive]
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)
    return named


def host_things(state_dir: Path | None) -> set[str]:
    """Namespaces, network devices, loop devices and files that belong to sandboxes."""
    return {*_namespaces(), *_devices(), *_loops(state_dir), *_files(state_dir)}


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())[:200] or process.name()}"
    except psutil.NoSuchProcess:
        return f"{process.pid}, which ended too late"


def _namespaces() -> list[str]:
    return [f"network namespace {path.name}" for path in Path("/run/netns").glob(f"{PREFIX}*")]


def _devices() -> list[str]:
    return [f"network device {path.name}" for path in Path("/sys/class/net").glob(f"{PREFIX}*")]


def _loops(state_dir: Path | None) -> list[str]:
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            file = backing.read_text().strip()
            if state_dir is not None and file.startswith(f"{state_dir}/"):
                found.append(f"loop device {backing.parent.parent.name} of {file}")
    return found


def _files(state_dir: Path | None) -> list[str]:
    """Files of running sandboxes, and of builds that were broken off; images and templates are meant to stay."""
    if state_dir is None or not state_dir.is_dir():
        return []
    places = [state_dir / "run", state_dir / "disks"]
    files = [str(path) for place in places for path in place.rglob("*") if not path.is_dir()]
    making = [str(path) for path in (state_dir / "templates").glob(".making-*")]
    return [f"file {name}" for name in (*files, *making)]
