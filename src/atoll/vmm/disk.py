"""The ephemeral disk: one sparse ext4 file with a template, an unnamed copy of it with each VM."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

from atoll.model.errors import LaunchFailed
from atoll.vmm.sparse import copy_extents

_FICLONE = 0x40049409
GIB = 1024**3

# No journal: the disk dies with its VM. Prezeroed: a new sparse file is zeroes, so that neither mkfs
# nor the guest's lazy initialisation has to write the inode tables.
_OPTIONS = ("-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode", "-L", "atoll")
_PREZEROED = ("-E", "nodiscard,assume_storage_prezeroed=1")
_LAZY = ("-E", "nodiscard,lazy_itable_init=1")  # e2fsprogs before 1.47


def make_disk(path: Path, size_bytes: int) -> None:
    """A new sparse file with an empty ext4 file system. Blocking."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)
    first = _mkfs(path, _PREZEROED)
    if first is not None and (error := _mkfs(path, _LAZY)) is not None:
        raise LaunchFailed("mkfs.ext4 could not format the ephemeral disk", log_tail=error)


def _mkfs(path: Path, extended: tuple[str, ...]) -> str | None:
    """None when it worked, what it said when not."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    command = ["mkfs.ext4", *_OPTIONS, *extended, str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LaunchFailed("mkfs.ext4 is not installed; install e2fsprogs") from None
    return None if done.returncode == 0 else done.stderr[-2000:]


def clone_disk(template: int, directory: Path) -> int:
    """A descriptor (O_RDWR) of an unnamed copy: it is gone when the last descriptor is. Blocking."""
    fd = unnamed_file(directory)
    try:
        try:
            fcntl.ioctl(fd, _FICLONE, template)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS):
                raise
            copy_extents(template, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def unnamed_file(directory: Path) -> int:
    """A new file in the file system of `directory` that has no name there."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT) or not directory.is_dir():
            raise
    fd, name = tempfile.mkstemp(dir=directory)
    os.unlink(name)
    return fd
