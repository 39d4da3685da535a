"""The agent's entry: pid 1 of the guest, or one of its small programs."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.guest.identity import Identity

APP_UID = 1000
HOME = "/home/app"


def main() -> None:
    """Dispatch on the arguments, and load no more than that needs: the archive's modules are compiled each time."""
    if sys.argv[1:] == ["fetch"]:
        from atoll.guest import fetch

        sys.exit(fetch.main())
    try:
        serve_as_init()
    except BaseException:
        # Pid 1 must not end silently: the host reads the console, then sees the panic stop the VM.
        traceback.print_exc()
        sys.stderr.flush()
        raise


def serve_as_init() -> None:
    """Mount, bring loopback up, open the port, serve."""
    from atoll.guest import mounts
    from atoll.guest.agent import Agent

    os.umask(0o022)
    mounts.make_root("/dev/vdb")
    mounts.loopback_up()
    port = os.open(_find_port(), os.O_RDWR | os.O_CLOEXEC)
    Agent(port, identities(mounts.ROOT)).run()


def identities(root: str) -> dict[str, Identity]:
    """Whom the agent acts for: the user, root, and the user outside the workload's root."""
    from atoll.guest.identity import Identity

    return {
        "app": Identity("app", root, APP_UID, APP_UID, HOME),
        "root": Identity("root", root, 0, 0, "/root"),
        "outside": Identity("outside", "/", APP_UID, APP_UID, "/"),
    }


def _find_port() -> str:
    """The virtio port named `atoll.0`; udev, which would link it under /dev/virtio-ports, does not run here."""
    folder = "/sys/class/virtio-ports"
    for name in os.listdir(folder):
        with open(f"{folder}/{name}/name", encoding="ascii") as file:
            if file.read().strip() == "atoll.0":
                return f"/dev/{name}"
    raise FileNotFoundError(2, "the VM has no port named atoll.0", folder)
