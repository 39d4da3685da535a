"""End sandboxes of a server, now."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import typer

from atoll.cli import options
from atoll.cli.output import printable

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def kill(sandboxes: options.SandboxIds, url: options.Url = None, token: options.Token = None) -> None:
    """End the sandboxes and print their ids. One that has ended already is no error; an unknown one is."""
    from atoll.cli.remote import Address

    if not asyncio.run(_kill(Address.find(url, token), sandboxes)):
        raise typer.Exit(1)


async def _kill(address: Any, sandbox_ids: Sequence[str]) -> bool:
    """Whether all of them could be; the others are told."""
    from atoll.cli.remote import Server
    from atoll.model.errors import CallerError, Unauthorized

    all_done = True
    async with Server(address) as server:
        for sandbox_id in sandbox_ids:
            try:
                await server.kill(sandbox_id)
                print(sandbox_id)
            except Unauthorized:
                raise
            except CallerError as error:
                all_done = False
                print(f"atoll: {printable(error.message)}", file=sys.stderr)
    return all_done
