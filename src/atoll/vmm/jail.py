"""The jail around QEMU, as a pure function of a few values: a command in front of a command.

`prlimit` sets limits, `setpriv` (when root) gives the VM a user id that nothing else on the host
has, `bwrap` builds namespaces in which there are QEMU, its libraries and firmware, and nothing
else: no shell, no network, no other process, no file of the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from atoll.vmm.shape import Accel

# QEMU, its shared libraries and firmware: not /usr, so that the jail has nothing else to run.
SYSTEM_DIRS = ("/usr/lib", "/usr/lib64", "/usr/share/qemu", "/usr/share/seabios", "/lib", "/lib64")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")

# Killed before the server, when the host runs out of memory.
OOM_SCORE_ADJ = 500


@dataclass(frozen=True, slots=True)
class Rlimits:
    """Bounds the kernel keeps for one VMM; None leaves one as it is. Bytes, except the counts."""

    file_bytes: int
    open_files: int = 128
    address_space_bytes: int | None = None
    processes: int | None = None

    def argv(self) -> list[str]:
        limits = ["--core=0:0", "--memlock=0:0", f"--nofile={self.open_files}:{self.open_files}"]
        limits.append(f"--fsize={self.file_bytes}:{self.file_bytes}")
        if self.address_space_bytes is not None:
            limits.append(f"--as={self.address_space_bytes}:{self.address_space_bytes}")
        if self.processes is not None:
            limits.append(f"--nproc={self.processes}:{self.processes}")
        return ["prlimit", *limits, "--"]


@dataclass(frozen=True, slots=True)
class Jail:
    """One jail. `uid` None: stay the user that runs atoll (it is not root)."""

    qemu: str
    accel: Accel
    rlimits: Rlimits
    uid: int | None = None
    groups: tuple[int, ...] = ()
    cgroup_procs: str | None = None
    links: dict[str, str] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """What stands in front of QEMU's own argv."""
        return [
            *_enter_cgroup(self.cgroup_procs),
            "choom", "-n", str(OOM_SCORE_ADJ), "--",
            *self.rlimits.argv(),
            *_become(self.uid, self.groups),
            *_bubble(self),
        ]  # fmt: skip


def _enter_cgroup(procs: str | None) -> list[str]:
    """Joined by the first process of the chain, so that no child can be left outside."""
    if procs is None:
        return []
    return ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"', procs]


def _become(uid: int | None, groups: tuple[int, ...]) -> list[str]:
    if uid is None:
        return []
    extra = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    who = ["--reuid", str(uid), "--regid", str(uid), *extra]
    return ["setpriv", *who, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def _bubble(jail: Jail) -> Iterator[str]:
    yield "bwrap"
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net")
    yield from ("--unshare-cgroup-try", "--disable-userns", "--hostname", "vmm")
    yield from ("--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--clearenv")
    yield from _system(jail)
    yield from ("--proc", "/proc", "--dev", "/dev")
    if jail.accel is Accel.KVM:
        yield from ("--dev-bind", "/dev/kvm", "/dev/kvm")
    yield from ("--size", "16777216", "--tmpfs", "/tmp", "--chdir", "/", "--remount-ro", "/", "--")


def _system(jail: Jail) -> Iterator[str]:
    for path in SYSTEM_DIRS:
        if path in jail.links:
            yield from ("--symlink", jail.links[path], path)
        else:
            yield from ("--ro-bind-try", path, path)
    for path in SYSTEM_FILES:
        yield from ("--ro-bind-try", path, path)
    yield from ("--ro-bind", jail.qemu, jail.qemu)
    for path in prefix_dirs(jail.qemu):
        yield from ("--ro-bind-try", path, path)


def prefix_dirs(qemu: str) -> list[str]:
    """The library and firmware directories of a QEMU that was not installed by the distribution."""
    prefix = PurePosixPath(qemu).parent.parent
    if str(prefix) in ("/usr", "/"):
        return []
    return [str(prefix / "lib"), str(prefix / "share")]
