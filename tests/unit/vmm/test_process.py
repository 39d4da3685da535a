"""A process that is watched: real small programs in QEMU's place."""

from __future__ import annotations

import os
import socket

import pytest
from tests.unit.vmm.waiting import until

from atoll.model.errors import LaunchFailed
from atoll.vmm.process import JailedProcess


def start(*argv: str) -> JailedProcess:
    ours, theirs = socket.socketpair()
    with theirs:
        return JailedProcess(argv, (theirs.fileno(),), ours.detach())


async def test_exit_status_and_last_words() -> None:
    process = start("/bin/sh", "-c", "echo words >&2; exit 7")
    assert await process.exited == 7
    assert process.log_tail() == "words"
    failure = process.failure("it failed")
    assert "words" in str(failure)
    assert failure.command[0] == "/bin/sh"
    await process.close()


async def test_a_signal_is_told_as_shells_do() -> None:
    process = start("/bin/sh", "-c", "kill -TERM $$")
    assert await process.exited == 128 + 15
    await process.close()


async def test_close_ends_the_child_before_its_parent_and_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    process = start("/bin/sh", "-c", "sleep 60; exit 0")
    await until(lambda: len(process.pids()) == 2)
    child = process.pids()[-1]
    await process.close()
    await process.close()
    assert not os.path.exists(f"/proc/{child}")
    assert process.exited.done()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_program_that_does_not_exist() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LaunchFailed, match="/no/such cannot be started"):
        start("/no/such")
    assert len(os.listdir("/proc/self/fd")) == before
