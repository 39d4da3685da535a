"""Builds an image: downloads, mmdebstrap, kernel, initramfs, manifest, and the rename that makes it visible."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from atoll.image import additions, apt, bootstrap, deb, host_tools, kernel, manifest, recipe, scratch, wheels
from atoll.image.apt import Archive
from atoll.image.bootstrap import Progress
from atoll.image.initramfs import initramfs
from atoll.image.modules import KernelModules
from atoll.image.store import GuestImage, ImageStore
from atoll.model.errors import ImageError


def build_image(
    store: ImageStore, progress: Progress, *, force: bool = False, debian_mirror: str | None = None
) -> GuestImage:
    """The current image, built if the store has none made from today's recipe, or if `force`.

    Blocks for about a minute. `debian_mirror` ("URL" or "URL SECURITY_URL"; default: the variable
    ATOLL_IMAGE_DEBIAN_MIRROR) takes the place of the host's own apt sources.
    """
    archive = apt.find_archive(recipe.SUITE, debian_mirror or os.environ.get(apt.MIRROR_VARIABLE))
    inputs = recipe.inputs_digest(archive)
    progress("waiting for the image store", None)
    with scratch.lock(store.root) as held:
        current = store.current()
        if current is not None and current.inputs == inputs and not force:
            return current
        scratch.remove_interrupted(store.root)
        host_tools.check()
        try:
            return _build(store, held, archive, inputs, progress)
        except OSError as error:
            raise ImageError(f"the image cannot be built: {error}") from error


def _build(store: ImageStore, held: int, archive: Archive, inputs: str, progress: Progress) -> GuestImage:
    with scratch.workplace(store.root, held) as place:
        build = place.build
        _gather(build, archive, progress)
        bootstrap.bootstrap(place, apt.host_settings(), progress)
        size = (build / "rootfs.erofs").stat().st_size
        progress(f"unpacking the kernel; the root file system has {size / (1 << 20):.0f} MiB", 0.88)
        image = build / "image"
        _assemble(build, image)
        progress("hashing the image", 0.94)
        facts = _describe(build, image, inputs)
        (image / manifest.NAME).write_text(facts.to_json())
        _publish(image)
        built = store.add(image)
    progress(f"image {built.digest[:19]}… of {built.size_bytes / (1 << 20):.0f} MiB is ready", 1.0)
    return built


def _gather(build: Path, archive: Archive, progress: Progress) -> None:
    progress(f"downloading {' and '.join(wheels.pins())}", 0.0)
    (build / "wheels").mkdir()
    found = wheels.download(build / "wheels")
    size = sum(path.stat().st_size for path in found.values())
    progress(f"unpacking {size / (1 << 20):.0f} MiB of Deno and Node", 0.10)
    additions.write(build / bootstrap.ADDITIONS, found, archive.guest_sources())
    (build / bootstrap.SOURCES).write_text(archive.build_sources())


def _assemble(build: Path, image: Path) -> None:
    """The three files of the image, from mmdebstrap's results."""
    image.mkdir()
    (build / "rootfs.erofs").rename(image / manifest.ROOTFS)
    with deb.open_package(build / "busybox.deb") as tree:
        busybox = deb.read_matching(tree, r"(usr/)?bin/busybox")
    with deb.open_package(build / "kernel.deb") as tree:
        (image / manifest.KERNEL).write_bytes(kernel.vmlinux(deb.read_matching(tree, r"boot/vmlinuz-.*")))
        modules = KernelModules(tree).load_order()
    (image / manifest.INITRAMFS).write_bytes(initramfs(recipe.text("init.sh"), busybox, modules))


def _describe(build: Path, image: Path, inputs: str) -> manifest.Manifest:
    files = {name: manifest.file_facts(image / name) for name in manifest.FILES}
    return manifest.Manifest(
        digest=manifest.image_digest(files),
        inputs=inputs,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=files,
        packages=(*(build / "packages").read_text().split(), *wheels.pins()),
        tools=host_tools.versions(),
    )


def _publish(image: Path) -> None:
    """Fixed modes whatever the umask (the state directory above is private), and everything on the disk."""
    image.chmod(0o755)
    for path in image.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
