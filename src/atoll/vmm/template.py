"""Templates on disk and in memory: what a clone is restored from.

A template is a directory named by its key: `ram` and `disk` (sparse), `state` (the devices), and
`template.json`, which is written last. It appears by one rename, or not at all.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atoll.vmm import ram
from atoll.vmm.command import COMMAND_FORMAT
from atoll.vmm.shape import Accel, Shape

_LOCK_POLL_S = 0.1
_MAKING = ".making-"


@dataclass(frozen=True, slots=True)
class TemplateKey:
    """Everything that a saved state depends on: a difference in any of it needs another template."""

    image_digest: str
    agent_digest: str
    shape: Shape
    accel: Accel
    qemu_version: str
    disk_bytes: int
    host_cpu: str = ""
    command_format: int = COMMAND_FORMAT

    def fields(self) -> dict[str, Any]:
        return {**asdict(self), "accel": self.accel.value}

    @property
    def name(self) -> str:
        """Of the template's directory."""
        canonical = json.dumps(self.fields(), sort_keys=True).encode()
        size = f"{self.shape.memory_mib}m{self.shape.vcpus}c"
        return f"{self.accel.value}-{size}-{hashlib.sha256(canonical).hexdigest()[:24]}"

    def lineage(self) -> dict[str, Any]:
        """What all sizes made by the same server share; a template of another lineage is stale."""
        return {name: value for name, value in self.fields().items() if name not in ("shape", "accel", "host_cpu")}


class Template:
    """A template ready to be cloned: RAM and state in sealed memfds, the disk open."""

    def __init__(self, key: TemplateKey, ram_fd: int, state_fd: int, disk_fd: int, directory_fd: int) -> None:
        """Takes the descriptors over. `directory_fd` is locked, so that nobody removes the directory."""
        self.key = key
        self.ram = ram_fd
        self.disk = disk_fd
        self._state = state_fd
        self._fds = [ram_fd, state_fd, disk_fd, directory_fd]
        self._holders = 0
        self._closing = False

    def open_state(self) -> int:
        """The saved state with a read position of its own; the caller closes it."""
        return os.open(f"/proc/self/fd/{self._state}", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def ram_kib(self) -> int:
        """What the template's RAM takes of the host's, once for all clones."""
        return os.fstat(self.ram).st_blocks // 2

    @contextmanager
    def held(self) -> Iterator[None]:
        """For the making of a clone: `close` waits until it has what it needs."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if self._closing:
                self.close()

    def close(self) -> None:
        """Give the memory back, now or when the last clone in the making is done. Clones that run keep theirs."""
        self._closing = True
        while self._fds and not self._holders:
            os.close(self._fds.pop())


class TemplateStore:
    """The templates of one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, key: TemplateKey) -> Template | None:
        """Load it, if there is a whole one. Blocking (a second per GiB of used guest RAM)."""
        path = self.root / key.name
        with ExitStack() as stack:
            directory = _open_locked(path)
            if directory is None:
                return None
            stack.callback(os.close, directory)
            if not _is_whole(path, key):
                return None
            ram_fd = ram.load(path / "ram", "atoll-ram")
            stack.callback(os.close, ram_fd)
            state_fd = ram.load(path / "state", "atoll-state")
            stack.callback(os.close, state_fd)
            disk_fd = os.open(path / "disk", os.O_RDONLY | os.O_CLOEXEC)
            stack.pop_all()
        os.utime(path)
        return Template(key, ram_fd, state_fd, disk_fd, directory)

    @asynccontextmanager
    async def making(self, key: TemplateKey) -> AsyncIterator[Path]:
        """The sole right to make this template, and an empty directory to make it in.

        Waits for another maker; look again with `open` before making. The directory is removed
        at the end unless it was published; one that a crash left is removed at the start.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.root / f".lock-{key.name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        staging = self.root / f"{_MAKING}{key.name}"
        try:
            await _lock(lock)
            _remove(staging)
            staging.mkdir(mode=0o700)
            try:
                yield staging
            finally:
                _remove(staging)
        finally:
            os.close(lock)

    def publish(self, key: TemplateKey, staging: Path) -> None:
        """Make what stands in `staging` the template of this key. Blocking."""
        (staging / "template.json").write_text(json.dumps(key.fields(), indent=1, sort_keys=True))
        for path in (*staging.iterdir(), staging):
            _sync(path)
        target = self.root / key.name
        _remove(target)
        staging.rename(target)
        _sync(self.root)

    def collect(self, current: TemplateKey, keep: int = 12) -> list[str]:
        """Remove templates of another lineage, and the least used beyond `keep`; the names. Those in use stay."""
        return [path.name for path in self.stale(current, keep) if self._remove_unused(path)]

    def stale(self, current: TemplateKey, keep: int = 12) -> list[Path]:
        """What `collect` would remove, if it is not in use."""
        whole = sorted(self._directories(), key=lambda path: path.stat().st_mtime, reverse=True)
        lineage = current.lineage()
        stale = [path for path in whole if _lineage(path) != lineage]
        return stale + [path for path in whole if path not in stale][keep:]

    def remove(self, path: Path) -> bool:
        """Remove a template unless somebody has loaded it; whether it was."""
        return self._remove_unused(path)

    def in_use(self, path: Path) -> bool:
        """Whether somebody has loaded it."""
        fd = _open_locked(path, fcntl.LOCK_EX)
        if fd is not None:
            os.close(fd)
        return fd is None and path.exists()

    @contextmanager
    def broken_off(self) -> Iterator[list[Path]]:
        """Templates whose making began and did not end; nobody begins it anew while this lasts."""
        with ExitStack() as stack:
            yield [path for path in sorted(self.root.glob(f"{_MAKING}*")) if self._hold(path, stack)]

    def _hold(self, staging: Path, stack: ExitStack) -> bool:
        name = staging.name.removeprefix(_MAKING)
        lock = os.open(self.root / f".lock-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def names(self) -> list[str]:
        """The whole templates that are there."""
        return sorted(path.name for path in self._directories())

    def _directories(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")]

    def _remove_unused(self, path: Path) -> bool:
        fd = _open_locked(path, fcntl.LOCK_EX)
        if fd is None:
            return False
        try:
            _remove(path)
            (self.root / f".lock-{path.name}").unlink(missing_ok=True)
            return True
        finally:
            os.close(fd)


def _open_locked(path: Path, kind: int = fcntl.LOCK_SH) -> int | None:
    """The directory, locked; None when there is none or somebody else has the lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


async def _lock(fd: int) -> None:
    """Polling, because a thread that waits in flock(2) cannot be cancelled."""
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL_S)


def _fields(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / "template.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(path: Path, key: TemplateKey) -> bool:
    sizes = {"ram": key.shape.memory_mib * 1024 * 1024, "disk": key.disk_bytes}
    try:
        fits = all((path / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False
    return fits and _fields(path) == json.loads(json.dumps(key.fields()))


def _lineage(path: Path) -> dict[str, Any]:
    return {name: value for name, value in _fields(path).items() if name not in ("shape", "accel", "host_cpu")}


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
