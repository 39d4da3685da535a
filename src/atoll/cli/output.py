"""Tables and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_rows(rows: Sequence[Row], columns: Mapping[str, str], *, as_json: bool, empty: str) -> None:
    """Each row's `columns` (key to heading) as a table, or all of each row as JSON; `empty` when there are none."""
    if as_json:
        print_json([dict(row) for row in rows])
    elif rows:
        print_table(list(columns.values()), [[printable(row[key]) for key in columns] for row in rows])
    else:
        print(empty, file=sys.stderr)


def print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    # rich takes 50 ms to import, and half of all commands print nothing.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    # Whoever reads a pipe wants lines that are not folded.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)


def printable(value: object) -> str:
    """`value` with control characters escaped: a label or a name must not move the reader's cursor."""
    if value is None:
        return "-"
    text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def time_text(at_ms: int | None) -> str | None:
    """A moment as ISO 8601 in UTC, to the second."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def size_text(size_bytes: int) -> str:
    """A size in the unit in which it reads best."""
    return f"{size_bytes / 1024**3:.1f} GiB" if size_bytes >= 1024**3 else f"{size_bytes / 1024**2:.1f} MiB"
