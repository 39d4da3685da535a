"""Options that several commands have, and the settings that they lead to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from atoll.config import Config, load_config

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, instead of atoll.toml.")]
StateDir = Annotated[
    Path | None, typer.Option("--state", "--state-dir", metavar="DIR", help="Where images and records are.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The server; default: ATOLL_URL.")]
Token = Annotated[str | None, typer.Option("--token", metavar="TOKEN", help="Its token; default: ATOLL_TOKEN.")]
SandboxId = Annotated[str, typer.Argument(metavar="ID", help="The sandbox, as `atoll ps` shows it.")]
SandboxIds = Annotated[list[str], typer.Argument(metavar="ID…", help="The sandboxes, as `atoll ps` shows them.")]
Words = Annotated[list[str], typer.Argument(metavar="COMMAND…", help="What to run, after --.")]
Env = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="For the command; K alone takes ours.")
]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="K=V", help="A label; up to five.")]
Cwd = Annotated[str | None, typer.Option("--cwd", metavar="DIR", help="Where it starts; default: /home/app.")]
User = Annotated[str, typer.Option("--user", "-u", metavar="USER", help="app or root.")]
Tty = Annotated[bool, typer.Option("--tty", "-t", help="Give the command a terminal.")]


def settings(config: Path | None, state: Path | None, **overrides: str | None) -> Config:
    """All settings, with what the command line says; `overrides` by names as `server__listen`."""
    given = {"server__state_dir": None if state is None else str(state), **overrides}
    named = {name.replace("__", "."): value for name, value in given.items() if value is not None}
    return load_config(config, overrides=named)


def pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """`K=V` words as a mapping; wrong usage for others."""
    found = {}
    for word in given or ():
        key, is_pair, value = word.partition("=")
        if not is_pair or not key:
            raise typer.BadParameter(f"{word[:80]!r} is not K=V", param_hint=option)
        found[key] = value
    return found


def environment(given: Iterable[str] | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """As `pairs`; a name alone takes its value from our own environment, and is left out when it has none there."""
    words = list(given or ())
    named = {word: environ[word] for word in words if "=" not in word and word in environ}
    return named | pairs((word for word in words if "=" in word or not word), "--env")


def checked_user(user: str) -> str:
    if user not in ("app", "root"):
        raise typer.BadParameter(f'{user[:40]!r} is not "app" or "root"', param_hint="--user")
    return user
