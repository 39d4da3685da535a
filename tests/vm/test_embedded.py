"""Embedded sandboxes on the machines that a program gets by default, with the image's own Deno."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll import Sandbox


@pytest.fixture
def sandbox(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("ATOLL_SERVER_STATE_DIR", str(state_dir))
    with Sandbox.create(timeout="5m") as sandbox:
        yield sandbox
    assert "atoll-portal" not in {thread.name for thread in threading.enumerate()}


def test_a_program_that_needs_no_server(sandbox: Sandbox) -> None:
    process = sandbox.spawn("id", args=["-un"], stdout="piped")
    assert process.stdout.read() == b"app\n" and process.wait()["success"]
    sandbox.fs.write_text_file("lib.ts", "export const answer: number = 42;")
    process = sandbox.deno.run(code="import { answer } from './lib.ts'; console.log(answer)", stdout="piped")
    assert process.stdout.read() == b"42\n"
    with sandbox.deno.repl() as repl:
        repl.eval("const a = 1")
        assert repl.eval("const a = 2; [a as number, (await import('./lib.ts')).answer]") == [2, 42]


def test_a_server_in_the_sandbox(sandbox: Sandbox) -> None:
    with sandbox.deno.run(code="Deno.serve(() => new Response('hi'))", stdout="null", stderr="null") as process:
        assert process.wait_http_ready()
        response = process.fetch("http://any/")
        assert response.status_code == 200 and response.text() == "hi"
        assert sandbox.fetch("http://127.0.0.1:8000/").is_success
