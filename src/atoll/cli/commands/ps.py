"""List the sandboxes of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from atoll.cli import options
from atoll.cli.output import print_rows

app = typer.Typer(add_completion=False)


@app.command()
def ps(
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended, too.")] = False,
    label: options.Labels = None,
    url: options.Url = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """List the sandboxes that run, newest first."""
    from atoll.cli.remote import Address

    found = asyncio.run(_list(Address.find(url, token), options.pairs(label, "--label")))
    rows = [_row(sandbox) for sandbox in found if show_all or sandbox.get("status") == "running"]
    columns = {"id": "ID", "status": "STATUS", "created": "CREATED", "stopped": "STOPPED", "labelled": "LABELS"}
    print_rows(rows, columns, as_json=json, empty="no sandboxes" if show_all else "no sandbox runs; --all shows others")


async def _list(address: Any, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    from atoll.cli.remote import Server

    async with Server(address) as server:
        return await server.sandboxes(labels)


def _row(sandbox: dict[str, Any]) -> dict[str, Any]:
    labels = sandbox.get("labels")
    labels = labels if isinstance(labels, dict) else {}
    return {
        "id": sandbox.get("id"),
        "status": sandbox.get("status"),
        "created": sandbox.get("createdAt"),
        "stopped": sandbox.get("stoppedAt"),
        "region": sandbox.get("region"),
        "labels": labels,
        "labelled": " ".join(f"{key}={value}" for key, value in labels.items()) or None,
    }
