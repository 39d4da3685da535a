"""Deno and Node, fetched with pip so that the host's index, proxy and CA settings hold, by pinned hash."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from atoll.image import recipe
from atoll.model.errors import ImageError

PINS = "wheels.txt"
# pip takes each tag by its letter: one does not imply the older ones.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def download(directory: Path) -> dict[str, Path]:
    """Fetch the pinned wheels into `directory`; distribution name (with `_`) to path."""
    command = [*_pip(), "download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += [part for platform in _PLATFORMS for part in ("--platform", platform)]
    command += ["--dest", str(directory), "--requirement", str(recipe.DIRECTORY / PINS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(
            "pip cannot download Deno and Node; it uses the pip settings of this user and host\n"
            + "\n".join(done.stderr.strip().splitlines()[-12:])
        )
    return {path.name.partition("-")[0]: path for path in sorted(directory.glob("*.whl"))}


def pins() -> list[str]:
    """`name==version` of each pinned wheel."""
    lines = (line.split("#")[0].split() for line in recipe.text(PINS).splitlines())
    return [line[0] for line in lines if line]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        path = shutil.which(name)
        if path:
            return [path]
    raise ImageError("pip is missing, and Deno and Node come by it; `apt-get install python3-pip`")
