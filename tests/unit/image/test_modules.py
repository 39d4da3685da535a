from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Mapping

import pytest
from tests.unit.image.cpio_reader import read

from atoll.image.initramfs import initramfs
from atoll.image.modules import KernelModules
from atoll.model.errors import ImageError

BASE = "./usr/lib/modules/6.12-test"


def module(depends: str) -> bytes:
    return b"\x7fELF...\0license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0"


def tree(modules: Mapping[str, bytes], builtin: str = "") -> KernelModules:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {f"{BASE}/modules.builtin": builtin.encode(), **modules}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return KernelModules(tarfile.open(fileobj=buffer))


def test_dependencies_come_first_and_built_in_ones_are_left_out() -> None:
    modules = tree(
        {
            f"{BASE}/kernel/fs/erofs/erofs.ko.xz": lzma.compress(module("libcrc32c")),
            f"{BASE}/kernel/lib/libcrc32c.ko.xz": lzma.compress(module("")),
            f"{BASE}/kernel/drivers/scsi/sd-mod.ko": module("scsi_mod,libcrc32c"),
            f"{BASE}/kernel/drivers/scsi/scsi_mod.ko": module("scsi-common"),
        },
        builtin="kernel/fs/ext4/ext4.ko\nkernel/drivers/scsi/scsi_common.ko\n",
    )
    order = modules.load_order(["erofs", "sd_mod", "ext4"])
    assert list(order) == ["libcrc32c", "erofs", "scsi_mod", "sd_mod"]
    assert order["erofs"] == module("libcrc32c")


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ImageError, match="virtio_blk"):
        tree({}).load_order(["virtio_blk"])


def test_a_circle_ends() -> None:
    modules = tree({f"{BASE}/a.ko": module("b"), f"{BASE}/b.ko": module("a")})
    with pytest.raises(ImageError, match="circle"):
        modules.load_order(["a"])


def test_the_initramfs_lists_modules_in_their_order() -> None:
    files = {name: content for name, _, content in read(initramfs("#!script", b"\x7fELF", {"b": b"2", "a": b"1"}))}
    assert files["lib/order"] == b"b.ko\na.ko\n"
    assert files["lib/a.ko"] == b"1"
    assert files["init"] == b"#!script"
    assert {"base", "dev", "proc", "sys"} <= set(files)


def test_a_busybox_that_is_no_program_is_refused() -> None:
    with pytest.raises(ImageError, match="busybox"):
        initramfs("#!script", b"", {})
