"""Remove what broken-off builds have left, and templates and images that nothing uses any more."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer

from atoll.cli.options import ConfigFile, Json, StateDir, settings
from atoll.cli.output import print_json, print_rows, size_text

app = typer.Typer(add_completion=False)


@app.command()
def gc(
    images: Annotated[bool, typer.Option("--images", help="Images that are not current, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    config: ConfigFile = None,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Remove what nobody needs, and say how much that was. What is in use stays."""
    chosen = settings(config, state)
    from atoll.cli.garbage import Collector

    collector = Collector(chosen, keep_all=dry_run)
    found = collector.collect(images=images)
    total = sum(one.bytes for one in found)
    for note in collector.notes:
        print(f"atoll: {note}", file=sys.stderr)
    if json:
        removed = [dataclasses.asdict(one) for one in found]
        print_json({"dry_run": dry_run, "bytes": total, "removed": removed})
        return
    rows = [{"kind": one.kind, "name": one.name, "size": size_text(one.bytes)} for one in found]
    print_rows(rows, {"kind": "KIND", "name": "NAME", "size": "SIZE"}, as_json=False, empty="nothing to remove")
    if found:
        print(f"{'would free' if dry_run else 'freed'} {size_text(total)}")
