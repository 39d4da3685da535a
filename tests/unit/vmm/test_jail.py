"""The jail's command line, and the jail itself with a small program in QEMU's place."""

from __future__ import annotations

import dataclasses
import os

from atoll.vmm.jail import Jail, Rlimits, prefix_dirs
from atoll.vmm.shape import Accel

JAIL = Jail("/usr/bin/qemu-system-x86_64", Accel.TCG, Rlimits(file_bytes=1000))


def following(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_kvm_is_in_the_jail_only_when_it_is_used() -> None:
    assert "/dev/kvm" not in JAIL.argv()
    assert "/dev/kvm" in dataclasses.replace(JAIL, accel=Accel.KVM).argv()


def test_root_becomes_nobody_else() -> None:
    argv = dataclasses.replace(JAIL, uid=2_000_000_007).argv()
    assert following(argv, "--reuid") == following(argv, "--regid") == "2000000007"
    assert {"--clear-groups", "--no-new-privs", "--bounding-set=-all"} <= set(argv)
    assert argv.index("setpriv") < argv.index("bwrap")


def test_an_ordinary_user_stays_himself() -> None:
    assert "setpriv" not in JAIL.argv()


def test_every_namespace_is_its_own() -> None:
    for name in ("user", "pid", "ipc", "uts", "net"):
        assert f"--unshare-{name}" in JAIL.argv()


def test_nothing_of_the_host_is_writable() -> None:
    argv = JAIL.argv()
    assert not {"--bind", "--bind-try", "--dev-bind", "--dev-bind-try"} & set(argv)
    assert following(argv, "--remount-ro") == "/"


def test_there_is_nothing_to_run_but_qemu() -> None:
    binds = [path for flag, path in zip(JAIL.argv(), JAIL.argv()[1:], strict=False) if flag.startswith("--ro-bind")]
    assert [path for path in binds if "/bin" in path or path in ("/usr", "/")] == [JAIL.qemu]


def test_limits() -> None:
    limits = Rlimits(file_bytes=5, open_files=6, address_space_bytes=7, processes=8).argv()
    assert {"--core=0:0", "--fsize=5:5", "--nofile=6:6", "--as=7:7", "--nproc=8:8"} <= set(limits)


def test_the_cgroup_is_entered_before_anything_else() -> None:
    argv = dataclasses.replace(JAIL, cgroup_procs="/cg/x/cgroup.procs").argv()
    assert argv[0] == "/bin/sh"
    assert argv[3] == "/cg/x/cgroup.procs"


def test_a_qemu_of_ones_own_brings_its_libraries() -> None:
    assert prefix_dirs("/opt/qemu/bin/qemu-system-x86_64") == ["/opt/qemu/lib", "/opt/qemu/share"]
    assert prefix_dirs("/usr/bin/qemu-system-x86_64") == []


def test_symlinks_of_a_merged_usr_are_kept() -> None:
    argv = dataclasses.replace(JAIL, links={"/lib64": "usr/lib64"}).argv()
    at = argv.index("--symlink")
    assert argv[at : at + 3] == ["--symlink", "usr/lib64", "/lib64"]
    assert os.path.isabs(JAIL.qemu)
