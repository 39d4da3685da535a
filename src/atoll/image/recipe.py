"""The recipe: what goes into an image, and the digest of all that decides its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from atoll.image.apt import Archive
from atoll.image.manifest import canonical_digest

# Raise it when code of this room changes what a build gives; the files in recipe/ count by themselves.
VERSION = 1
SUITE = "trixie"
# 2025-01-01: every time stamp in an image. After 1980, which is the first year that a zip can name.
EPOCH_S = 1735689600
DIRECTORY = Path(__file__).parent / "recipe"


def text(name: str) -> str:
    return (DIRECTORY / name).read_text()


def packages() -> list[str]:
    return [line for line in text("packages.txt").splitlines() if line and not line.startswith("#")]


def root_files() -> Iterator[tuple[str, bytes]]:
    """Name in the guest and content of each file under recipe/root."""
    root = DIRECTORY / "root"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes()


def inputs_digest(archive: Archive) -> str:
    """What decides an image's content, but for the state of the archive on the day: that is what `--force` is for."""
    files = {
        path.relative_to(DIRECTORY).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in DIRECTORY.rglob("*")
        if path.is_file()
    }
    return canonical_digest({"version": VERSION, "recipe": files, "sources": archive.guest_sources()})
