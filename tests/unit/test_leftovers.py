"""The check that fails a suite which leaves things behind must itself be able to fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.leftovers import end_processes, host_things

# Starts a process that outlives it, as a VMM would whose server died.
ORPHANING = """
import subprocess, sys
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
print(child.pid)
"""


@pytest.fixture
def others() -> list[int]:
    """What other tests' fixtures may have running."""
    return [child.pid for child in psutil.Process().children(recursive=True)]


def test_an_orphan_in_a_session_of_its_own_is_found_and_ended(others: list[int]) -> None:
    done = subprocess.run([sys.executable, "-c", ORPHANING], stdout=subprocess.PIPE, text=True, check=True)
    orphan = int(done.stdout)
    (found,) = end_processes(others, grace_s=0.1)
    assert found.startswith(f"process {orphan} ")
    assert "sleep 60" in found
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


def test_a_process_that_ends_by_itself_is_no_fault(others: list[int]) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGTERM)
        assert end_processes(others, grace_s=10) == []


def test_what_was_there_before_is_left_alone(others: list[int]) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert end_processes([*others, process.pid], grace_s=0) == []
        assert process.poll() is None
        process.kill()


def test_files_of_sandboxes_are_found_and_others_not(tmp_path: Path) -> None:
    assert not [thing for thing in host_things(tmp_path) if str(tmp_path) in thing]
    for name in ("run/sbx/socket", "disks/a", "templates/.making-x", "templates/x/ram", "images/y/rootfs", "atoll.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {thing for thing in host_things(tmp_path) if str(tmp_path) in thing}
    assert found == {f"file {tmp_path / name}" for name in ("run/sbx/socket", "disks/a", "templates/.making-x")}
