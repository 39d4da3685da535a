from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess

import pytest

from atoll.image import kernel
from atoll.model.errors import ImageError

ELF = b"\x7fELF" + bytes(range(256)) * 64


def bzimage(payload: bytes, *, version: int = 0x020F, setup_sectors: int = 3, offset: int = 96) -> bytes:
    setup = bytearray((setup_sectors + 1) * 512)
    setup[0x1F1] = setup_sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, offset, len(payload))
    return bytes(setup) + b"\xcc" * offset + payload + b"\xcc" * 77


def with_size(packed: bytes) -> bytes:
    return packed + struct.pack("<I", len(ELF))


def by_tool(*command: str) -> bytes:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    return subprocess.run(command, input=ELF, capture_output=True, check=True).stdout


def test_an_elf_file_is_one_already() -> None:
    assert kernel.vmlinux(ELF) == ELF


def test_gzip_and_xz() -> None:
    assert kernel.vmlinux(bzimage(gzip.compress(ELF))) == ELF
    assert kernel.vmlinux(bzimage(with_size(lzma.compress(ELF, check=lzma.CHECK_CRC32)))) == ELF


def test_zstd() -> None:
    assert kernel.vmlinux(bzimage(with_size(by_tool("zstd", "-qc")))) == ELF


def test_lz4() -> None:
    assert kernel.vmlinux(bzimage(with_size(by_tool("lz4", "-lqc")))) == ELF


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"MZ" + bytes(4096),
        bzimage(gzip.compress(ELF), version=0x0207),
        bzimage(gzip.compress(ELF))[:2200],
        bzimage(b"????" * 10),
        bzimage(gzip.compress(b"not a kernel")),
        bzimage(b"\x1f\x8b" + b"\xff" * 40),
    ],
)
def test_anything_else_is_refused(image: bytes) -> None:
    with pytest.raises(ImageError):
        kernel.vmlinux(image)


def test_a_broken_zstd_stream_is_refused() -> None:
    broken = bytearray(by_tool("zstd", "-qc"))
    broken[12:40] = bytes(28)
    with pytest.raises(ImageError, match="zstd"):
        kernel.vmlinux(bzimage(with_size(bytes(broken))))
