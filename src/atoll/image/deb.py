"""Files out of a Debian package that is not installed."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from atoll.model.errors import ImageError


@contextlib.contextmanager
def open_package(package: Path) -> Iterator[tarfile.TarFile]:
    """The files of `package`; unpacked beside it, because a kernel's 100 MiB are read in no order."""
    unpacked = package.with_suffix(".tar")
    with unpacked.open("wb") as output:
        command = ["dpkg-deb", "--fsys-tarfile", str(package)]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise ImageError(f"{package.name} cannot be unpacked: {done.stderr.decode(errors='replace').strip()}")
    with tarfile.open(unpacked) as tree:
        yield tree
    unpacked.unlink()


def read_matching(tree: tarfile.TarFile, pattern: str) -> bytes:
    """The content of the first regular file whose whole path, without `./`, matches `pattern`."""
    for member in tree:
        if member.isfile() and re.fullmatch(pattern, member.name.removeprefix("./")):
            file = tree.extractfile(member)
            if file is not None:
                return file.read()
    raise ImageError(f"the package has no file {pattern}")
