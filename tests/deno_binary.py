"""The Deno that tests run on this host, where a guest would have its own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def deno_path() -> str:
    """The PATH with which `deno` is found: this host's, or the one of the PyPI package `deno`."""
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(":")]
    path = ":".join(folders)
    assert shutil.which("deno", path=path), "no deno: install the development requirements, or put it on the PATH"
    return path
