"""Copy files between this host and a sandbox of a server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import options

app = typer.Typer(add_completion=False, no_args_is_help=True)

_REMOTE = re.compile(r"(?P<id>sbx_[^:/]*):(?P<path>.*)\Z", re.DOTALL)


@app.command()
def cp(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A path here, or ID:/path.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A path here, or ID:/path.")],
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="How much may come out of a sandbox.")
    ] = "10GiB",
    url: options.Url = None,
    token: options.Token = None,
) -> None:
    """Copy a file or a directory into a sandbox or out of it, as `cp -r` does.

    What a sandbox gives never lands outside DST: links that lead out of the copy, devices, pipes and sockets are left
    out, which is told and makes the status 1.
    """
    from atoll.cli.remote import Address
    from atoll.config import parse_memory_mib

    here, there = _REMOTE.match(source), _REMOTE.match(target)
    if (here is None) == (there is None):
        raise typer.BadParameter("one of SRC and DST is in a sandbox, as ID:/path, and the other here")
    try:
        max_bytes = parse_memory_mib(max_size) * 1024 * 1024
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--max-size") from None
    address = Address.find(url, token)
    if here is not None:
        skipped = asyncio.run(_copy_out(address, here["id"], here["path"], Path(target), max_bytes))
    else:
        assert there is not None
        skipped = asyncio.run(_copy_in(address, source, there["id"], there["path"]))
    if skipped:
        raise typer.Exit(1)


async def _copy_out(address: Any, sandbox_id: str, source: str, target: Path, max_bytes: int) -> int:
    from atoll.cli.copying import CopyOut
    from atoll.cli.remote import Server
    from atoll.cli.remote_sandbox import RemoteTree

    left_out = _LeftOut()
    async with Server(address) as server, server.connect(sandbox_id) as connection:
        await CopyOut(RemoteTree(connection), left_out.tell, max_bytes=max_bytes).run(source, target)
    return left_out.count


async def _copy_in(address: Any, source: str, sandbox_id: str, target: str) -> int:
    from atoll.cli.copying import copy_in, real_source
    from atoll.cli.remote import Server
    from atoll.cli.remote_sandbox import RemoteTree

    real_source(source)
    left_out = _LeftOut()
    async with Server(address) as server, server.connect(sandbox_id) as connection:
        await copy_in(RemoteTree(connection), source, target, left_out.tell)
    return left_out.count


class _LeftOut:
    """What was not copied: told, but not without end."""

    MAX_TOLD = 20

    def __init__(self) -> None:
        self.count = 0

    def tell(self, name: str, reason: str) -> None:
        from atoll.cli.starting import tell_skipped

        self.count += 1
        if self.count <= self.MAX_TOLD:
            tell_skipped(name, reason)
        elif self.count == self.MAX_TOLD + 1:
            tell_skipped("more", "only the first are named")
