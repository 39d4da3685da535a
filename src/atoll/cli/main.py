"""The entry point: what an error looks like, and with which status a command ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Annotated, Never

import typer

from atoll import __version__
from atoll.cli.tree import CommandTree
from atoll.model.errors import AtollError

FAILED = 1
INTERRUPTED = 128 + signal.SIGINT

root = typer.Typer(cls=CommandTree, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"atoll {__version__}")
        raise typer.Exit


@root.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Untrusted code in disposable microVMs on your own machine."""


def main() -> Never:
    """Run the command that the arguments name; ends the process."""
    if os.environ.get("ATOLL_DEBUG"):
        typer.main.get_command(root)(prog_name="atoll")
    try:
        typer.main.get_command(root)(prog_name="atoll")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last stop: whatever it is, it is told in a line
        print(f"atoll: {explain(error)}", file=sys.stderr)
    sys.exit(FAILED)


def explain(error: Exception) -> str:
    """What a user should read; what is not an error of ours is a fault of ours and says how to report it."""
    leaves = list(_leaves(error))
    ours = [leaf for leaf in leaves if isinstance(leaf, AtollError)]
    if ours:
        return ours[0].message
    return f"internal error: {type(leaves[0]).__name__}: {leaves[0]} (ATOLL_DEBUG=1 shows where)"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a task group wrapped."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
