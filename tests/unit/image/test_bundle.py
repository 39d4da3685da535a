from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

from tests.unit.image.cpio_reader import read

from atoll.image import agent_bundle, agent_digest, bundle

SOURCES = {
    "__init__.py": "",
    "guest/__init__.py": "",
    "guest/main.py": "from atoll.wire.answer import ANSWER\ndef main():\n    print('agent', ANSWER)\n",
    "wire/__init__.py": "",
    "wire/answer.py": "ANSWER = 42\n",
    "engine/secret.py": "",
}


def package(directory: Path) -> Path:
    for name, text in SOURCES.items():
        path = directory / "atoll" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "atoll"


def pyz(data: bytes) -> bytes:
    return {name: content for name, _, content in read(data)}["atoll/agent.pyz"]


def test_the_guests_python_can_run_it(tmp_path: Path) -> None:
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(pyz(bundle.pack(package(tmp_path))))
    command = [sys.executable, "-I", "-S", "-E", "-B", str(archive)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "agent 42\n"


def test_only_the_guests_rooms_are_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(BytesIO(pyz(bundle.pack(package(tmp_path))))) as archive:
        names = archive.namelist()
    assert "atoll/wire/answer.py" in names
    assert not [name for name in names if "engine" in name]


def test_when_and_where_the_sources_lie_does_not_matter(tmp_path: Path) -> None:
    first, second = package(tmp_path / "one"), package(tmp_path / "two")
    for path in second.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert bundle.pack(first) == bundle.pack(second)


def test_a_changed_source_changes_it(tmp_path: Path) -> None:
    sources = package(tmp_path)
    before = bundle.pack(sources)
    (sources / "wire" / "answer.py").write_text("ANSWER = 43\n")
    assert bundle.pack(sources) != before


def test_the_installed_packages_own_bundle() -> None:
    with zipfile.ZipFile(BytesIO(pyz(agent_bundle()))) as archive:
        assert {"__main__.py", "atoll/__init__.py", "atoll/wire/frames.py"} <= set(archive.namelist())
        assert "atoll/image/bundle.py" not in archive.namelist()
    assert agent_digest().startswith("sha256:")
