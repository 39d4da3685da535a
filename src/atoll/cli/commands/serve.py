"""Run the server: Deno Sandbox's API over this host's VMs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.options import ConfigFile, StateDir, settings
from atoll.cli.progress import line_progress

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to; port 0 takes a free one. Default: settings.")
    ] = None,
    state: StateDir = None,
    config: ConfigFile = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", metavar="FILE", help="Gets one JSON object when connections are accepted."),
    ] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C; then every sandbox is ended.

    The first start prints a token, once. Clients take the address and a token by DENO_SANDBOX_ENDPOINT,
    DENO_DEPLOY_ENDPOINT and DENO_DEPLOY_TOKEN.
    """
    chosen = settings(config, state, server__listen=listen)
    from atoll.image import ImageStore
    from atoll.model.errors import HostError, ImageError

    if ready_file is not None and not ready_file.absolute().parent.is_dir():
        raise HostError(f"{ready_file}: there is no directory {ready_file.absolute().parent}")
    if ImageStore(chosen.server.images_dir).current() is None:
        raise ImageError(f"there is no guest image in {chosen.server.images_dir}; make one with: atoll image build")
    progress = line_progress()
    if not (chosen.server.state_dir / "accelerator.json").exists():
        progress("looking for an accelerator that boots, once", None)
    from atoll.server import run_server

    run_server(chosen, ready_file, progress=progress)
