"""A real `atoll serve` in a process of its own, with records of its own beside the shared image and templates."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

READY_DEADLINE_S = 60.0


def share_state(shared: Path, own: Path) -> Path:
    """A state directory that has the image and the templates of `shared`."""
    own.mkdir(exist_ok=True)
    for name in ("images", "templates"):
        with contextlib.suppress(FileExistsError):
            (own / name).symlink_to(shared / name)
    return own


@dataclass
class Server:
    """One server process; `start` it, perhaps again after it was killed."""

    state: Path
    environ: dict[str, str] = field(default_factory=dict)
    url: str = ""
    token: str = ""
    accelerator: str = ""

    def start(self) -> None:
        ready, log = self.state / "ready.json", self.state / "server.log"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-c", "from atoll.cli import main; main()", "serve", "--listen", "127.0.0.1:0"]
        environ = {**os.environ, "ATOLL_SERVER_STATE_DIR": str(self.state), **self.environ}
        with open(log, "ab") as out:
            self.process = subprocess.Popen([*command, "--ready-file", str(ready)], env=environ, stdout=out, stderr=out)
        deadline = time.monotonic() + READY_DEADLINE_S
        while not ready.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        told = json.loads(ready.read_text())
        self.url, self.accelerator, self.token = told["url"], told["accelerator"], told["token"] or self.token

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def log(self) -> str:
        return (self.state / "server.log").read_text()

    def stop(self) -> None:
        """SIGTERM, and the clean end that it must bring."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log()

    def client_environ(self) -> dict[str, str]:
        """What a program written for Deno Sandbox needs changed."""
        return {
            "DENO_DEPLOY_TOKEN": self.token,
            "DENO_DEPLOY_ENDPOINT": self.url,
            "DENO_SANDBOX_ENDPOINT": self.url,
            "NO_PROXY": "127.0.0.1,localhost",
        }


@contextlib.contextmanager
def running_server(state: Path, **environ: str) -> Iterator[Server]:
    server = Server(state, dict(environ))
    server.start()
    try:
        yield server
        if server.process.poll() is None:
            server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)
