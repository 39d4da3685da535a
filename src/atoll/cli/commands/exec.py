"""Run a command in a sandbox of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from atoll.cli import options

app = typer.Typer(add_completion=False)

Command = Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="What to run.")]


@app.command("exec")
def exec_(
    sandbox: options.SandboxId,
    command: Command,
    tty: options.Tty = False,
    user: options.User = "app",
    env: options.Env = None,
    cwd: options.Cwd = None,
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Run COMMAND in a sandbox that runs; its status is ours, 128 + n when signal n ended it.

    Input, output and signals are passed on; on a terminal the command has a terminal too. The sandbox stays.
    """
    from atoll.cli import executing
    from atoll.cli.remote import Address

    wish = executing.Wish(tuple(command), options.environment(env), cwd, options.checked_user(user), tty)
    raise typer.Exit(executing.run_remotely(Address.find(url, token), sandbox, wish))
