"""The command line: complete, and naming no file."""

from __future__ import annotations

import itertools
import re

import pytest

from atoll.vmm.command import ColdBoot, ProbeCommand, Restore, VmCommand, VmFds
from atoll.vmm.shape import Accel, Shape

QEMU = "/usr/bin/qemu-system-x86_64"
FDS = VmFds(qmp=10, agent=11, console=12, rootfs=13, disk=14, ram=15)
SHAPE = Shape(1280, 2)


def cold(accel: Accel = Accel.TCG) -> VmCommand:
    return VmCommand(QEMU, accel, SHAPE, FDS, ColdBoot(kernel=16, initramfs=17))


def clone(accel: Accel = Accel.TCG) -> VmCommand:
    return VmCommand(QEMU, accel, SHAPE, FDS, Restore(state=18))


def option(argv: list[str], name: str) -> list[str]:
    return [value for flag, value in itertools.pairwise(argv) if flag == name]


@pytest.mark.parametrize("command", [cold(), clone()])
def test_every_file_is_an_inherited_descriptor(command: VmCommand) -> None:
    paths = re.findall(r"(?:^|=)(/[^,\n]*)", "\n".join(command.argv()[1:]), re.MULTILINE)
    assert paths
    assert all(re.fullmatch(r"/proc/self/fd/\d+|/dev/fdset/\d+", path) for path in paths)


@pytest.mark.parametrize("command", [cold(), clone()])
def test_every_descriptor_that_is_named_is_passed(command: VmCommand) -> None:
    text = " ".join(command.argv())
    named = {int(a or b) for a, b in re.findall(r"/proc/self/fd/(\d+)|fd=(\d+)", text)}
    assert named <= set(command.pass_fds())


def test_a_clone_has_the_devices_of_its_template_in_the_same_order() -> None:
    assert option(cold().argv(), "-device") == option(clone().argv(), "-device")
    assert option(cold().argv(), "-blockdev") == option(clone().argv(), "-blockdev")
    assert option(cold().argv(), "-machine") == option(clone().argv(), "-machine")


def test_ram_is_shared_while_a_template_is_made_and_private_in_a_clone() -> None:
    [made] = [value for value in option(cold().argv(), "-object") if "memory-backend" in value]
    [used] = [value for value in option(clone().argv(), "-object") if "memory-backend" in value]
    assert "share=on" in made
    assert "share=off" in used
    assert "size=1280M" in used


def test_the_rootfs_cannot_be_written() -> None:
    nodes = [value for value in option(clone().argv(), "-blockdev") if "node-name=rootfs" in value]
    assert len(nodes) == 2
    assert all("read-only=on" in value for value in nodes)


def test_everything_that_can_be_denied_is() -> None:
    argv = clone().argv()
    assert option(argv, "-sandbox") == ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert option(argv, "-monitor") == ["none"]
    assert option(argv, "-display") == ["none"]
    assert not [value for value in option(argv, "-device") if "usb" in value or "net" in value]


def test_no_nested_virtualisation_under_kvm() -> None:
    assert option(cold(Accel.KVM).argv(), "-cpu") == ["host,-vmx,-svm"]
    assert option(cold(Accel.KVM).argv(), "-accel") == ["kvm"]


def test_the_emulators_cache_is_bounded() -> None:
    [accel] = option(cold().argv(), "-accel")
    assert re.search(r"tb-size=\d+", accel)


def test_a_probe_has_no_disk() -> None:
    probe = ProbeCommand(QEMU, Accel.KVM, SHAPE, 5, 6, 7)
    assert "-blockdev" not in probe.argv()
    assert probe.pass_fds() == (5, 6, 7)
