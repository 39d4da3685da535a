"""The command line: each file of `commands/` is one command, loaded only when it is the one that was asked for.

A command turns words into calls and results into text; what it does, it asks of the rooms below. Its file has a
docstring of one line, which is its help in the list of commands, and a `typer.Typer` called `app`. Errors are one line
on stderr and status 1; wrong usage is status 2; `ATOLL_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

from atoll.cli.main import main

__all__ = ["main"]
