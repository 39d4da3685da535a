"""A server's life and death: clean stop, `kill -9`, and what the next start finds."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from deno_sandbox import DenoDeploy
from websockets.sync.client import connect

from tests.leftovers import host_things
from tests.vm.servers import Server, running_server, share_state


@pytest.fixture
def state(state_dir: Path, tmp_path: Path) -> Path:
    return share_state(state_dir, tmp_path / "state")


@pytest.fixture
def as_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Any]:
    def client(server: Server) -> Any:
        for name, value in server.client_environ().items():
            monkeypatch.setenv(name, value)
        return DenoDeploy().sandbox

    return client


def test_sigterm_ends_every_vm_and_answers_who_waits(state: Path, as_client: Callable[[Server], Any]) -> None:
    with running_server(state, ATOLL_POOL_SIZE="1") as server:
        sandboxes = as_client(server)
        with sandboxes.create(timeout="5m") as sandbox:
            child = sandbox.spawn("echo", args=["hello"], stdout="piped")
            assert child.stdout.read() == b"hello\n"
            assert child.wait()["success"]
            started = server.children()
            assert any("qemu" in process.name() for process in started)
        server.stop()
        psutil.wait_procs(started, timeout=5)
        assert not [process for process in started if process.is_running()]
    assert not host_things(state) - host_things(None)


@contextlib.contextmanager
def bare_sandbox(server: Server) -> Iterator[str]:
    """A sandbox of five minutes through a bare WebSocket, which does not mind its server's death."""
    config = base64.b64encode(json.dumps({"memory_mb": 1280, "timeout": "5m"}).encode()).decode()
    headers = {"Authorization": f"Bearer {server.token}", "x-deno-sandbox-config": config}
    url = server.url.replace("http", "ws", 1) + "/api/v3/sandboxes/create"
    with connect(url, additional_headers=headers, proxy=None) as socket:
        assert socket.response is not None
        yield socket.response.headers["x-deno-sandbox-id"]


def test_kill_minus_nine_leaves_nothing_and_the_next_start_says_so(state: Path) -> None:
    with running_server(state, ATOLL_POOL_SIZE="1") as server:
        with bare_sandbox(server) as sandbox_id:
            token, started = server.token, server.children()
            assert any("qemu" in process.name() for process in started)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(10)
            psutil.wait_procs(started, timeout=10)
            assert not [process.name() for process in started if process.is_running()]
            assert not host_things(state) - host_things(None)
        server.start()
        assert server.token == token
        assert "reconcile.stopped" in server.log() and sandbox_id in server.log()
        headers = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            listed = {item["id"]: item for item in client.get("/api/v2/sandboxes").json()}
        assert listed[sandbox_id]["status"] == "stopped"
        with bare_sandbox(server) as after:
            assert after != sandbox_id


def test_two_servers_cannot_share_a_state_directory(state: Path) -> None:
    with running_server(state, ATOLL_POOL_SIZE="0"):
        second = Server(state, {"ATOLL_POOL_SIZE": "0"})
        with pytest.raises(AssertionError, match="another server uses"):
            second.start()
