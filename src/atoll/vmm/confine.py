"""What this host lets us confine a VMM with: decided once, shown by `atoll doctor`, leased for each VM."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.model.errors import LaunchFailed
from atoll.vmm.cgroup import CgroupLimits, CgroupTree, NotDelegated
from atoll.vmm.jail import SYSTEM_DIRS, Jail, Rlimits
from atoll.vmm.shape import Accel, Shape
from atoll.vmm.slots import UidSlots, slot_base

_MIB = 1024 * 1024
# Emulator, its translation cache, firmware, 64 I/O threads' stacks; measured peak of a VM is RAM + 0.6 GiB.
_ADDRESS_SPACE_OVER_RAM = 2560 * _MIB
_THREADS = 160
_TOOLS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux", "choom": "util-linux"}


@dataclass(frozen=True, slots=True)
class JailReport:
    """How VMMs are confined on this host, in words for the operator. `problem` None: it works."""

    identity: str
    cgroup: str
    rlimits: str
    syscalls: str
    problem: str | None = None


class Confinement:
    """Leases jails. Made once per server by `Confinement.detect`."""

    def __init__(
        self,
        qemu: str,
        *,
        slots: UidSlots | None = None,
        cgroups: CgroupTree | None = None,
        no_cgroup_because: str = "",
        kvm_groups: tuple[int, ...] = (),
        kvm_obstacle: str | None = None,
    ) -> None:
        self.qemu = qemu
        self.cgroups = cgroups
        self._slots = slots
        self._no_cgroup_because = no_cgroup_because
        self.kvm_obstacle = kvm_obstacle
        self._kvm_groups = kvm_groups
        self._links = {path: os.readlink(path) for path in SYSTEM_DIRS if os.path.islink(path)}

    @classmethod
    def detect(cls, qemu: str, lock_dir: Path = Path("/run/atoll/uids")) -> Confinement:
        """Look at this host. Blocking; LaunchFailed when a tool is missing."""
        require_tools()
        try:
            cgroups, because = CgroupTree.find(), ""
        except NotDelegated as error:
            cgroups, because = None, str(error)
        slots, groups, obstacle = None, tuple[int, ...](), None
        if os.geteuid() == 0:
            slots = _slots(lock_dir)
            groups, obstacle = _kvm_for_slots()
        return cls(
            qemu, slots=slots, cgroups=cgroups, no_cgroup_because=because, kvm_groups=groups, kvm_obstacle=obstacle
        )

    @contextmanager
    def jail(self, shape: Shape, file_bytes: int, accel: Accel, *, own_id: bool = True) -> Iterator[Jail]:
        """A jail for one VM of that size, whose user id and cgroup are given back when the context ends.

        `file_bytes` bounds the size of any file that the VMM can write. Without `own_id` it stays
        this user: for guests of our own only.
        """
        with ExitStack() as stack:
            uid = stack.enter_context(self._slots.lease()) if self._slots and own_id else None
            procs = None
            if self.cgroups is not None:
                group = self.cgroups.group(secrets.token_hex(8), CgroupLimits.for_shape(shape))
                procs = str(stack.enter_context(group) / "cgroup.procs")
            yield Jail(
                qemu=self.qemu,
                accel=accel,
                rlimits=self._rlimits(shape, file_bytes),
                uid=uid,
                groups=self._kvm_groups if accel is Accel.KVM else (),
                cgroup_procs=procs,
                links=self._links,
            )

    def _rlimits(self, shape: Shape, file_bytes: int) -> Rlimits:
        return Rlimits(
            file_bytes=file_bytes,
            # The cgroup bounds real memory; where there is none, address space is the next best.
            address_space_bytes=None if self.cgroups else shape.memory_mib * _MIB + _ADDRESS_SPACE_OVER_RAM,
            # Counted per user id: only meaningful where a VM has one of its own.
            processes=_THREADS if self._slots else None,
        )

    def report(self) -> JailReport:
        """Try the jail and say how it confines. Blocking (about 0.1 s)."""
        own = "each VMM has a user id of its own"
        same = "every VMM runs as this user, in a user namespace (start atoll as root to give each an id of its own)"
        fallback = f"none: {self._no_cgroup_because}; memory is bounded by address space, processors are not bounded"
        return JailReport(
            identity=own if self._slots else same,
            cgroup=f"limits in {self.cgroups.root}" if self.cgroups else fallback,
            rlimits="core, memlock, open files, file size" + ("" if self.cgroups else ", address space"),
            syscalls="QEMU's seccomp filter, everything that can be denied is",
            problem=self._try(),
        )

    def _try(self) -> str | None:
        with self.jail(Shape(768, 1), _MIB, Accel.TCG) as jail:
            command = [*jail.argv(), self.qemu, "--version"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode == 0:
            return None
        said = done.stderr.strip()[-500:]
        return f"the jail does not start ({said}){_remedy()}"


def find_qemu() -> str:
    """The absolute path of QEMU for x86-64 guests; LaunchFailed when there is none."""
    path = shutil.which("qemu-system-x86_64")
    if path is None:
        raise LaunchFailed("qemu-system-x86_64 is not installed; install qemu-system-x86")
    return os.path.realpath(path)


def qemu_version(qemu: str) -> str:
    """QEMU's own words, with the distribution's revision. Blocking (about 30 ms)."""
    done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.partition("\n")[0].removeprefix("QEMU emulator version ").strip()


def require_tools() -> None:
    """LaunchFailed that names each missing program and its package."""
    missing = {tool: package for tool, package in _TOOLS.items() if shutil.which(tool) is None}
    if missing:
        names, packages = ", ".join(missing), " ".join(sorted(set(missing.values())))
        raise LaunchFailed(f"not installed: {names}; install {packages}")


def _slots(lock_dir: Path) -> UidSlots:
    base = slot_base(Path("/proc/self/uid_map").read_text())
    if base is None:
        raise LaunchFailed(
            "root here is mapped to too few user ids to give each VM its own; start atoll as an ordinary user"
        )
    return UidSlots(lock_dir, base)


def _kvm_for_slots() -> tuple[tuple[int, ...], str | None]:
    """How an unprivileged id of ours can open KVM: (groups it needs, what is in the way)."""
    try:
        found = os.stat("/dev/kvm")
    except OSError:
        return (), None
    if found.st_mode & 0o006 == 0o006:
        return (), None
    if found.st_mode & 0o060 == 0o060 and found.st_gid != 0:
        return (found.st_gid,), None
    remedy = "give it a group of its own: chgrp kvm /dev/kvm && chmod 660 /dev/kvm"
    return (), f"only root can open /dev/kvm, and no VMM runs as root; {remedy}"


def _remedy() -> str:
    switch = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if switch.exists() and switch.read_text().strip() == "1":
        return "; AppArmor restricts user namespaces here: give bwrap a profile that allows them (userns,)"
    return "; user namespaces must be allowed (sysctl user.max_user_namespaces)"
