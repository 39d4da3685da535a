"""A real server whose VMs are agents on this host, and the command line as its client."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[3]
ATOLL = [sys.executable, "-c", "from atoll.cli import main; main()"]


@dataclass(frozen=True)
class RunningServer:
    """Where it is, and what its guests take for home."""

    url: str
    token: str
    home: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "COLUMNS": "200",
            "ATOLL_URL": self.url,
            "ATOLL_TOKEN": self.token,
        }

    def __call__(self, *words: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run `atoll` with these words against it."""
        return self._run(words, stdin, environ)

    def _run(
        self, words: Sequence[str], stdin: bytes, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[bytes]:
        env = {**self.environ, **environ}
        return subprocess.run([*ATOLL, *words], input=stdin, capture_output=True, env=env, check=False, timeout=60)

    @contextmanager
    def start(self, *words: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen([*ATOLL, *words], env=self.environ, start_new_session=True, **streams)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def fails(self, *words: str, **environ: str) -> str:
        """The one line that a failure prints."""
        done = self._run(words, b"", environ)
        assert (done.returncode, done.stdout) == (1, b""), done
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("atoll: ")
        return line

    def create(self, **config: Any) -> str:
        """A sandbox that outlives the connection that made it; its id."""
        return asyncio.run(self._create({"memory_mb": 1280, "timeout": "10m", **config}))

    async def _create(self, config: dict[str, Any]) -> str:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "x-deno-sandbox-config": base64.b64encode(json.dumps(config).encode()).decode(),
        }
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.ws_connect(f"{self.url}/api/v3/sandboxes/create") as socket:
                assert socket._response is not None
                return socket._response.headers["x-deno-sandbox-id"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    base = tmp_path_factory.mktemp("served")
    home = base / "home"
    home.mkdir()
    ready = base / "ready.json"
    program = [sys.executable, "-m", "tests.clients.agent_server", str(base / "state"), str(home), str(ready)]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(program, stderr=log, stdout=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            until = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None and time.monotonic() < until, (base / "log").read_text()
                time.sleep(0.02)
            facts = json.loads(ready.read_text())
            yield RunningServer(facts["url"], facts["token"], home)
        finally:
            process.terminate()
            assert process.wait(30) == 0, (base / "log").read_text()


@pytest.fixture
def sandbox(server: RunningServer) -> Iterator[str]:
    sandbox_id = server.create(labels={"made-by": "test"})
    yield sandbox_id
    server("kill", sandbox_id)
