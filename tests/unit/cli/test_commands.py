"""The command line as a user meets it: as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli.tree import command_names, load, summary


class CommandLine:
    def __init__(self, state: Path) -> None:
        home = state.parent
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ATOLL_SERVER_STATE_DIR": str(state),
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from atoll.cli import main; main()"]
        return subprocess.run(
            [*program, *arguments], env={**self.environ, **environ}, capture_output=True, text=True, check=False
        )

    def fails(self, *arguments: str, **environ: str) -> str:
        """The one line that a failure prints."""
        done = self(*arguments, **environ)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("atoll: ")
        return line


@pytest.fixture
def atoll(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "state")


def test_tokens_are_made_listed_and_revoked(atoll: CommandLine) -> None:
    made = atoll("token", "create", "ci")
    assert made.returncode == 0
    assert made.stdout.startswith("ddo_")
    assert atoll("token", "create", "other", "--json").returncode == 0
    assert atoll("token", "revoke", "ci").returncode == 0
    listed = atoll("token", "ls", "--json").stdout
    assert [(token["name"], token["revoked_at_ms"] is None) for token in json.loads(listed)] == [
        ("other", True),
        ("ci", False),
    ]
    assert made.stdout.strip() not in listed
    assert atoll("token", "ls").stdout.split()[:2] == ["NAME", "CREATED"]


def test_failures_are_one_line_with_status_1(atoll: CommandLine, tmp_path: Path) -> None:
    assert "no live token has the name 'x'" in atoll.fails("token", "revoke", "x")
    assert "letters" in atoll.fails("token", "create", "a b")
    assert "cannot be read" in atoll.fails("token", "ls", "--config", str(tmp_path / "none.toml"))
    assert "did you mean ATOLL_POOL_SIZE" in atoll.fails("token", "ls", ATOLL_POOL_SIZES="3")
    (tmp_path / "file").touch()
    assert "cannot be opened" in atoll.fails("token", "ls", "--state", str(tmp_path / "file"))


def test_debug_shows_where(atoll: CommandLine) -> None:
    done = atoll("token", "revoke", "x", ATOLL_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["token", "nosuch"], ["token", "create"], ["token", "ls", "--nosuch"]]
)
def test_wrong_usage_is_status_2(atoll: CommandLine, arguments: list[str]) -> None:
    done = atoll(*arguments)
    assert done.returncode == 2
    assert "Usage: atoll" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_gets_a_suggestion(atoll: CommandLine) -> None:
    assert "Did you mean 'token'?" in atoll("tokn").stderr


def test_help_lists_every_command_and_imports_none(atoll: CommandLine) -> None:
    program = "import sys; sys.argv = ['atoll', '--help']; from atoll.cli import main\ntry: main()\n"
    program += (
        "except SystemExit: print([m for m in sys.modules if m.startswith('atoll.') or m in ('asyncio', 'qemu')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=atoll.environ, capture_output=True, text=True, check=True
    )
    helped, _, modules = done.stdout.strip().rpartition("\n")
    assert set(command_names()) <= set(helped.replace("│", " ").split())
    assert "'atoll.cli.tree'" in modules
    assert "atoll.cli.commands" not in modules
    assert "'asyncio'" not in modules


@pytest.mark.parametrize("name", command_names())
def test_every_command_loads_and_says_what_it_is_for(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help
    assert summary(name).endswith(".")
    # Typer would give each command its own --install-completion.
    assert "install_completion" not in [parameter.name for parameter in command.params]


def test_completion_knows_the_commands_and_theirs(atoll: CommandLine) -> None:
    asked = {"_ATOLL_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "atoll to"}
    assert atoll(**asked).stdout.split() == ["token"]
    deeper = {**asked, "COMP_CWORD": "2", "COMP_WORDS": "atoll token "}
    assert atoll(**deeper).stdout.split() == ["create", "ls", "revoke"]


def test_images_are_listed_where_there_are_none(atoll: CommandLine) -> None:
    assert atoll("image", "ls", "--json").stdout == "[]\n"
    assert "atoll image build" in atoll("image", "ls").stderr


def test_a_template_needs_an_image(atoll: CommandLine) -> None:
    assert "atoll image build" in atoll("template", "--json").stderr
    assert atoll("template", "--memory", "1GB").returncode == 2
    assert "memory_mb: 100 is not between" in atoll("template", "--memory", "100MiB").stderr


def test_doctor_names_what_is_missing_and_its_remedy(atoll: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = atoll("doctor", "--json", PATH=str(tmp_path / "bin"))
    assert done.returncode == 1
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert findings["qemu-system-x86_64"]["verdict"] == "missing"
    assert findings["bwrap"]["remedy"] == "`apt-get install bubblewrap`"
    assert findings["python"] == {**findings["python"], "verdict": "ok", "remedy": ""}


def test_doctor_says_how_sandboxes_would_run_here(atoll: CommandLine) -> None:
    done = atoll("doctor", "--json")
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == any(finding["verdict"] == "missing" for finding in findings.values())
    assert {"user namespaces", "/dev/kvm", "cgroup", "jail", "memory", "state directory"} <= findings.keys()
    assert findings["accelerator"]["verdict"] == "warning"
    assert "build" in findings["guest image"]["remedy"]


def test_doctor_refuses_a_state_directory_that_is_a_file(atoll: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = atoll("doctor", "--json", "--state", str(tmp_path / "file" / "state"))
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["state directory"]["verdict"] == "missing"
