"""Let a sandbox of a server live longer, or end sooner."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer

from atoll.cli import options
from atoll.cli.output import print_json, time_text

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def extend(
    sandbox: options.SandboxId,
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="From now, as 30s or 10m; at most 30m.")],
    url: options.Url = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Let the sandbox end DURATION from now, and print when it will."""
    from atoll.cli.remote import Address
    from atoll.model.errors import InvalidSpec
    from atoll.model.spec import parse_duration_s

    seconds = parse_duration_s(duration, "DURATION")
    if not seconds:
        raise InvalidSpec("DURATION", f'{duration[:40]!r} is no time to live, as "10m"')
    granted_ms = asyncio.run(_extend(Address.find(url, token), sandbox, seconds))
    if json:
        print_json({"id": sandbox, "stop_at_ms": granted_ms, "stop_at": time_text(granted_ms)})
    else:
        print(f"{sandbox}  ends at {time_text(granted_ms)}")


async def _extend(address: Any, sandbox_id: str, seconds: float) -> int:
    from atoll.cli.remote import Server

    async with Server(address) as server:
        return await server.extend(sandbox_id, int((time.time() + seconds) * 1000))
