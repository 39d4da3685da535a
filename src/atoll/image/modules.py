"""Which kernel modules the guest needs before it has a root, in an order in which they load.

Dependencies are read from the modules themselves: modules.dep is not in the package but is
made by depmod when a kernel is installed, and this one is not.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath

from atoll.image import compression
from atoll.model.errors import ImageError

NEEDED = (
    "erofs",
    "overlay",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "af_packet",
    "ext4",
    "virtio_console",
)
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


class KernelModules:
    """The modules in the unpacked tree of a kernel package."""

    def __init__(self, tree: tarfile.TarFile) -> None:
        self._tree = tree
        self._paths = {_module_name(name): name for name in tree.getnames() if ".ko" in PurePosixPath(name).suffixes}
        builtin = next((name for name in tree.getnames() if name.endswith("/modules.builtin")), None)
        self._builtin = frozenset(map(_module_name, self._read(builtin).decode().split())) if builtin else frozenset()

    def load_order(self, wanted: Iterable[str] = NEEDED) -> dict[str, bytes]:
        """`wanted` and what they depend on, dependencies first, unpacked; what is built in is left out."""
        order: dict[str, bytes] = {}
        for name in wanted:
            self._add(name, order, ())
        return order

    def _add(self, name: str, order: dict[str, bytes], above: tuple[str, ...]) -> None:
        if name in order or name in self._builtin:
            return
        if name in above:
            raise ImageError(f"the kernel's modules depend on each other in a circle: {' → '.join((*above, name))}")
        content = self._content(name)
        for dependency in depends(content):
            self._add(dependency, order, (*above, name))
        order[name] = content

    def _content(self, name: str) -> bytes:
        path = self._paths.get(name)
        if path is None:
            raise ImageError(f"the kernel package has no module {name}, and it is not built in")
        data = self._read(path)
        return data if path.endswith(".ko") else compression.unpack(data)

    def _read(self, path: str) -> bytes:
        file = self._tree.extractfile(path)
        if file is None:
            raise ImageError(f"{path} in the kernel package is not a file")
        return file.read()


def depends(module: bytes) -> list[str]:
    """What the module's own `depends=` names."""
    match = _DEPENDS.search(module)
    return [_module_name(name) for name in match[1].decode().split(",") if name] if match else []


def _module_name(path: str) -> str:
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")
