"""What a host has and lacks, one finding per thing, each with its remedy. Looks only; changes nothing."""

from __future__ import annotations

import enum
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atoll.image import host_tools
from atoll.model.errors import ImageError

MIN_QEMU = (7, 2)
MIN_FREE_GIB = 4
MIN_MEMORY_MIB = 2048
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# Program to the Debian package that has it, and what fails without it.
REQUIRED = {
    "qemu-system-x86_64": ("qemu-system-x86", "no sandbox can run"),
    "bwrap": ("bubblewrap", "a VMM cannot be jailed"),
    "setpriv": ("util-linux", "a VMM cannot be jailed"),
    "prlimit": ("util-linux", "a VMM cannot be limited"),
    "choom": ("util-linux", "a VMM cannot be marked as the first to go when memory runs out"),
    "mkfs.ext4": ("e2fsprogs", "no sandbox's disk can be made"),
    "mmdebstrap": ("mmdebstrap", "`atoll image build` fails"),
    "mkfs.erofs": ("erofs-utils", "`atoll image build` fails"),
    "zstd": ("zstd", "`atoll image build` fails"),
}
REQUIRED_WITHOUT_ROOT = {"newuidmap": ("uidmap", "`atoll image build` fails")}
LATER = {
    "qemu-img": ("qemu-utils", "volumes will not work"),
    "nft": ("nftables", "sandboxes will have no network"),
    "ip": ("iproute2", "sandboxes will have no network"),
}


class Verdict(enum.Enum):
    """`MISSING`: a sandbox will not run; `WARNING`: it will, but slower, less confined or with less."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


def host_findings(state_dir: Path) -> Iterator[Finding]:
    """Everything that needs no guest image."""
    yield _python()
    yield _machine()
    yield from _programs(REQUIRED, Verdict.MISSING)
    if os.geteuid() != 0:
        yield from _programs(REQUIRED_WITHOUT_ROOT, Verdict.MISSING)
    yield _image_build()
    yield from _programs(LATER, Verdict.WARNING)
    yield _user_namespaces()
    yield _kvm()
    yield _memory()
    yield _state_dir(state_dir)


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding("python", Verdict.OK if fine else Verdict.MISSING, platform.python_version(), "install Python 3.11")


def _machine() -> Finding:
    fine = sys.platform == "linux" and platform.machine() == "x86_64"
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Finding("machine", Verdict.OK if fine else Verdict.MISSING, found, "use Linux on x86_64")


def _programs(programs: dict[str, tuple[str, str]], when_missing: Verdict) -> Iterator[Finding]:
    for name, (package, loss) in programs.items():
        path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_PATH]))
        remedy = f"`apt-get install {package}`"
        if path is None:
            yield Finding(name, when_missing, f"not installed: {loss}", remedy)
        elif name == "qemu-system-x86_64":
            yield _qemu(path)
        else:
            yield Finding(name, Verdict.OK, path)


def _qemu(path: str) -> Finding:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    match = re.search(r"version (\d+)\.(\d+)\S*( \([^)]*\))?", done.stdout)
    if match is None:
        reason = (done.stderr.strip() or "it prints no version").splitlines()[0]
        return Finding("qemu-system-x86_64", Verdict.MISSING, f"{path} does not work: {reason}", "install it again")
    fine = (int(match[1]), int(match[2])) >= MIN_QEMU
    wanted = ".".join(map(str, MIN_QEMU))
    remedy = "" if fine else f"install QEMU {wanted} or newer"
    return Finding("qemu-system-x86_64", Verdict.OK if fine else Verdict.MISSING, f"{path}, {match[0]}", remedy)


def _image_build() -> Finding:
    """What only a build needs, as the build itself checks it: an ordinary user's subordinate ids among it."""
    try:
        host_tools.check()
    except ImageError as error:
        found, _, remedy = error.message.partition("; ")
        return Finding("image build", Verdict.WARNING, found, remedy)
    return Finding("image build", Verdict.OK, "has all it needs")


def _user_namespaces() -> Finding:
    """By making one, as the jail does: the switches that forbid it differ by distribution."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Finding("user namespaces", Verdict.WARNING, "not tried without bwrap", "`apt-get install bubblewrap`")
    command = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0:
        return Finding("user namespaces", Verdict.OK, "can be made")
    return Finding("user namespaces", Verdict.MISSING, done.stderr.strip()[-300:] or "refused", _namespace_remedy())


def _namespace_remedy() -> str:
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "AppArmor restricts them: give bwrap a profile with `userns,`, or run atoll as root"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "`sysctl kernel.unprivileged_userns_clone=1`, or run atoll as root"
    return "allow them (`sysctl user.max_user_namespaces`); inside a container, start it with the right to nest"


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None


def _kvm() -> Finding:
    """Only whether it can be opened: whether a kernel boots with it is for the accelerator's probe to say."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        remedy = "turn virtualisation on (firmware, or the host of this VM) and load kvm_intel or kvm_amd"
        return Finding("/dev/kvm", Verdict.WARNING, "does not exist; sandboxes will be emulated", remedy)
    except OSError as error:
        return Finding("/dev/kvm", Verdict.WARNING, f"cannot be opened: {error.strerror}", "add this user to group kvm")
    return Finding("/dev/kvm", Verdict.OK, "can be opened")


def _memory() -> Finding:
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available_mib = int(facts["MemAvailable"].split()[0]) // 1024
    fine = available_mib >= MIN_MEMORY_MIB
    found = f"{available_mib} MiB available"
    return Finding("memory", Verdict.OK if fine else Verdict.WARNING, found, f"{MIN_MEMORY_MIB} MiB are comfortable")


def _state_dir(state_dir: Path) -> Finding:
    existing = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        remedy = "give this user the right to write there, or set server.state_dir"
        return Finding("state directory", Verdict.MISSING, f"{state_dir}: {existing} is not writable", remedy)
    free_gib = shutil.disk_usage(existing).free / 1024**3
    fine = free_gib >= MIN_FREE_GIB
    found = f"{state_dir}, {free_gib:.1f} GiB free"
    return Finding("state directory", Verdict.OK if fine else Verdict.WARNING, found, f"keep {MIN_FREE_GIB} GiB free")
