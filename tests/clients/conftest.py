"""A server for the official clients: one whose VMs are agents on this host, and one whose VMs are real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deno_sandbox import AsyncDenoDeploy

from tests.clients.python_client import close

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
JS = HERE / "js"


@dataclass(frozen=True)
class Server:
    """Where it is, a token of it, and whether its VMs are real (with the guest's users and /home/app)."""

    url: str
    token: str
    is_real: bool

    @property
    def environ(self) -> dict[str, str]:
        """What both clients read, for a program that uses one of them."""
        return {
            "DENO_SANDBOX_ENDPOINT": self.url,
            "DENO_DEPLOY_ENDPOINT": self.url,
            "DENO_DEPLOY_TOKEN": self.token,
            "NO_PROXY": "127.0.0.1,localhost",
        }


def _run(command: list[str], ready_file: Path, log: Path, *, is_real: bool, patience_s: float) -> Iterator[Server]:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + patience_s
        while not ready_file.exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        ready = json.loads(ready_file.read_text())
        yield Server(ready["url"], ready["token"], is_real)
    finally:
        process.terminate()
        status = process.wait(30)
    text = log.read_text()
    assert status == 0, text
    # What the server calls so is a bug of ours, even if no client noticed.
    assert not re.search(r"(request|stream|connection|sandbox)\.failed", text), text


def _agents(base: Path) -> Iterator[Server]:
    state, home, ready = base / "state", base / "home", base / "ready.json"
    state.mkdir()
    home.mkdir()
    command = [sys.executable, "-m", "tests.clients.agent_server", str(state), str(home), str(ready)]
    yield from _run(command, ready, base / "log", is_real=False, patience_s=30)


def _vms(base: Path) -> Iterator[Server]:
    """On the image and the templates that `./test` has made, with records of its own."""
    made = Path(os.environ.get("ATOLL_SERVER_STATE_DIR") or ROOT / ".state")
    state, ready = base / "state", base / "ready.json"
    state.mkdir()
    for name in ("images", "templates"):
        (made / name).mkdir(parents=True, exist_ok=True)
        (state / name).symlink_to(made / name)
    if (made / "accelerator.json").exists():
        shutil.copy(made / "accelerator.json", state)
    command = [sys.executable, "-m", "tests.clients.vm_server", str(state), str(ready)]
    yield from _run(command, ready, base / "log", is_real=True, patience_s=300)


@pytest.fixture(scope="session", params=["agents", pytest.param("vms", marks=pytest.mark.vm)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp(f"server-{request.param}")
    yield from _agents(base) if request.param == "agents" else _vms(base)


@pytest.fixture(scope="session")
def node() -> str:
    """The Node of the development requirements, or this host's."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    found = shutil.which("node", path=path)
    assert found, "no node: install the development requirements, or put it on the PATH"
    return found


@pytest.fixture(scope="session")
def js_packages(node: str) -> Path:
    """The official JavaScript client, at the versions of the lock file."""
    lock, installed = JS / "package-lock.json", JS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        path = f"{Path(node).parent}:{os.environ.get('PATH', '')}"
        npm = shutil.which("npm", path=path)
        assert npm, "no npm beside node: install the development requirements"
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=JS, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return JS / "node_modules"


@pytest.fixture
async def sdk(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncDenoDeploy]:
    """The asynchronous Python client."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    sdk = AsyncDenoDeploy()
    yield sdk
    await close(sdk)


@pytest.fixture
async def sandbox(sdk: AsyncDenoDeploy) -> AsyncIterator[Any]:
    async with sdk.sandbox.create() as sandbox:
        yield sandbox


@pytest.fixture
async def home(sandbox: Any) -> str:
    """A directory that no other test uses."""
    path: str = await sandbox.fs.make_temp_dir()
    return path
