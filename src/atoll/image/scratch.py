"""Where a build works, and how what an interrupted build left is removed.

A build has two directories: one in the store, that becomes the image by a rename, and one
for mmdebstrap under `$TMPDIR` or /var/tmp. The second cannot be in the store: as an ordinary
user mmdebstrap works under subordinate uids, and these may not pass a private directory.
Its path is written into the first before it is used, so that both are found after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atoll.model.errors import ImageError

_PREFIX = ".build-"
_RECORD = "scratch-path"
_LOCK = ".lock"
_NEEDED_BYTES = 3 << 30  # a tree of 0.8 GiB, the packages, and the image once in it


@dataclass(frozen=True)
class Workplace:
    """`build` is in the store, `scratch` is mmdebstrap's.

    `lock` is for mmdebstrap to inherit: if we are killed, nobody touches `scratch` before it has cleaned up.
    """

    build: Path
    scratch: Path
    lock: int


@contextlib.contextmanager
def try_lock(store: Path) -> Iterator[bool]:
    """Hold the store's build lock if nobody else does; yields whether it is held."""
    with _lock_file(store) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def lock(store: Path) -> Iterator[int]:
    """Wait for the store's build lock and hold it; yields the descriptor that holds it.

    The kernel releases it when the last process that has the descriptor ends.
    """
    with _lock_file(store) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor


@contextlib.contextmanager
def _lock_file(store: Path) -> Iterator[int]:
    store.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(store / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def workplace(store: Path, held: int) -> Iterator[Workplace]:
    """A place to build in, gone afterwards; `held` is what `lock` gave."""
    build = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=store))
    try:
        yield Workplace(build, _make_scratch(build), held)
    finally:
        _remove_build(build)


def interrupted(store: Path) -> list[list[Path]]:
    """For each build that did not end, the directories that it has left, its own first. Needs the lock."""
    found = []
    for build in sorted(store.glob(_PREFIX + "*")):
        found.append([build])
        with contextlib.suppress(FileNotFoundError):
            found[-1].append(Path((build / _RECORD).read_text().strip()))
    return found


def remove_interrupted(store: Path) -> None:
    """Remove what builds that did not end have left. Needs the lock."""
    for build in store.glob(_PREFIX + "*"):
        _remove_build(build)


def _make_scratch(build: Path) -> Path:
    parent = Path(os.environ.get("TMPDIR", "/var/tmp"))
    free = shutil.disk_usage(parent).free
    if free < _NEEDED_BYTES:
        raise ImageError(
            f"{parent} has {free >> 20} MiB free and the build needs {_NEEDED_BYTES >> 20}; "
            "make room or set TMPDIR to a directory on a larger file system"
        )
    path = parent / f"atoll-image{build.name}"
    (build / _RECORD).write_text(f"{path}\n")
    path.mkdir(mode=0o711)
    path.chmod(0o755)  # whatever the umask: subordinate uids have to pass
    return path


def _remove_build(build: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        remove_tree(Path((build / _RECORD).read_text().strip()))
    shutil.rmtree(build)


def remove_tree(path: Path) -> None:
    """Remove `path` with what subordinate uids own in it, never crossing into a file system mounted there."""
    remove = ["rm", "-rf", "--one-file-system", "--", str(path)]
    if os.geteuid() != 0:
        subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)
        remove = ["unshare", "--map-root-user", "--map-auto", "--", *remove]
    if path.exists():
        subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)
    if path.exists():
        raise ImageError(f"{path}, left by an interrupted build, cannot be removed; remove it as root")
