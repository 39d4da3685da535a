"""What a state directory holds and nobody needs: broken-off builds, stale templates, images that are not current."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atoll.config import Config
from atoll.image import ImageStore, agent_digest, scratch
from atoll.model.errors import AtollError
from atoll.vmm.confine import find_qemu, qemu_version
from atoll.vmm.disk import GIB
from atoll.vmm.shape import Accel, Shape
from atoll.vmm.template import TemplateKey, TemplateStore


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that was found; `bytes` on the disk, without holes."""

    kind: str
    name: str
    bytes: int


class Collector:
    """Finds garbage, and removes it unless `keep_all`. `notes` says what could not be looked at, and why."""

    def __init__(self, config: Config, *, keep_all: bool) -> None:
        self._config = config
        self._keep_all = keep_all
        self._images = ImageStore(config.server.images_dir)
        self._templates = TemplateStore(config.server.state_dir / "templates")
        self.notes: list[str] = []

    def collect(self, *, images: bool) -> list[Garbage]:
        """What there is, and after this is no more."""
        found = [*self._broken_builds(), *self._broken_templates(), *self._stale_templates()]
        return [*found, *self._old_images()] if images else found

    def _broken_builds(self) -> Iterator[Garbage]:
        if not self._images.root.is_dir():
            return
        with scratch.try_lock(self._images.root) as free:
            if not free:
                self.notes.append("an image is being built; builds are not looked at")
                return
            for paths in scratch.interrupted(self._images.root):
                yield Garbage("broken-off build", paths[0].name, sum(map(size_on_disk, paths)))
            if not self._keep_all:
                scratch.remove_interrupted(self._images.root)

    def _broken_templates(self) -> Iterator[Garbage]:
        with self._templates.broken_off() as broken:
            for path in broken:
                yield Garbage("broken-off template", path.name, size_on_disk(path))
                if not self._keep_all:
                    self._templates.remove(path)

    def _stale_templates(self) -> Iterator[Garbage]:
        try:
            key = self._template_key()
        except AtollError as error:
            self.notes.append(f"templates are not looked at: {error.message}")
            return
        for path in self._templates.stale(key) if key is not None else ():
            found = Garbage("stale template", path.name, size_on_disk(path))
            if not self._templates.in_use(path) and (self._keep_all or self._templates.remove(path)):
                yield found

    def _template_key(self) -> TemplateKey | None:
        """Of a template that would be made today, but for its size; None without an image."""
        image = self._images.current()
        if image is None:
            return None
        return TemplateKey(
            image_digest=image.digest,
            agent_digest=agent_digest(),
            shape=Shape(0, 0),
            accel=Accel.TCG,
            qemu_version=qemu_version(find_qemu()),
            disk_bytes=self._config.limits.disk_gib * GIB,
        )

    def _old_images(self) -> Iterator[Garbage]:
        current = self._images.current()
        if current is None:
            return
        if _server_runs(self._config.server.state_dir):
            self.notes.append("a server runs, and may use an older image; images are kept")
            return
        for image in self._images.list():
            if image.digest != current.digest:
                size = size_on_disk(image.rootfs.parent)
                if not self._keep_all:
                    self._images.remove(image.digest)
                yield Garbage("old image", image.digest, size)


def _server_runs(state_dir: Path) -> bool:
    """Whether somebody has the lock that a server takes."""
    try:
        fd = os.open(state_dir / "server.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def size_on_disk(path: Path) -> int:
    """Bytes of a directory and all in it; what cannot be read counts nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in (".", *files):
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total
