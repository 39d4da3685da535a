"""ps, exec, cp, kill and extend against a real server."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from tests.unit.cli.conftest import ATOLL, RunningServer

from atoll.cli.remote import Address
from atoll.model.errors import InvalidSpec, Unauthorized

UNKNOWN = "sbx_ord_00000000000000000000"


def test_sandboxes_are_listed_by_label_and_killed(server: RunningServer) -> None:
    first, second = server.create(labels={"team": "a", "n": "1"}), server.create(labels={"team": "a"})
    listed = json.loads(server("ps", "--label", "team=a", "--json").stdout)
    assert [row["id"] for row in listed] == [second, first]
    assert listed[1]["labels"] == {"team": "a", "n": "1"}
    assert [row["id"] for row in json.loads(server("ps", "-l", "n=1", "--json").stdout)] == [first]
    table = server("ps", "--label", "team=a").stdout.decode()
    assert table.split()[:5] == ["ID", "STATUS", "CREATED", "STOPPED", "LABELS"]
    killed = server("kill", first, second)
    assert (killed.returncode, killed.stdout.decode().split()) == (0, [first, second])
    assert server("ps", "--label", "team=a", "--json").stdout == b"[]\n"
    everything = json.loads(server("ps", "--all", "--label", "team=a", "--json").stdout)
    assert {row["status"] for row in everything} == {"stopped"}
    assert "has stopped" in server.fails("exec", first, "--", "true")


def test_kill_goes_on_after_one_that_is_unknown(server: RunningServer, sandbox: str) -> None:
    done = server("kill", UNKNOWN, "../../etc", sandbox)
    assert (done.returncode, done.stdout.decode().strip()) == (1, sandbox)
    assert done.stderr.decode().splitlines() == [
        f"atoll: no sandbox has the id '{UNKNOWN}'",
        "atoll: no sandbox has the id '../../etc'",
    ]


def test_extend_says_when_it_will_end(server: RunningServer, sandbox: str) -> None:
    granted = json.loads(server("extend", sandbox, "5m", "--json").stdout)
    assert granted["id"] == sandbox
    assert abs(granted["stop_at_ms"] / 1000 - time.time() - 300) < 20
    assert f"{sandbox}  ends at 20" in server("extend", sandbox, "30s").stdout.decode()
    assert "is no time to live" in server.fails("extend", sandbox, "session")
    assert "number with s, m or h" in server.fails("extend", sandbox, "soon")
    assert "no sandbox has the id" in server.fails("extend", UNKNOWN, "5m")


def test_a_server_that_is_not_there_is_named_with_a_remedy(server: RunningServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for words in (["ps"], ["exec", UNKNOWN, "--", "true"], ["cp", f"{UNKNOWN}:/x", "."], ["extend", UNKNOWN, "5m"]):
            line = server.fails(*words, ATOLL_URL=url)
            assert url in line and "atoll serve" in line and "--url" in line


def test_a_wrong_token_and_none(server: RunningServer) -> None:
    assert "not known" in server.fails("ps", "--token", "ddo_wrong")
    assert "does not know this token" in server.fails("exec", UNKNOWN, "--token", "ddo_wrong", "--", "true")
    assert "atoll token create" in server.fails("ps", ATOLL_TOKEN="")
    assert "not the address of a server" in server.fails("ps", "--url", "ftp://x")


class _OtherServer(http.server.BaseHTTPRequestHandler):
    """Not atoll."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


def test_what_is_no_atoll_server_is_said_so(server: RunningServer) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _OtherServer) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{other.server_port}"
            assert f"{url} is no atoll server" in server.fails("ps", "--url", url)
            assert f"{url} is no atoll server" in server.fails("exec", UNKNOWN, "--url", url, "--", "true")
        finally:
            other.shutdown()
            thread.join()


def test_the_address_is_found_in_the_official_clients_variables_last() -> None:
    official = {"DENO_SANDBOX_ENDPOINT": "http://deno:1", "DENO_DEPLOY_TOKEN": "d"}
    ours = {**official, "ATOLL_URL": "http://ours:2/", "ATOLL_TOKEN": "o"}
    assert Address.find(None, None, official) == Address("http://deno:1", "d")
    assert Address.find(None, None, ours) == Address("http://ours:2", "o")
    assert Address.find("https://given", "g", ours) == Address("https://given", "g")
    assert Address.find(None, "t", {}) == Address("http://127.0.0.1:8700", "t")
    with pytest.raises(Unauthorized, match="ATOLL_TOKEN"):
        Address.find(None, None, {})
    with pytest.raises(InvalidSpec, match="token"):
        Address.find(None, "a\nb", {})


# -- exec


def test_exec_has_the_commands_status_and_output(server: RunningServer, sandbox: str) -> None:
    done = server("exec", sandbox, "--", "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")
    assert server("exec", sandbox, "--", "sh", "-c", "kill -KILL $$").returncode == 137
    missing = server("exec", sandbox, "--", "no-such-command")
    assert (missing.returncode, missing.stdout) == (127, b"")
    assert b"cannot start 'no-such-command'" in missing.stderr


def test_exec_takes_environment_and_directory(server: RunningServer, sandbox: str) -> None:
    words = ["--env", "ONE=1=1", "--env", "OURS", "--env", "ABSENT", "--cwd", "/usr"]
    done = server("exec", sandbox, *words, "--", "sh", "-c", 'echo "$ONE $OURS ${ABSENT-none} $(pwd)"', OURS="two")
    assert done.stdout == b"1=1 two none /usr\n"


