"""The workload's root: an overlay of the base image on the ephemeral disk, with its own /dev, /proc and the rest."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

DISK = "/run/atoll/disk"
ROOT = "/run/atoll/root"

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_NOATIME, _MS_BIND, _MS_REC = 2, 4, 8, 1024, 4096, 16384
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """mount(2); OSError names the target."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, options.encode())
    if result:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), target)


def make_root(device: str) -> None:
    """Mount everything; the base image is `/`, the ephemeral disk an ext4 on `device`."""
    for path in (DISK, ROOT):
        os.makedirs(path, exist_ok=True)
    mount(device, DISK, "ext4", _MS_NOATIME, "discard")
    for name in ("upper", "work"):
        os.makedirs(f"{DISK}/{name}", exist_ok=True)
    # volatile: nothing written here outlives the VM, so a workload's fsync has nothing to wait for.
    options = f"lowerdir=/,upperdir={DISK}/upper,workdir={DISK}/work,redirect_dir=on,volatile"
    mount("overlay", ROOT, "overlay", 0, options)
    _mount_kernel_views()


def _mount_kernel_views() -> None:
    os.makedirs("/dev/pts", exist_ok=True)
    os.makedirs("/dev/shm", exist_ok=True)
    mount("devpts", "/dev/pts", "devpts", _MS_NOSUID | _MS_NOEXEC, "gid=5,mode=620,ptmxmode=666")
    mount("shm", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777")
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for name in ("dev", "proc", "sys"):
        mount(f"/{name}", f"{ROOT}/{name}", None, _MS_BIND | _MS_REC)
    mount("run", f"{ROOT}/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    os.makedirs(f"{ROOT}/run/lock", exist_ok=True)
    os.chmod(f"{ROOT}/run/lock", 0o1777)  # noqa: S103 - as Debian has it
    for target, name in (("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(target, f"/dev/{name}")


def loopback_up() -> None:
    """Bring `lo` up; a fresh network namespace has it down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = bytearray(struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("H", request, 16)
        struct.pack_into("H", request, 16, flags | _IFF_UP)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, request)
