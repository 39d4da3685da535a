"""The first root of the guest: a shell, the modules that the real root needs, and a script to mount it."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.image import cpio
from atoll.model.errors import ImageError

_DIRECTORIES = ("base", "bin", "dev", "lib", "proc", "sys")


def initramfs(init: str, busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The archive; `modules` are loaded in their order, by the list /lib/order."""
    if not busybox.startswith(b"\x7fELF"):
        raise ImageError("the package busybox-static has no busybox that can run")
    names = [f"{name}.ko" for name in modules]
    entries = [cpio.directory(name) for name in _DIRECTORIES]
    entries += [cpio.regular(f"lib/{name}.ko", content) for name, content in modules.items()]
    entries.append(cpio.regular("lib/order", "".join(f"{name}\n" for name in names).encode()))
    entries.append(cpio.regular("bin/busybox", busybox, 0o755))
    entries.append(cpio.regular("init", init.encode(), 0o755))
    return cpio.archive(entries)
