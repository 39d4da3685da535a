from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.image import manifest, scratch
from atoll.image.store import ImageStore
from atoll.model.errors import ImageError


def built(directory: Path, content: bytes = b"rootfs", *, inputs: str = "sha256:1", at: str = "2026-01-01") -> Path:
    """What a build leaves before it is added."""
    directory.mkdir(parents=True)
    for name in manifest.FILES:
        (directory / name).write_bytes(content + name.encode())
    files = {name: manifest.file_facts(directory / name) for name in manifest.FILES}
    facts = manifest.Manifest(manifest.image_digest(files), inputs, f"{at}T00:00:00+00:00", files, ("a=1",), {})
    (directory / manifest.NAME).write_text(facts.to_json())
    return directory


def test_an_empty_store(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "not made yet")
    assert store.current() is None
    assert store.list() == []
    store.verify()


def test_an_added_image_is_current_and_verifies(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image = store.add(built(tmp_path / "new"))
    assert store.current() == store.get(image.digest) == image
    assert image.rootfs.read_bytes() == b"rootfsrootfs.erofs"
    assert image.size_bytes == sum(path.stat().st_size for path in (image.rootfs, image.kernel, image.initramfs))
    store.verify(image.digest)


def test_the_newest_is_first_and_any_can_be_selected(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    old = store.add(built(tmp_path / "a", b"old", at="2025-01-01"))
    new = store.add(built(tmp_path / "b", b"new", at="2026-01-01"))
    assert store.list() == [new, old]
    store.select(old.digest)
    assert store.current() == old


@pytest.mark.parametrize("name", manifest.FILES)
def test_verify_names_the_file_that_was_changed(tmp_path: Path, name: str) -> None:
    store = ImageStore(tmp_path)
    image = store.add(built(tmp_path / "new"))
    path = image.rootfs.parent / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ImageError, match=name):
        store.verify()
    path.unlink()
    with pytest.raises(ImageError, match=name):
        store.verify(image.digest)


def test_verify_finds_a_manifest_that_was_changed_with_its_file(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image = store.add(built(tmp_path / "new"))
    image.kernel.write_bytes(b"another kernel")
    path = image.rootfs.parent / manifest.NAME
    facts = json.loads(path.read_text())
    facts["files"][manifest.KERNEL] = vars(manifest.file_facts(image.kernel))
    path.write_text(json.dumps(facts))
    with pytest.raises(ImageError, match="manifest"):
        store.verify()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', "\0"])
def test_an_unreadable_manifest_is_an_image_error(tmp_path: Path, text: str) -> None:
    store = ImageStore(tmp_path)
    image = store.add(built(tmp_path / "new"))
    (image.rootfs.parent / manifest.NAME).write_text(text)
    assert store.list() == []
    with pytest.raises(ImageError, match=r"manifest\.json"):
        store.get(image.digest)


def test_adding_it_again_keeps_the_files_and_takes_the_manifest(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    first = store.add(built(tmp_path / "a"))
    inode = first.rootfs.stat().st_ino
    second = store.add(built(tmp_path / "b", inputs="sha256:2"))
    assert second.digest == first.digest
    assert second.inputs == "sha256:2"
    assert second.rootfs.stat().st_ino == inode


def test_adding_it_again_mends_a_damaged_one(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    store.add(built(tmp_path / "a")).rootfs.write_bytes(b"damaged")
    store.add(built(tmp_path / "b"))
    store.verify()


@pytest.mark.parametrize("digest", ["", "sha256:", "../../etc", "sha256:" + "g" * 64, "sha256:" + "0" * 64])
def test_what_is_no_image_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ImageError):
        ImageStore(tmp_path).get(digest)


def test_collect_keeps_the_current_and_the_wanted(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    digests = [store.add(built(tmp_path / name, name.encode())).digest for name in "abc"]
    interrupted = tmp_path / ".build-x"
    interrupted.mkdir()
    assert store.collect(keep=frozenset(digests[:1])) == [digests[1]]
    assert {image.digest for image in store.list()} == {digests[0], digests[2]}
    assert not interrupted.exists()


def test_collect_leaves_a_running_build_alone(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    with scratch.lock(tmp_path):
        (tmp_path / ".build-x").mkdir()
        assert store.collect() == []
        assert (tmp_path / ".build-x").exists()


ENTER_AND_DIE = """
import os, signal, sys
from pathlib import Path
from atoll.image import scratch

store = Path(sys.argv[1])
with scratch.lock(store) as held, scratch.workplace(store, held) as place:
    (place.scratch / "tree").mkdir()
    print(place.build, place.scratch, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_build_left_is_removed_with_its_scratch(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ENTER_AND_DIE, str(store)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    build, work = map(Path, done.stdout.split())
    assert work.parent == tmp_path
    assert (work / "tree").is_dir()
    scratch.remove_interrupted(store)
    assert not work.exists()
    assert not build.exists()