def test_exec_moves_many_bytes_both_ways(server: RunningServer, sandbox: str) -> None:
    content = os.urandom(1 << 20) * 24
    done = server("exec", sandbox, "--", "cat", stdin=content)
    assert (done.returncode, done.stdout == content) == (0, True)


def test_exec_of_short_commands_loses_nothing(server: RunningServer, sandbox: str) -> None:
    for number in range(8):
        assert server("exec", sandbox, "--", "echo", str(number)).stdout == f"{number}\n".encode()


def test_exec_without_standard_streams(server: RunningServer, sandbox: str) -> None:
    closing = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *ATOLL, "exec", sandbox, "--", "sh", "-c", "cat; echo hi; exit 3"]
    done = subprocess.run(closing, env=server.environ, stderr=subprocess.PIPE, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (3, b"")


def test_exec_whose_reader_goes_away_ends(server: RunningServer, sandbox: str) -> None:
    with server.start("exec", sandbox, "--", "yes", stdout=-1, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE


def test_ctrl_c_goes_to_the_remote_command(server: RunningServer, sandbox: str) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    with server.start("exec", sandbox, "--", "bash", "-c", script, stdout=-1, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"caught\n"
        assert process.wait(30) == 3


def test_exec_says_that_the_sandbox_ended(server: RunningServer, sandbox: str) -> None:
    with server.start("exec", sandbox, "--", "sh", "-c", "echo on; sleep 60", stdout=-1, stderr=-1) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"on\n"
        assert server("kill", sandbox).returncode == 0
        assert process.wait(30) == 137
        assert process.stderr.read().decode() == f"atoll: sandbox {sandbox} has stopped: killed\n"


def test_exec_on_a_terminal(server: RunningServer, sandbox: str) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 99))
    process = subprocess.Popen(
        [*ATOLL, "exec", sandbox, "--", "sh", "-c", "stty size; read line; stty size; exit 4"],
        env=server.environ,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        seen = b""
        while b"33 99\r\n" not in seen:
            seen += os.read(master, 1000)
        termios.tcsetwinsize(slave, (11, 44))
        process.send_signal(signal.SIGWINCH)
        time.sleep(0.5)  # The new size is on its way, and nothing here can see it arrive.
        os.write(master, b"\n")
        while not re.search(rb"11 44\r\n", seen):
            seen += os.read(master, 1000)
        assert process.wait(30) == 4
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        os.close(master)
        os.close(slave)


# -- cp


def test_trees_are_copied_both_ways(server: RunningServer, sandbox: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    content = os.urandom(2_000_001)
    (tree / "deep" / "big").write_bytes(content)
    (tree / "deep" / "script").write_text("#!/bin/sh\n")
    (tree / "deep" / "script").chmod(0o750)
    (tree / "empty").touch()
    (tree / "link").symlink_to("deep/big")
    there = f"{server.home}/there-{os.getpid()}"
    into = server("cp", str(tree), f"{sandbox}:{there}")
    assert (into.returncode, into.stderr) == (0, b"")
    back = tmp_path / "back"
    out = server("cp", f"{sandbox}:{there}", str(back))
    assert (out.returncode, out.stderr) == (0, b"")
    assert (back / "deep" / "big").read_bytes() == content
    assert (back / "deep" / "script").stat().st_mode & 0o777 == 0o750
    assert (back / "link").readlink() == Path("deep/big")
    again = server("cp", f"{sandbox}:{there}/.", str(back))
    assert (again.returncode, again.stderr) == (0, b"")
    assert sorted(os.listdir(back)) == ["deep", "empty", "link"]


def test_one_file_goes_into_a_directory(server: RunningServer, sandbox: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from here")
    assert server("cp", str(tmp_path / "a"), f"{sandbox}:{server.home}").returncode == 0
    assert (server.home / "a").read_text() == "from here"
    assert server("cp", f"{sandbox}:{server.home}/a", str(tmp_path / "b")).returncode == 0
    assert (tmp_path / "b").read_text() == "from here"


def test_cp_leaves_out_what_would_lead_outside(server: RunningServer, sandbox: str, tmp_path: Path) -> None:
    bad = server.home / "bad"
    bad.mkdir()
    (bad / "good").write_text("good")
    (bad / "absolute").symlink_to("/etc")
    (bad / "upwards").symlink_to("../../x")
    os.mkfifo(bad / "pipe")
    done = server("cp", f"{sandbox}:{bad}", str(tmp_path))
    assert done.returncode == 1
    assert sorted(line.split(": ")[1] for line in done.stderr.decode().splitlines()) == [
        "left out bad/absolute",
        "left out bad/pipe",
        "left out bad/upwards",
    ]
    assert os.listdir(tmp_path / "bad") == ["good"]


def test_cp_errors_are_one_line(server: RunningServer, sandbox: str, tmp_path: Path) -> None:
    assert "nowhere" in server.fails("cp", str(tmp_path / "nowhere"), f"{sandbox}:/tmp")
    assert "No such file" in server.fails("cp", f"{sandbox}:/no/such", str(tmp_path))
    (server.home / "large").write_bytes(b"x" * 2_000_000)
    assert "--max-size" in server.fails("cp", "--max-size", "1MiB", f"{sandbox}:{server.home}/large", str(tmp_path))
    assert os.listdir(tmp_path) == []
    assert server("cp", "a", "b").returncode == 2
    assert server("cp", f"{sandbox}:/a", f"{sandbox}:/b").returncode == 2
