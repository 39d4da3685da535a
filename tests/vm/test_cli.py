"""`atoll run` as its user has it: a process with a stdin, a stdout, a terminal, and a VM that is gone afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

MEBIBYTE = 1024 * 1024
ATOLL = [sys.executable, "-c", "from atoll.cli import main; main()"]


class CommandLine:
    """`atoll` with the state directory that has the image."""

    def __init__(self, state: Path, cwd: Path) -> None:
        self.cwd = cwd
        self.environ = {**os.environ, "ATOLL_SERVER_STATE_DIR": str(state), "COLUMNS": "200"}

    def run(self, *words: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*ATOLL, "run", *words],
            input=stdin,
            capture_output=True,
            check=False,
            env={**self.environ, **environ},
            cwd=self.cwd,
            timeout=100,
        )

    @contextmanager
    def start(self, *words: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        """In a session of its own, as behind a terminal of its own."""
        command = [*ATOLL, "run", *words]
        process = subprocess.Popen(command, env=self.environ, cwd=self.cwd, start_new_session=True, **streams)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def atoll(state_dir: Path, tmp_path: Path) -> CommandLine:
    return CommandLine(state_dir, tmp_path)


def emulators() -> set[int]:
    return {
        process.pid
        for process in psutil.process_iter(["name", "status"])
        if str(process.info["name"]).startswith("qemu-system") and process.info["status"] != psutil.STATUS_ZOMBIE
    }


@pytest.fixture(autouse=True)
def no_vm_is_left() -> Iterator[None]:
    before = emulators()
    yield
    until = time.monotonic() + 10
    while (left := {pid for pid in emulators() - before if _is_ours(pid)}) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


def _is_ours(pid: int) -> bool:
    """Others on this host run VMs too; a VM of a command that ended is an orphan, or a child of this one."""
    try:
        return psutil.Process(pid).parent() is None or os.getpid() in {p.pid for p in psutil.Process(pid).parents()}
    except psutil.NoSuchProcess:
        return False


def test_the_status_is_the_commands(atoll: CommandLine) -> None:
    done = atoll.run("--", "bash", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_signal_in_the_sandbox_is_128_and_its_number(atoll: CommandLine) -> None:
    assert atoll.run("--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_command_that_is_not_there(atoll: CommandLine) -> None:
    done = atoll.run("--", "no-such-command")
    assert (done.returncode, done.stdout) == (127, b"")
    assert done.stderr == b"atoll: cannot start 'no-such-command': No such file or directory\n"
    assert atoll.run("--", "/etc/passwd").returncode == 126


def test_input_goes_in_and_comes_out_byte_for_byte(atoll: CommandLine) -> None:
    content = os.urandom(3 * MEBIBYTE) + bytes(range(256))
    done = atoll.run("--", "cat", stdin=content)
    assert (done.returncode, done.stdout) == (0, content)


def test_64_mib_of_output(atoll: CommandLine) -> None:
    program = "import sys; [sys.stdout.buffer.write(bytes([n]) * 2**20) for n in range(64)]"
    done = atoll.run("--", "python3", "-c", program)
    expected = hashlib.sha256(b"".join(bytes([n]) * MEBIBYTE for n in range(64)))
    assert (done.returncode, len(done.stdout)) == (0, 64 * MEBIBYTE)
    assert hashlib.sha256(done.stdout).digest() == expected.digest()


def test_a_slow_reader_gets_everything_and_stops_the_command_meanwhile(atoll: CommandLine) -> None:
    with atoll.start("--", "sh", "-c", "head -c 20000000 /dev/zero; echo done >&2", stdout=-1, stderr=-1) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.read(1)
        time.sleep(2.5)
        os.set_blocking(process.stderr.fileno(), False)
        assert process.stderr.read() is None, "it ended before anybody read what it wrote"
        assert len(first + process.stdout.read()) == 20_000_000
        assert process.wait(30) == 0


def test_a_reader_that_goes_away_ends_the_command(atoll: CommandLine) -> None:
    with atoll.start("--", "yes", stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE


def test_a_child_that_holds_the_pipe_is_not_waited_for(atoll: CommandLine) -> None:
    began = time.monotonic()
    done = atoll.run("--", "sh", "-c", "sleep 60 & echo started")
    assert (done.returncode, done.stdout) == (0, b"started\n")
    assert time.monotonic() - began < 30


def test_environment_user_and_directory(atoll: CommandLine) -> None:
    words = ["--env", "ONE=1=1", "--env", "OURS", "--cwd", "/tmp", "--user", "root", "--memory", "1280MiB"]
    done = atoll.run(*words, "--", "sh", "-c", 'echo "$ONE $OURS $(pwd) $(id -un)"', OURS="two")
    assert done.stdout == b"1=1 two /tmp root\n"


def test_files_are_put_into_it(atoll: CommandLine) -> None:
    tree = atoll.cwd / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "run.sh").write_text("echo deep")
    (tree / "deep" / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("deep/run.sh")
    (atoll.cwd / "one.txt").write_text("one")
    copies = ["--copy", "tree", "--copy", "one.txt:/tmp/made/two.txt", "--copy", "tree/.:/home/app/flat"]
    script = "cat tree/link /tmp/made/two.txt; ls flat; stat -c %A flat/deep/run.sh; readlink tree/link"
    done = atoll.run(*copies, "--", "sh", "-c", script)
    assert done.stderr == b""
    assert done.stdout == b"echo deeponedeep\nlink\n-rwxr-xr-x\ndeep/run.sh\n"


def test_the_time_can_be_limited(atoll: CommandLine) -> None:
    done = atoll.run("--timeout", "3s", "--", "sleep", "60")
    assert done.returncode == 124
    assert done.stderr == b"atoll: the time was up (--timeout), and the sandbox was ended\n"


def test_ctrl_c_goes_to_the_command(atoll: CommandLine) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    with atoll.start("--", "bash", "-c", script, stdout=-1, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to everything in the foreground.
        assert process.stdout.readline() == b"caught\n"
        assert process.wait(30) == 3


def test_a_second_ctrl_c_ends_the_sandbox(atoll: CommandLine) -> None:
    script = "trap '' INT; echo ready; sleep 100"
    with atoll.start("--", "bash", "-c", script, stdout=-1, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_command_runs_ends_all(atoll: CommandLine, number: int) -> None:
    with atoll.start("--", "sleep", "100", stdin=subprocess.DEVNULL) as process:
        until = time.monotonic() + 30
        while not psutil.Process(process.pid).children(recursive=True) and time.monotonic() < until:
            time.sleep(0.005)
        os.killpg(process.pid, number)
        assert process.wait(30) == 128 + number


def test_killed_itself_it_leaves_nothing(atoll: CommandLine) -> None:
    with atoll.start("--", "sh", "-c", "echo ready; sleep 100", stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        inner = psutil.Process(process.pid).children(recursive=True)
        assert inner
        process.kill()
        _, alive = psutil.wait_procs(inner, timeout=10)
        assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--allow-net", "*.example.com"], b"--allow-net is not available"),
        (["--secret", "KEY=example.com"], b"--secret is not available"),
        (["--volume", "data:/data"], b"--volume is not available"),
    ],
)
def test_what_is_not_built_is_refused(atoll: CommandLine, words: list[str], named: bytes) -> None:
    done = atoll.run(*words, "--", "true")
    assert (done.returncode, done.stdout) == (1, b"")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_net_is_true_today(atoll: CommandLine) -> None:
    assert atoll.run("--no-net", "--", "sh", "-c", "test $(ls /sys/class/net) = lo").returncode == 0


class Terminal:
    """A terminal with `atoll run` on it."""

    def __init__(self, atoll: CommandLine, *words: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (33, 99))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [*ATOLL, "run", *words],
            env={**atoll.environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        self.seen = b""

    def until(self, pattern: bytes) -> bytes:
        """What stood in the first group, once `pattern` has been printed."""
        while not (match := re.search(pattern, self.seen)):
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen[match.end() :]
        return match[1] if match.groups() else match[0]

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def shell(atoll: CommandLine) -> Iterator[Terminal]:
    terminal = Terminal(atoll, "--", "bash", "--norc")
    yield terminal
    terminal.close()


def test_on_a_terminal_the_command_has_a_terminal(shell: Terminal) -> None:
    shell.until(rb"\$ ")
    shell.type(b"tty; stty size; echo term=$TERM\n")
    assert shell.until(rb"(/dev/pts/\d+)\r\n")
    assert shell.until(rb"(\d+ \d+)\r\n") == b"33 99"
    assert shell.until(rb"term=(xterm\S*)\r\n") == b"xterm-256color"
    shell.type(b"exit 5\n")
    assert shell.process.wait(30) == 5
    assert termios.tcgetattr(shell.slave) == shell.before


def test_a_new_size_is_passed_on(shell: Terminal) -> None:
    shell.until(rb"\$ ")
    termios.tcsetwinsize(shell.slave, (11, 44))
    shell.process.send_signal(signal.SIGWINCH)
    for _ in range(50):
        shell.type(b"stty size\n")
        if shell.until(rb"(\d+ \d+)\r\n") == b"11 44":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the new size never arrived")
    shell.type(b"exit\n")
    assert shell.process.wait(30) == 0


def test_ctrl_c_and_ctrl_d_are_keys_of_the_command(shell: Terminal) -> None:
    shell.until(rb"\$ ")
    shell.type(b"sleep 100; echo status=$?\n")
    shell.until(rb"\r\n")
    time.sleep(0.5)  # The shell starts `sleep`; nothing that can be seen from here tells when it has.
    shell.type(b"\x03")
    shell.until(rb"\$ ")
    shell.type(b"\x04")
    assert shell.process.wait(30) == 128 + signal.SIGINT


def test_a_server_is_started_used_and_stopped_by_ctrl_c(atoll: CommandLine, state_dir: Path) -> None:
    state, ready = atoll.cwd / "state", atoll.cwd / "ready.json"
    state.mkdir()
    for name in ("images", "templates"):
        (state / name).symlink_to(state_dir / name)
    words = ["serve", "--listen", "127.0.0.1:0", "--state", str(state), "--ready-file", str(ready)]
    process = subprocess.Popen(
        [*ATOLL, *words], env=atoll.environ, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 90
        while not ready.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        facts = json.loads(ready.read_text())
        assert facts["accelerator"] in ("kvm", "tcg")
        environ = {**atoll.environ, "ATOLL_URL": facts["url"], "ATOLL_TOKEN": facts["token"]}
        listed = subprocess.run([*ATOLL, "ps", "--json"], env=environ, capture_output=True, check=True)
        assert json.loads(listed.stdout) == []
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert facts["token"].encode() in out
        assert b"looking for an accelerator" in err
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)
