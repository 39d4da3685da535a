"""Make the template that sandboxes of one size are cloned from, so that the first one need not wait for it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from atoll.cli.host import vmm_config
from atoll.cli.options import ConfigFile, Json, StateDir, settings
from atoll.cli.output import print_json
from atoll.cli.progress import Progress, show_progress
from atoll.config import Config, parse_memory_mib
from atoll.engine.host import boot_files
from atoll.model.spec import SandboxSpec
from atoll.vmm.accelerator import AcceleratorChoice
from atoll.vmm.launcher import Launcher
from atoll.vmm.shape import Shape

app = typer.Typer(add_completion=False)


@app.command()
def template(
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="As 1280MiB or 2GiB; default: limits.")] = None,
    vcpus: Annotated[int | None, typer.Option(min=1, max=2, help="Default: limits.vcpus.")] = None,
    config: ConfigFile = None,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Make the template of one size, unless it is there."""
    chosen = settings(config, state)
    shape = _shape(chosen, memory, vcpus)
    began = time.monotonic()
    with show_progress() as progress:
        choice = asyncio.run(_prepare(chosen, shape, progress))
    _report(shape, choice, time.monotonic() - began, as_json=json)


def _shape(config: Config, memory: str | None, vcpus: int | None) -> Shape:
    try:
        memory_mib = config.limits.memory_mib_default if memory is None else parse_memory_mib(memory)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from None
    spec = SandboxSpec(memory_mib=memory_mib, vcpus=config.limits.vcpus if vcpus is None else vcpus)
    return Shape(spec.memory_mib, spec.vcpus)


async def _prepare(config: Config, shape: Shape, progress: Progress) -> AcceleratorChoice:
    progress("looking for an accelerator that boots", None)
    _, boot = await asyncio.to_thread(boot_files, config.server.state_dir)
    async with Launcher(vmm_config(config), boot, progress=progress) as launcher:
        await launcher.prepare(shape)
        return launcher.accelerator


def _report(shape: Shape, choice: AcceleratorChoice, seconds: float, *, as_json: bool) -> None:
    facts = {
        "memory_mib": shape.memory_mib,
        "vcpus": shape.vcpus,
        "accelerator": choice.accel.value,
        "reason": choice.reason,
        "seconds": round(seconds, 1),
    }
    if as_json:
        print_json(facts)
    else:
        size = f"{shape.memory_mib} MiB and {shape.vcpus} vCPUs"
        print(f"template of {size} ready after {seconds:.1f} s; {choice.accel.value}: {choice.reason}")
