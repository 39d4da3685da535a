"""Build and list the guest images that sandboxes boot from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from atoll.cli.options import ConfigFile, Json, StateDir, settings
from atoll.cli.output import print_json, print_rows, size_text
from atoll.cli.progress import show_progress
from atoll.image import GuestImage, ImageStore, build_image

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def build(
    force: Annotated[bool, typer.Option("--force", help="Build it even if there is one of today's recipe.")] = False,
    config: ConfigFile = None,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Build the guest image, unless it is there, and make it the current one."""
    store = ImageStore(settings(config, state).server.images_dir)
    with show_progress() as progress:
        image = build_image(store, progress, force=force)
    if json:
        print_json(_row(image, current=True))
    else:
        print(f"{image.digest}  {size_text(image.size_bytes)}")


@app.command()
def ls(config: ConfigFile = None, state: StateDir = None, json: Json = False) -> None:
    """List the images, newest first."""
    store = ImageStore(settings(config, state).server.images_dir)
    current = store.current()
    rows = [_row(image, current=current is not None and image.digest == current.digest) for image in store.list()]
    columns = {"digest": "DIGEST", "size": "SIZE", "created_at": "CREATED", "current": "CURRENT"}
    print_rows(rows, columns, as_json=json, empty="no images; `atoll image build` makes one")


def _row(image: GuestImage, *, current: bool) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "current": current,
        "size_bytes": image.size_bytes,
        "size": size_text(image.size_bytes),
        "created_at": image.created_at.isoformat(),
    }
