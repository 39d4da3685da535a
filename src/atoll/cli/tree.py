"""The commands, found by their files and imported one at a time: `atoll --help` imports none of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_DIRECTORY = Path(__file__).with_name("commands")


class CommandTree(TyperGroup):
    """A group that knows its commands' names and first lines, and imports the one that runs."""

    def __init__(self, **settings: Any) -> None:
        settings["commands"] = {name: TyperCommand(name, help=summary(name)) for name in command_names()}
        super().__init__(**settings)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in self.commands:
            self.commands[args[0]] = load(args[0])
        return super().resolve_command(ctx, args)


def command_names() -> list[str]:
    return sorted(path.stem for path in _DIRECTORY.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Any:
    """The command `name`, imported."""
    module = importlib.import_module(f"atoll.cli.commands.{name}")
    command = typer.main.get_command(module.app)
    command.name = name
    command.help = command.help or summary(name)
    return command


def summary(name: str) -> str:
    """The first line of a command's docstring, read as text."""
    with (_DIRECTORY / f"{name}.py").open(encoding="utf-8") as stream:
        return stream.readline().strip().strip('"')
