"""The probe's guest: its program runs here too, because it asks nothing but Linux."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from atoll.vmm import accelerator, probe
from atoll.vmm.shape import BootFiles


def test_the_program_says_the_marker_and_waits(tmp_path: Path) -> None:
    path = tmp_path / "init"
    path.write_bytes(probe.program())
    path.chmod(0o755)
    with subprocess.Popen([path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == probe.MARKER + b"\n"
        assert process.poll() is None
        process.kill()


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio to read the archive with")
def test_the_archive_is_a_cpio() -> None:
    listed = subprocess.run(["cpio", "-tv", "--quiet"], input=probe.initramfs(), capture_output=True, check=True)
    lines = listed.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["dev", "dev/console", "init"]
    assert lines[1].startswith("crw")


def test_a_verdict_is_remembered_until_something_changes(tmp_path: Path) -> None:
    cache = tmp_path / "state" / "accelerator.json"
    assert accelerator._recall(cache, {"qemu": "1"}) is None
    accelerator._remember(cache, {"qemu": "1"}, "broken")
    assert accelerator._recall(cache, {"qemu": "1"}) == {"facts": {"qemu": "1"}, "problem": "broken"}
    assert accelerator._recall(cache, {"qemu": "2"}) is None
    cache.write_text("{")
    assert accelerator._recall(cache, {"qemu": "1"}) is None


def test_the_facts_name_qemu_kernel_processor_and_image(tmp_path: Path) -> None:
    boot = BootFiles("sha256:i", tmp_path, tmp_path, tmp_path, b"", "sha256:a")
    facts = accelerator._facts(boot, "7.2")
    assert facts["qemu"] == "7.2"
    assert facts["image"] == "sha256:i"
    assert all(facts.values())
