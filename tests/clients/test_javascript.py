"""The official JavaScript client, unmodified, in Node; what it does is in `js/*.test.mjs`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import JS, Server

FILES = sorted(path.name for path in JS.glob("*.test.mjs"))


@pytest.mark.parametrize("sdk", ["@deno/sandbox", "sandbox-with-old-zod"])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.timeout(300)
def test_file(file: str, sdk: str, server: Server, node: str, js_packages: Path) -> None:
    environ = {**os.environ, **server.environ, "ATOLL_TEST_SDK": sdk, "ATOLL_TEST_REAL": str(int(server.is_real))}
    command = [node, "--test", "--test-reporter=spec", "--test-timeout=240000", file]
    done = subprocess.run(command, cwd=JS, env=environ, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, _failures(done.stdout) + done.stderr[-2000:]


def _failures(report: str) -> str:
    """The part that names the failing tests; the client logs a lot."""
    _, found, failing = report.partition("failing tests:")
    return failing if found else report[-6000:]
