"""The agent, packed from the installed package: a cpio that is put behind the image's initramfs.

The agent is not in the image: a new version of atoll needs a new template, not a new image.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from atoll.image import cpio

ROOMS = ("guest", "wire")
_MAIN = b"from atoll.guest.main import main\n\nmain()\n"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first instant that a zip can name


@functools.cache
def agent_bundle() -> bytes:
    """A cpio archive holding `/atoll/agent.pyz`; the same sources give the same bytes."""
    return pack(Path(__file__).parents[1])


def agent_digest() -> str:
    return "sha256:" + hashlib.sha256(agent_bundle()).hexdigest()


def pack(package: Path) -> bytes:
    """The bundle of the package `atoll` whose sources are in `package`."""
    return cpio.archive([cpio.directory("atoll"), cpio.regular("atoll/agent.pyz", _zipapp(package))])


def _zipapp(package: Path) -> bytes:
    members = {"__main__.py": _MAIN}
    members.update((f"atoll/{path.relative_to(package).as_posix()}", path.read_bytes()) for path in _sources(package))
    buffer = io.BytesIO()
    # Stored, not deflated: the guest imports it faster, and zlib's version cannot change the bytes.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(_member(name), members[name])
    return buffer.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.create_system = 3  # Unix, whatever this runs on
    member.external_attr = 0o644 << 16
    return member


def _sources(package: Path) -> Iterator[Path]:
    yield package / "__init__.py"
    for room in ROOMS:
        yield from (package / room).rglob("*.py")
