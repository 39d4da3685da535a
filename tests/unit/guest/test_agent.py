"""The real agent in a process of its own: processes, streams, files, listings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents import agent_link

from atoll.engine.files import Files
from atoll.engine.process import Processes
from atoll.model.errors import GuestError, LinkLost, ProcessNotFound
from atoll.model.process import ExitStatus, PtySize, SpawnSpec
from atoll.vmm.link import GuestLink

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[GuestLink]:
    async with agent_link(tmp_path) as link:
        yield link


@pytest.fixture
def processes(link: GuestLink) -> Processes:
    processes = Processes(link)

    def on_notice(name: str, params: dict[str, Any]) -> None:
        processes.on_exited(params)

    link.on_notice = on_notice
    return processes


@pytest.fixture
def files(link: GuestLink) -> Files:
    return Files(link)


async def run(processes: Processes, *argv: str, stdin: bytes | None = None) -> tuple[ExitStatus, bytes, bytes]:
    process = await processes.start(SpawnSpec(argv, stdin=stdin is not None), ENV, "/")
    assert process.stdout is not None and process.stderr is not None
    async with asyncio.TaskGroup() as group:
        out = group.create_task(process.stdout.read_all(1 << 30))
        err = group.create_task(process.stderr.read_all(1 << 30))
        if stdin is not None and process.stdin is not None:
            await process.stdin.write(stdin)
            process.stdin.close()
        status = await process.wait()
    return status, out.result() or b"", err.result() or b""


class TestProcesses:
    async def test_output_and_status(self, processes: Processes) -> None:
        result = await run(processes, "sh", "-c", "echo out; echo err >&2; exit 3")
        assert result == (ExitStatus(3), b"out\n", b"err\n")

    async def test_twenty_megabytes_through_cat(self, processes: Processes) -> None:
        data = os.urandom(1024) * 20_000
        status, out, _ = await run(processes, "cat", stdin=data)
        assert status.success
        assert out == data

    async def test_a_signal_is_named(self, processes: Processes) -> None:
        process = await processes.start(SpawnSpec(("sleep", "100")), ENV, "/")
        await process.signal("SIGTERM")
        assert await process.wait() == ExitStatus(143, "SIGTERM")
        with pytest.raises(ProcessNotFound):
            await process.signal("SIGTERM")

    async def test_a_missing_program(self, processes: Processes) -> None:
        with pytest.raises(GuestError, match="cannot start 'nowhere'") as caught:
            await run(processes, "nowhere")
        assert caught.value.errno_name == "ENOENT"

    async def test_a_missing_directory(self, processes: Processes) -> None:
        with pytest.raises(GuestError, match="cannot start in the directory '/nowhere'"):
            await processes.start(SpawnSpec(("true",)), ENV, "/nowhere")

    async def test_a_program_that_may_not_be_executed(self, processes: Processes, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("echo never")
        with pytest.raises(GuestError) as caught:
            await run(processes, str(tmp_path / "plain"))
        assert caught.value.errno_name == "EACCES"

    async def test_a_script_without_an_interpreter_line(self, processes: Processes, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("echo from $0")
        script.chmod(0o755)
        status, out, _ = await run(processes, str(script))
        assert (status.code, out) == (0, f"from {script}\n".encode())

    async def test_input_that_the_process_does_not_read(self, processes: Processes) -> None:
        process = await processes.start(SpawnSpec(("true",), stdin=True), ENV, "/")
        assert process.stdin is not None
        with pytest.raises(GuestError) as caught:
            for _ in range(100):
                await process.stdin.write(b"x" * 100_000)
        assert caught.value.errno_name == "EPIPE"
        assert (await process.wait()).success

    async def test_output_that_nobody_reads_stops_the_process_until_it_is_cancelled(self, processes: Processes) -> None:
        process = await processes.start(SpawnSpec(("cat", "/dev/zero"), stderr=False), ENV, "/")
        assert process.stdout is not None
        await process.stdout.read()
        process.stdout.cancel()
        assert (await process.wait()).signal == "SIGPIPE"

    async def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_status(self, processes: Processes) -> None:
        process = await processes.start(SpawnSpec(("sh", "-c", "sleep 5 & echo $!"), stderr=False), ENV, "/")
        assert (await process.wait()).success
        assert process.stdout is not None
        os.kill(int(await process.stdout.read()), 9)

    async def test_a_terminal(self, processes: Processes) -> None:
        script = "test -t 0 && stty size && read line && echo got $line && stty size"
        process = await processes.start(SpawnSpec(("sh", "-c", script), pty=PtySize(24, 80)), ENV, "/")
        assert process.stdout is not None and process.stdin is not None and process.stderr is None
        assert await process.stdout.read() == b"24 80\r\n"
        await process.resize(PtySize(40, 132))
        await process.stdin.write(b"hello\n")
        rest = await process.stdout.read_all(1000)
        assert rest is not None and rest.endswith(b"got hello\r\n40 132\r\n")
        assert (await process.wait()).success

    async def test_resizing_without_a_terminal(self, processes: Processes) -> None:
        process = await processes.start(SpawnSpec(("sleep", "100")), ENV, "/")
        with pytest.raises(GuestError) as caught:
            await process.resize(PtySize(1, 1))
        assert caught.value.errno_name == "ENOTTY"
        await process.signal("SIGKILL")

    async def test_many_at_once(self, processes: Processes) -> None:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(run(processes, "echo", str(number))) for number in range(100)]
        assert [task.result()[1] for task in runs] == [f"{number}\n".encode() for number in range(100)]

    async def test_a_cancelled_start_leaves_no_process(self, processes: Processes) -> None:
        start = asyncio.get_running_loop().create_task(processes.start(SpawnSpec(("sleep", "100")), ENV, "/"))
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        status, _, _ = await run(processes, "true")
        assert status.success
        for process in processes.running:
            assert await process.wait() == ExitStatus(137, "SIGKILL")

    async def test_the_environment_is_exactly_what_was_given(self, processes: Processes) -> None:
        assert (await run(processes, "/usr/bin/env"))[1] == b"PATH=/usr/bin:/bin\n"


class TestFiles:
    async def test_write_and_read(self, files: Files, tmp_path: Path) -> None:
        data = os.urandom(3_000_001)
        await files.write_file("data.bin", data)
        assert (tmp_path / "data.bin").read_bytes() == data
        assert await files.read_file("data.bin") == data

    async def test_appending_creating_and_modes(self, files: Files, tmp_path: Path) -> None:
        await files.write_file("log", b"one", mode=0o600)
        await files.write_file("log", b"two", append=True)
        assert (tmp_path / "log").read_bytes() == b"onetwo"
        assert (await files.stat("log")).mode & 0o777 == 0o600
        with pytest.raises(GuestError) as caught:
            await files.write_file("log", b"", create_new=True)
        assert caught.value.errno_name == "EEXIST"
        with pytest.raises(GuestError) as caught:
            await files.write_file("other", b"x", create=False)
        assert caught.value.errno_name == "ENOENT"

    async def test_a_large_write_that_is_refused_says_why(self, files: Files) -> None:
        with pytest.raises(GuestError, match="nowhere") as caught:
            await files.write_file("nowhere/file", b"x" * 9_000_000)
        assert caught.value.errno_name == "ENOENT"

    async def test_content_that_ends_early_is_an_error_of_its_source(self, files: Files) -> None:
        async def content() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("the rest is lost")

        with pytest.raises(RuntimeError, match="the rest is lost"):
            await files.write_file("half", content())
        assert (await files.stat(".")).mode & 0o170000 == 0o040000

    async def test_reading_a_directory_is_an_error(self, files: Files) -> None:
        with pytest.raises(GuestError) as caught:
            await files.read_file(".")
        assert caught.value.errno_name == "EISDIR"

    async def test_giving_up_a_read_leaves_the_agent_usable(self, files: Files, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(b"x" * 8_000_000)
        for _ in range(80):
            source = await files.open_read("big")
            await source.read()
            source.cancel()
        assert await files.read_file("big") == b"x" * 8_000_000

    async def test_paths(self, files: Files, tmp_path: Path) -> None:
        await files.mkdir("a/b", recursive=True)
        await files.write_file("a/b/file", b"hello")
        await files.symlink("b/file", "a/link")
        await files.link("a/b/file", "a/hard")
        await files.copy_file("a/b/file", "a/copy")
        await files.rename("a/copy", "a/moved")
        await files.chmod("a/moved", 0o640)
        await files.truncate("a/moved", 2)
        await files.utime("a/moved", 1_500_000_000, 2_000_000_000)
        stat = await files.stat("a/moved")
        assert (stat.size, stat.mode & 0o777, stat.atime_ns, stat.mtime_ns) == (2, 0o640, 1_500_000_000, 2_000_000_000)
        assert await files.read_link("a/link") == "b/file"
        assert await files.real_path("a/link") == str(tmp_path / "a/b/file")
        assert (await files.lstat("a/link")).mode & 0o170000 == 0o120000
        assert {entry.name for entry in await files.read_dir("a")} == {"b", "link", "hard", "moved"}
        with pytest.raises(GuestError) as caught:
            await files.remove("a")
        assert caught.value.errno_name == "ENOTEMPTY"
        await files.remove("a", recursive=True)
        assert list(tmp_path.iterdir()) == []

    async def test_the_umask_is_the_sandboxs(self, files: Files) -> None:
        assert await files.umask(0o077) == 0o022
        assert await files.umask() == 0o077
        await files.write_file("private", b"")
        assert (await files.stat("private")).mode & 0o777 == 0o600

    async def test_temporary_names(self, files: Files, tmp_path: Path) -> None:
        path = await files.make_temp_file(parent=str(tmp_path), prefix="p-", suffix=".s")
        assert path.startswith(f"{tmp_path}/p-") and path.endswith(".s")
        folder = await files.make_temp_dir(parent=str(tmp_path))
        assert (await files.stat(folder)).mode & 0o777 == 0o700

    async def test_open_files(self, files: Files) -> None:
        handle = await files.open("file", read=True, write=True, create=True)
        assert await files.file_write(handle, b"0123456789") == 10
        assert await files.file_seek(handle, 2, 0) == 2
        assert await files.file_read(handle, 3) == b"234"
        await files.file_truncate(handle, 5)
        await files.file_sync(handle)
        await files.file_lock(handle, exclusive=True)
        await files.file_unlock(handle)
        assert (await files.file_stat(handle)).size == 5
        assert await files.file_read(handle, 10) == b""
        await files.file_close(handle)
        with pytest.raises(GuestError) as caught:
            await files.file_read(handle, 1)
        assert caught.value.errno_name == "EBADF"

    async def test_a_blocked_operation_blocks_nothing_else(self, files: Files, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        blocked = asyncio.get_running_loop().create_task(files.read_file("fifo"))
        await files.write_file("file", b"x")
        assert not blocked.done()
        (tmp_path / "fifo").write_bytes(b"finally")
        assert await blocked == b"finally"


class TestListings:
    @pytest.fixture(autouse=True)
    def tree(self, tmp_path: Path) -> None:
        for name in ("src/a.py", "src/b.ts", "src/deep/c.py", "docs/d.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "src/link").symlink_to("../docs")

    async def walk(self, files: Files, path: str, **options: Any) -> list[str]:
        return sorted([entry.path async for entry in files.walk(path, **options)])

    async def glob(self, files: Files, glob: str, **options: Any) -> list[str]:
        return [entry.path async for entry in files.expand_glob(glob, **options)]

    async def test_a_walk_starts_with_its_root_and_keeps_it_relative(self, files: Files) -> None:
        everything = ["src", "src/a.py", "src/b.ts", "src/deep", "src/deep/c.py", "src/link"]
        assert await self.walk(files, "src") == everything

    async def test_walk_options(self, files: Files, tmp_path: Path) -> None:
        assert await self.walk(files, "src", include_dirs=False, exts=["py"]) == ["src/a.py", "src/deep/c.py"]
        assert await self.walk(files, "src", max_depth=1, include_files=False) == ["src", "src/deep", "src/link"]
        assert await self.walk(files, "src", match=[("^src/[ab]\\.", "")]) == ["src/a.py", "src/b.ts"]
        assert await self.walk(files, "src", skip=[("DEEP", "i")], include_symlinks=False) == [
            "src",
            "src/a.py",
            "src/b.ts",
        ]
        followed = await self.walk(files, "src", follow_symlinks=True, include_dirs=False)
        assert str(tmp_path / "docs/d.md") in followed

    async def test_a_walk_of_nothing(self, files: Files) -> None:
        with pytest.raises(GuestError) as caught:
            await self.walk(files, "nowhere")
        assert caught.value.errno_name == "ENOENT"

    async def test_globs(self, files: Files, tmp_path: Path) -> None:
        def under(*names: str) -> list[str]:
            return [str(tmp_path / name) for name in names]

        assert await self.glob(files, "src/*.py") == under("src/a.py")
        assert await self.glob(files, "**/*.py") == under("src/a.py", "src/deep/c.py")
        assert await self.glob(files, "src/{a,b}.*") == under("src/a.py", "src/b.ts")
        assert await self.glob(files, "src/!(a).@(py|ts)") == under("src/b.ts")
        assert await self.glob(files, "*/", exclude=["docs"]) == under("src")
        assert await self.glob(files, "*.[[:alpha:]]s", root="src") == under("src/b.ts")
        assert await self.glob(files, "SRC/*", root="/nowhere") == []

    async def test_thousands_of_entries(self, files: Files, tmp_path: Path) -> None:
        (tmp_path / "many").mkdir()
        for number in range(3000):
            (tmp_path / "many" / f"{number}-{'x' * 200}").touch()
        assert len(await files.read_dir("many")) == 3000

    async def test_a_name_that_is_not_utf8(self, files: Files, tmp_path: Path) -> None:
        os.mkdir(bytes(tmp_path) + b"/odd")
        with open(bytes(tmp_path) + b"/odd/\xff", "wb"):
            pass
        (entry,) = await files.read_dir("odd")
        assert entry.name == "\udcff"
        assert (await files.stat(f"odd/{entry.name}")).size == 0


class TestLink:
    async def test_what_the_agent_does_not_know(self, link: GuestLink) -> None:
        with pytest.raises(GuestError) as caught:
            await link.request("no-such-method", {})
        assert caught.value.errno_name == "ENOSYS"

    async def test_parameters_that_make_no_sense(self, link: GuestLink) -> None:
        for params in ({}, {"path": None}, {"path": ["a"]}):
            with pytest.raises(GuestError) as caught:
                await link.request("stat", params)
            assert caught.value.errno_name == "EINVAL"

    async def test_closing_fails_what_waits(self, link: GuestLink, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        waiting = asyncio.get_running_loop().create_task(Files(link).read_file("fifo"))
        await link.request("ping", {})
        link.close()
        with pytest.raises(LinkLost):
            await waiting
        with pytest.raises(LinkLost):
            await link.request("ping", {})
