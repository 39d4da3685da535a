"""A command in a sandbox behind a server, joined with this process's own streams."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.cli.attach import Interrupts, attach
from atoll.cli.copying import guest_path
from atoll.cli.output import printable
from atoll.cli.remote import Address, Server
from atoll.cli.remote_sandbox import RemoteCommand
from atoll.cli.rpc import Connection
from atoll.cli.starting import command_env, run_interruptibly, starting, wanted_terminal
from atoll.model.errors import AtollError


@dataclass(frozen=True, slots=True)
class Wish:
    """What `atoll exec` was asked for."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    user: str
    tty: bool


def run_remotely(address: Address, sandbox_id: str, wish: Wish) -> int:
    """The status to end with."""
    return run_interruptibly(lambda interrupts: _run(address, sandbox_id, wish, interrupts))


async def _run(address: Address, sandbox_id: str, wish: Wish, interrupts: Interrupts) -> int:
    size = wanted_terminal(asked=wish.tty)
    cwd = None if wish.cwd is None else guest_path(wish.cwd)
    async with Server(address) as server, server.connect(sandbox_id) as connection:
        command = await starting(
            RemoteCommand.start(
                connection, wish.command, env=command_env(wish.env, size), cwd=cwd, user=wish.user, pty=size
            )
        )
        if isinstance(command, int):
            return command
        status = await attach(command, interrupts, pty=size is not None)
        if status.code == 128 + signal.SIGKILL:
            await _tell_end(connection)
        return status.code


async def _tell_end(connection: Connection) -> None:
    """A command whose sandbox ends counts as killed; whether that was so is seen by asking for anything."""
    try:
        await connection.call("umask")
    except AtollError as error:
        print(f"atoll: {printable(error.message)}", file=sys.stderr)
