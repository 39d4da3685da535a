"""What an image says about itself, and the digest that is its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atoll.model.errors import ImageError

FORMAT = 1
ROOTFS = "rootfs.erofs"
KERNEL = "vmlinux"
INITRAMFS = "initramfs"
FILES = (ROOTFS, KERNEL, INITRAMFS)
NAME = "manifest.json"


@dataclass(frozen=True)
class FileFacts:
    """What identifies the content of one file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """`inputs` is the digest of what the image was made from; `packages` are `name=version`."""

    digest: str
    inputs: str
    created_at: str
    files: Mapping[str, FileFacts]
    packages: tuple[str, ...]
    tools: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def canonical_digest(value: object) -> str:
    """`sha256:` of the one JSON form of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def image_digest(files: Mapping[str, FileFacts]) -> str:
    """The image's name: of its files' names and digests, and not of when or where it was built."""
    return canonical_digest({"format": FORMAT, "files": {name: facts.sha256 for name, facts in files.items()}})


def file_facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileFacts(digest, path.stat().st_size)


def read_manifest(path: Path) -> Manifest:
    """The manifest in `path`; ImageError if it is missing or is not one of this format."""
    try:
        return _from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(f"{path} is not the manifest of a guest image: {error!r}; build it again") from error


def _from_json(value: dict[str, Any]) -> Manifest:
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']!r}")
    files = {name: FileFacts(facts["sha256"], int(facts["size_bytes"])) for name, facts in value["files"].items()}
    if set(files) != set(FILES):
        raise ValueError(f"files {sorted(files)}")
    return Manifest(
        digest=str(value["digest"]),
        inputs=str(value["inputs"]),
        created_at=str(value["created_at"]),
        files=files,
        packages=tuple(value["packages"]),
        tools=dict(value["tools"]),
    )
