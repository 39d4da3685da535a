"""Say what this host has and lacks for running sandboxes, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from atoll.cli.findings import Finding, Verdict, host_findings
from atoll.cli.options import ConfigFile, Json, StateDir, settings
from atoll.cli.output import print_rows
from atoll.config import Config
from atoll.model.errors import AtollError

if TYPE_CHECKING:
    from atoll.vmm.confine import Confinement, JailReport

app = typer.Typer(add_completion=False)


@app.command()
def doctor(config: ConfigFile = None, state: StateDir = None, json: Json = False) -> None:
    """Look at everything that atoll needs. Status 1 when something is missing without which no sandbox runs."""
    chosen = settings(config, state)
    findings = [*host_findings(chosen.server.state_dir), *_vm_findings(chosen)]
    rows = [
        {"subject": one.subject, "verdict": one.verdict.value, "found": one.found, "remedy": _remedy(one)}
        for one in findings
    ]
    columns = {"verdict": "", "subject": "WHAT", "found": "FOUND", "remedy": "REMEDY"}
    print_rows(rows, columns, as_json=json, empty="nothing was looked at")
    if any(one.verdict is Verdict.MISSING for one in findings):
        raise typer.Exit(1)


def _remedy(finding: Finding) -> str:
    return "" if finding.verdict is Verdict.OK else finding.remedy


def _vm_findings(config: Config) -> Iterator[Finding]:
    """The image, the jail and the accelerator, as the VMM itself finds them."""
    try:
        yield from asyncio.run(_try_vm(config))
    except (AtollError, OSError) as error:
        yield Finding("virtual machine", Verdict.MISSING, str(error).partition("\n")[0], "see the lines above")


async def _try_vm(config: Config) -> list[Finding]:
    # Imported late: `atoll doctor --help` needs none of it.
    from atoll.vmm.confine import Confinement, find_qemu

    confinement = await asyncio.to_thread(Confinement.detect, find_qemu(), config.server.state_dir)
    report = await asyncio.to_thread(confinement.report)
    return [*_jail(report), *await _image_findings(config, confinement)]


async def _image_findings(config: Config, confinement: Confinement) -> list[Finding]:
    from atoll.engine.host import boot_files
    from atoll.image import ImageStore
    from atoll.vmm.accelerator import choose_accelerator
    from atoll.vmm.confine import qemu_version

    if ImageStore(config.server.images_dir).current() is None:
        return [
            Finding("guest image", Verdict.WARNING, "none", "`atoll image build` makes one"),
            Finding("accelerator", Verdict.WARNING, "not known before a kernel has booted", "build the image first"),
        ]
    state_dir = config.server.state_dir
    image, boot = await asyncio.to_thread(boot_files, state_dir)
    version = await asyncio.to_thread(qemu_version, confinement.qemu)
    choice = await choose_accelerator(config.vm.accelerator, confinement, boot, version, state_dir)
    return [Finding("guest image", Verdict.OK, image.digest), _accelerator(choice.accel.value, choice.reason)]


def _jail(report: JailReport) -> Iterator[Finding]:
    if report.problem:
        yield Finding("jail", Verdict.MISSING, report.problem, "see user namespaces above")
    else:
        yield Finding("jail", Verdict.OK, report.identity)
    bounded = not report.cgroup.startswith("none")
    yield Finding("cgroup", Verdict.OK if bounded else Verdict.WARNING, report.cgroup, "delegate one (Delegate=yes)")
    yield Finding("limits", Verdict.OK, report.rlimits)
    yield Finding("system calls", Verdict.OK, report.syscalls)


def _accelerator(name: str, reason: str) -> Finding:
    if name == "kvm":
        return Finding("accelerator", Verdict.OK, f"kvm: {reason}")
    remedy = "use a host with KVM; emulation is slower, and QEMU does not call it a security boundary"
    return Finding("accelerator", Verdict.WARNING, f"{name}: {reason}", remedy)
