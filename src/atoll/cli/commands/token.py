"""Make, list and revoke the tokens that clients of the server need."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.options import ConfigFile, Json, StateDir, settings
from atoll.cli.output import print_json, print_rows, time_text
from atoll.store import Store, TokenRecord

app = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What to call it, as the program or person that will use it.")]


@app.command()
def create(name: Name, config: ConfigFile = None, state: StateDir = None, json: Json = False) -> None:
    """Make a token and print it, once: only its hash is kept."""
    text = asyncio.run(_create(settings(config, state).server.records_file, name))
    if json:
        print_json({"name": name, "token": text})
    else:
        print(text)


@app.command()
def ls(config: ConfigFile = None, state: StateDir = None, json: Json = False) -> None:
    """List all tokens, newest first; never their text."""
    tokens = asyncio.run(_list(settings(config, state).server.records_file))
    rows = [
        {
            **dataclasses.asdict(token),
            "created": time_text(token.created_at_ms),
            "last_used": time_text(token.last_used_at_ms),
            "revoked": time_text(token.revoked_at_ms),
        }
        for token in tokens
    ]
    columns = {"name": "NAME", "created": "CREATED", "last_used": "LAST USED", "revoked": "REVOKED"}
    print_rows(rows, columns, as_json=json, empty="no tokens; `atoll token create NAME` makes one")


@app.command()
def revoke(name: Name, config: ConfigFile = None, state: StateDir = None) -> None:
    """End a token at once, also for a server that runs."""
    asyncio.run(_revoke(settings(config, state).server.records_file, name))


async def _create(records: Path, name: str) -> str:
    async with Store(records) as store:
        return await store.tokens.create(name)


async def _list(records: Path) -> Sequence[TokenRecord]:
    async with Store(records) as store:
        return await store.tokens.list()


async def _revoke(records: Path, name: str) -> None:
    async with Store(records) as store:
        await store.tokens.revoke(name)
