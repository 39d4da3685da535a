"""What a build needs of the host, checked before anything is downloaded."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
from pathlib import Path

from atoll.model.errors import ImageError

# Program to Debian package.
_NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.erofs": "erofs-utils",
    "zstd": "zstd",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_NEEDED_WITHOUT_ROOT = {"newuidmap": "uidmap", "newgidmap": "uidmap"}
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_IDS = 65536


def check() -> None:
    """ImageError naming every missing thing and what installs it."""
    if platform.machine() != "x86_64":
        raise ImageError(f"guest images are for x86_64, and this host is {platform.machine()}")
    unprivileged = os.geteuid() != 0
    missing = missing_programs(search_path(), unprivileged=unprivileged)
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise ImageError(f"missing on this host: {', '.join(missing)}; `apt-get install {packages}`")
    if unprivileged:
        _check_subordinate_ids()


def missing_programs(path: str, *, unprivileged: bool) -> dict[str, str]:
    """Missing program to the package that has it."""
    needed = {**_NEEDED, **(_NEEDED_WITHOUT_ROOT if unprivileged else {})}
    return {name: package for name, package in needed.items() if shutil.which(name, path=path) is None}


def search_path() -> str:
    """PATH with the system's directories, which an ordinary user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), *_SYSTEM_PATH])


def versions() -> dict[str, str]:
    """Versions of the tools whose output is in the image."""
    return {"mkfs.erofs": _first_line("mkfs.erofs", "-V"), "mmdebstrap": _first_line("mmdebstrap", "--version")}


def _first_line(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": search_path()}
    )
    return next(iter((done.stdout + done.stderr).splitlines()), "").strip()


def _check_subordinate_ids() -> None:
    """Debian's packages own files as many users: one mapped uid is not enough to unpack them."""
    user = _user_name(os.geteuid())
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        if not has_ids(file, user, os.geteuid()):
            raise ImageError(
                f"{file} gives {user} no {_IDS} subordinate ids, without which only root can unpack Debian; "
                f"`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`, "
                "or build the image once as root"
            )


def _user_name(uid: int) -> str:
    """The number itself for a user of whom the host has no entry, as in many containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def has_ids(file: Path, user: str, uid: int) -> bool:
    try:
        entries = [line.split(":") for line in file.read_text().splitlines()]
    except OSError:
        return False
    return any(len(entry) == 3 and entry[0] in (user, str(uid)) and int(entry[2]) >= _IDS for entry in entries)
