"""The control socket, with a real QEMU that has no machine (it starts in milliseconds)."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator

import pytest

from atoll.model.errors import LinkLost
from atoll.vmm.qmp import Qmp, QmpRefused

QEMU = shutil.which("qemu-system-x86_64")
pytestmark = pytest.mark.skipif(QEMU is None, reason="needs qemu-system-x86_64")


def start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        fd = theirs.fileno()
        argv = [str(QEMU), "-machine", "none", "-nodefaults", "-display", "none", "-S"]
        argv += ["-chardev", f"socket,id=q,fd={fd}", "-mon", "chardev=q,mode=control"]
        return ours, subprocess.Popen(argv, pass_fds=(fd,), stdin=subprocess.DEVNULL)


@pytest.fixture
async def started() -> AsyncIterator[tuple[Qmp, subprocess.Popen[bytes]]]:
    ours, process = start()
    qmp = Qmp(ours)
    await qmp.connect()
    yield qmp, process
    process.kill()
    process.wait()
    await qmp.close()
    await qmp.close()


async def test_answers_and_refusals(started: tuple[Qmp, subprocess.Popen[bytes]]) -> None:
    qmp, _ = started
    assert (await qmp.execute("query-status"))["status"] == "prelaunch"
    with pytest.raises(QmpRefused, match="no-such-command"):
        await qmp.execute("no-such-command")


async def test_a_descriptor_is_given(started: tuple[Qmp, subprocess.Popen[bytes]]) -> None:
    qmp, _ = started
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await qmp.give_fd("mine", theirs.fileno())
    await qmp.execute("closefd", {"fdname": "mine"})
    with pytest.raises(QmpRefused):
        await qmp.execute("closefd", {"fdname": "mine"})


async def test_events_are_noted_and_not_kept(started: tuple[Qmp, subprocess.Popen[bytes]]) -> None:
    qmp, process = started
    await qmp.execute("quit")
    process.wait()
    with pytest.raises(LinkLost):
        await qmp.execute("query-status")
    assert qmp.shutdown_reason == "host-qmp-quit"
    assert qmp._client.events.empty()


async def test_qemu_that_is_gone_before_it_greets() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    qmp = Qmp(ours)
    with pytest.raises(LinkLost, match="did not answer"):
        await qmp.connect()
    await qmp.close()
    assert ours.fileno() == -1
