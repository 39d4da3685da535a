"""Images by digest: `<root>/<hex>/{rootfs.erofs,vmlinux,initramfs,manifest.json}` and the pointer `current`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from atoll.image import manifest, scratch
from atoll.model.errors import ImageError

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_CURRENT = "current"
_REBUILD = "build it again with `atoll image build --force`"


@dataclass(frozen=True)
class GuestImage:
    """One image; `digest` is `sha256:…`, `initramfs` a cpio without the agent, `inputs` what it was made from."""

    digest: str
    rootfs: Path
    kernel: Path
    initramfs: Path
    size_bytes: int
    created_at: datetime
    inputs: str


class ImageStore:
    """The images under `root`; every method but `add`, `select`, `remove` and `collect` only reads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def current(self) -> GuestImage | None:
        """The image that new sandboxes get, or None before the first build."""
        try:
            name = os.readlink(self.root / _CURRENT)
        except FileNotFoundError:
            return None
        return self._load(name) if (self.root / name).is_dir() else None

    def get(self, digest: str) -> GuestImage:
        name = _directory_name(digest)
        if not (self.root / name).is_dir():
            raise ImageError(f"no guest image has the digest {digest}; `atoll image ls` shows those that exist")
        return self._load(name)

    def list(self) -> Sequence[GuestImage]:
        """Every image, the newest first; one whose manifest is unreadable is left to `verify`."""
        return sorted(self._readable(), key=lambda image: image.created_at, reverse=True)

    def verify(self, digest: str | None = None) -> None:
        """Hash the files of `digest` (default: of every image) again; ImageError names the first that differs."""
        names = self._names() if digest is None else [_directory_name(digest)]
        for name in names:
            self._verify(name)

    def add(self, built: Path) -> GuestImage:
        """Move the finished directory `built` to its name and make it current.

        Of an image that is there already only the manifest is new: the files may be in use.
        """
        name = _directory_name(manifest.read_manifest(built / manifest.NAME).digest)
        target = self.root / name
        if self._intact(name):
            (built / manifest.NAME).rename(target / manifest.NAME)
        else:
            shutil.rmtree(target, ignore_errors=True)
            built.rename(target)
            _sync_directory(self.root)
        self.select(name)
        return self._load(name)

    def select(self, digest: str) -> None:
        """Make `digest` the image that new sandboxes get."""
        pending = self.root / f".{_CURRENT}"
        pending.unlink(missing_ok=True)
        pending.symlink_to(_directory_name(digest))
        pending.rename(self.root / _CURRENT)
        _sync_directory(self.root)

    def remove(self, digest: str) -> None:
        shutil.rmtree(self.root / _directory_name(digest), ignore_errors=True)

    def collect(self, keep: frozenset[str] = frozenset()) -> Sequence[str]:
        """Remove interrupted builds, and images that are neither current nor in `keep`; their digests are returned."""
        current = self.current()
        wanted = {_directory_name(digest) for digest in keep}
        wanted |= {_directory_name(current.digest)} if current else set()
        with scratch.try_lock(self.root) as free:
            if not free:
                return []
            scratch.remove_interrupted(self.root)
            stale = [name for name in self._names() if name not in wanted]
            for name in stale:
                shutil.rmtree(self.root / name)
        return [f"sha256:{name}" for name in stale]

    def _names(self) -> Sequence[str]:
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in self.root.iterdir() if _HEX.match(entry.name))

    def _readable(self) -> Iterator[GuestImage]:
        for name in self._names():
            with contextlib.suppress(ImageError):
                yield self._load(name)

    def _load(self, name: str) -> GuestImage:
        directory = self.root / name
        facts = manifest.read_manifest(directory / manifest.NAME)
        return GuestImage(
            digest=facts.digest,
            rootfs=directory / manifest.ROOTFS,
            kernel=directory / manifest.KERNEL,
            initramfs=directory / manifest.INITRAMFS,
            size_bytes=sum(file.size_bytes for file in facts.files.values()),
            created_at=datetime.fromisoformat(facts.created_at),
            inputs=facts.inputs,
        )

    def _intact(self, name: str) -> bool:
        try:
            self._verify(name)
        except ImageError:
            return False
        return True

    def _verify(self, name: str) -> None:
        directory = self.root / name
        facts = manifest.read_manifest(directory / manifest.NAME)
        for file, expected in facts.files.items():
            _verify_file(directory / file, expected)
        if facts.digest != f"sha256:{name}" or manifest.image_digest(facts.files) != facts.digest:
            raise ImageError(f"{directory / manifest.NAME} does not describe the image {name}; {_REBUILD}")


def _verify_file(path: Path, expected: manifest.FileFacts) -> None:
    try:
        actual = manifest.file_facts(path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; {_REBUILD}") from error
    if actual != expected:
        raise ImageError(f"{path} is not the file that was built (sha256 {actual.sha256}); {_REBUILD}")


def _directory_name(digest: str) -> str:
    name = digest.removeprefix("sha256:")
    if not _HEX.match(name):
        raise ImageError(f"{digest!r} is not the digest of an image; one looks like sha256: and 64 hex digits")
    return name


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
