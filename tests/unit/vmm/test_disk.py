"""The ephemeral disk."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from atoll.vmm import disk


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "disk"
    disk.make_disk(path, disk.GIB)
    return path


def test_a_new_disk_is_ext4_and_sparse(template: Path) -> None:
    with template.open("rb") as file:
        file.seek(1024 + 56)
        assert file.read(2) == b"\x53\xef"
    found = template.stat()
    assert found.st_size == disk.GIB
    assert found.st_blocks * 512 < 16 * 1024 * 1024


@pytest.mark.parametrize("reflink", [True, False])
def test_a_clone_is_equal_unnamed_and_its_own(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reflink: bool
) -> None:
    if not reflink:

        def refuse(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no reflinks here")

        monkeypatch.setattr(fcntl, "ioctl", refuse)
    source = os.open(template, os.O_RDONLY)
    clone = disk.clone_disk(source, tmp_path)
    head = os.pread(source, 1 << 20, 0)
    assert os.pread(clone, 1 << 20, 0) == head
    assert os.fstat(clone).st_nlink == 0
    assert list(tmp_path.iterdir()) == []
    os.pwrite(clone, b"\xff" * 4096, 0)
    assert os.pread(source, 1 << 20, 0) == head
    os.close(clone)
    os.close(source)


def test_where_files_must_have_names_the_name_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def without_tmpfile(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", without_tmpfile)
    fd = disk.unnamed_file(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)
