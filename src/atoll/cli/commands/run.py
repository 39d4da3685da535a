"""Run a command in a sandbox of its own, without a server; the sandbox vanishes with it."""

from __future__ import annotations

from typing import Annotated

import typer

from atoll.cli import options
from atoll.cli.options import ConfigFile, StateDir, settings

app = typer.Typer(add_completion=False)

Texts = list[str] | None


@app.command(context_settings={"allow_interspersed_args": False}, no_args_is_help=True)
def run(
    command: options.Words,
    env: options.Env = None,
    label: options.Labels = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="As 1280MiB or 2GiB.")] = None,
    vcpus: Annotated[int | None, typer.Option(min=1, max=2, help="Default: limits.vcpus.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="As 30s or 5m; then it ends, status 124.")] = None,
    copy: Annotated[Texts, typer.Option(metavar="SRC[:DST]", help="Put a file or directory into it first.")] = None,
    cwd: options.Cwd = None,
    user: options.User = "app",
    tty: options.Tty = False,
    allow_net: Annotated[Texts, typer.Option(metavar="PATTERN", help="Not available yet.")] = None,
    no_net: Annotated[bool, typer.Option("--no-net", help="No network at all, as is so anyway today.")] = False,
    secret: Annotated[Texts, typer.Option(metavar="NAME=HOST", help="Not available yet.")] = None,
    volume: Annotated[Texts, typer.Option(metavar="SLUG:/path", help="Not available yet.")] = None,
    config: ConfigFile = None,
    state: StateDir = None,
) -> None:
    """Run COMMAND in a sandbox of its own; its status is ours, 128 + n when signal n ended it.

    Input, output and signals are passed on; on a terminal the command has a terminal too. 127: there is no such
    command; 126: it cannot be started; 124: the time was up.
    """
    _refuse_unbuilt(allow_net=allow_net, secret=secret, volume=volume)
    from atoll.cli import alone

    wish = alone.Wish(
        command=tuple(command),
        env=options.environment(env),
        labels=options.pairs(label, "--label"),
        memory=memory,
        vcpus=vcpus,
        timeout=timeout,
        copies=tuple(alone.Copy.parse(text) for text in copy or ()),
        cwd=cwd,
        user=options.checked_user(user),
        tty=tty,
    )
    raise typer.Exit(alone.run_alone(settings(config, state), wish))


def _refuse_unbuilt(**given: Texts) -> None:
    from atoll.model.errors import NotAvailable

    for name, value in given.items():
        if value:
            raise NotAvailable(f"--{name.replace('_', '-')}", "leave it out; a sandbox has no network and no volumes")
