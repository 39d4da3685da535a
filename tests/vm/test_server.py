"""A server's life and death: clean stop, `kill -9`, and what the next start finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from deno_sandbox import DenoDeploy

from tests.leftovers import host_things
from tests.vm.servers import Server, running_server, share_state


@pytest.fixture
def state(state_dir: Path, tmp_path: Path) -> Path:
    return share_state(state_dir, tmp_path / "state")


@pytest.fixture
def as_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Any]:
    def connect(server: Server) -> Any:
        for name, value in server.client_environ().items():
            monkeypatch.setenv(name, value)
        return DenoDeploy().sandbox

    return connect


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


def test_kill_minus_nine_leaves_nothing_and_the_next_start_says_so(
    state: Path, as_client: Callable[[Server], Any]
) -> None:
    with running_server(state, ATOLL_POOL_SIZE="1") as server:
        sandboxes = as_client(server)
        created = sandboxes.create(timeout="5m")
        sandbox = created.__enter__()
        sandbox_id, token = sandbox.id, server.token
        started = server.children()
        assert len(started) >= 2
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(10)
        psutil.wait_procs(started, timeout=10)
        assert not [process.name() for process in started if process.is_running()]
        assert not host_things(state) - host_things(None)

        server.start()
        assert server.token == token
        assert "reconcile.stopped" in server.log() and sandbox_id in server.log()
        listed = {item["id"]: item for item in as_client(server).list().items}
        assert listed[sandbox_id]["status"] == "stopped"
        with as_client(server).create() as after:
            assert after.spawn("true").wait()["success"]


def test_two_servers_cannot_share_a_state_directory(state: Path) -> None:
    with running_server(state, ATOLL_POOL_SIZE="0"):
        second = Server(state, {"ATOLL_POOL_SIZE": "0"})
        with pytest.raises(AssertionError, match="another server uses"):
            second.start()
