"""The synchronous classes. Made by tools/generate_sync.py from the asynchronous ones; do not edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from atoll.embedded.deno import AsyncDeno, AsyncDenoProcess, AsyncDenoRepl, Extension
from atoll.embedded.environment import AsyncEnvironment
from atoll.embedded.file_facts import DirEntry, FileInfo, WalkEntry
from atoll.embedded.files import AsyncFile, AsyncFiles, Regex, Time
from atoll.embedded.portal import Portal, open_portal
from atoll.embedded.process import AsyncProcess, ChildProcessStatus, InputMode, OutputMode
from atoll.embedded.response import AsyncResponse, HeaderPairs
from atoll.embedded.sandbox import AsyncSandbox
from atoll.embedded.shared_engine import MachineFactory
from atoll.embedded.streams import AsyncReader, AsyncWriter, Content


class Reader:
    """Bytes from the guest. Chunks are passed on as they came; nothing is copied that need not be."""

    _inner: AsyncReader

    def __init__(self, portal: Portal, inner: AsyncReader) -> None:
        self._portal = portal
        self._inner = inner

    def at_eof(self) -> bool:
        """Whether everything was read and the guest has closed its end."""
        return self._inner.at_eof()

    def read(self, n: int = -1) -> bytes:
        """At most `n` bytes, at least one, or b"" at the end; everything up to the end when `n` is negative."""
        return self._portal.run(self._inner.read(n))

    def readline(self) -> bytes:
        """Up to and with the next newline, or up to the end. TooLarge for a line over 16 MiB."""
        return self._portal.run(self._inner.readline())

    def readexactly(self, n: int) -> bytes:
        """`n` bytes. asyncio.IncompleteReadError, with what there was, when the stream ends before."""
        return self._portal.run(self._inner.readexactly(n))

    def __iter__(self) -> Iterator[bytes]:
        return self._portal.iterate(aiter(self._inner))


class Writer:
    """Bytes to a process's standard input. GuestError EPIPE when the process has closed it."""

    _inner: AsyncWriter

    def __init__(self, portal: Portal, inner: AsyncWriter) -> None:
        self._portal = portal
        self._inner = inner

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; waits while the process does not read."""
        self._portal.run(self._inner.write(data))

    def close(self) -> None:
        """Tell the process that this was all. Safe at any time."""
        self._portal.run(self._inner.close())


class Process:
    """A program that runs. As an context manager it is killed at the end of the block."""

    _inner: AsyncProcess

    def __init__(self, portal: Portal, inner: AsyncProcess) -> None:
        self._portal = portal
        self._inner = inner

    @property
    def pid(self) -> int:
        return self._inner.pid

    @property
    def stdin(self) -> Writer:
        """For a process with stdin="piped" and without stdin_data."""
        return Writer(self._portal, self._inner.stdin)

    @property
    def stdout(self) -> Reader:
        """For a process with stdout="piped"."""
        return Reader(self._portal, self._inner.stdout)

    @property
    def stderr(self) -> Reader:
        """For a process with stderr="piped"."""
        return Reader(self._portal, self._inner.stderr)

    @property
    def returncode(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._inner.returncode

    def wait(self) -> ChildProcessStatus:
        """How it ended, once it has. Inherited output has been passed on by then; an error of stdin_data comes here."""
        return self._portal.run(self._inner.wait())

    def kill(self, signal: str = "SIGTERM") -> None:
        """Send a signal by its POSIX name. Nothing happens when the process has ended."""
        self._portal.run(self._inner.kill(signal))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, traceback))


class Response:
    """Header names are in lower case, and the body is decoded. As a context manager it gives up what was not read."""

    _inner: AsyncResponse

    def __init__(self, portal: Portal, inner: AsyncResponse) -> None:
        self._portal = portal
        self._inner = inner

    @property
    def status_code(self) -> int:
        return self._inner.status_code

    @property
    def status_text(self) -> str:
        return self._inner.status_text

    @property
    def headers(self) -> list[tuple[str, str]]:
        """One pair per header line, so that several set-cookie stay apart."""
        return self._inner.headers

    @property
    def is_success(self) -> bool:
        return self._inner.is_success

    @property
    def is_redirect(self) -> bool:
        return self._inner.is_redirect

    @property
    def is_client_error(self) -> bool:
        return self._inner.is_client_error

    @property
    def is_server_error(self) -> bool:
        return self._inner.is_server_error

    def read(self, limit: int = 268435456) -> bytes:
        """The body. TooLarge over `limit` bytes."""
        return self._portal.run(self._inner.read(limit))

    def text(self) -> str:
        """The body as UTF-8."""
        return self._portal.run(self._inner.text())

    def json(self) -> Any:
        return self._portal.run(self._inner.json())

    def close(self) -> None:
        """Give up the rest of the body. Safe at any time."""
        self._portal.run(self._inner.close())

    def __iter__(self) -> Iterator[bytes]:
        return self._portal.iterate(aiter(self._inner))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, traceback))


class File:
    """An open file. Close it, or use it as a context manager."""

    _inner: AsyncFile

    def __init__(self, portal: Portal, inner: AsyncFile) -> None:
        self._portal = portal
        self._inner = inner

    def read(self, size: int) -> bytes:
        """At most `size` bytes, perhaps fewer (512 KiB at once); b"" at the end."""
        return self._portal.run(self._inner.read(size))

    def write(self, data: bytes) -> int:
        """How many bytes were written: all of them."""
        return self._portal.run(self._inner.write(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; `whence` as for io.IOBase.seek."""
        return self._portal.run(self._inner.seek(offset, whence))

    def truncate(self, size: int | None = None) -> None:
        self._portal.run(self._inner.truncate(size))

    def stat(self) -> FileInfo:
        return self._portal.run(self._inner.stat())

    def sync(self) -> None:
        """Flush contents and metadata to the disk."""
        self._portal.run(self._inner.sync())

    def sync_data(self) -> None:
        self._portal.run(self._inner.sync_data())

    def utime(self, atime: Time, mtime: Time) -> None:
        """Times as datetime or as seconds since the epoch."""
        self._portal.run(self._inner.utime(atime, mtime))

    def lock(self, exclusive: bool = False) -> None:
        """Wait for a lock on the whole file."""
        self._portal.run(self._inner.lock(exclusive))

    def unlock(self) -> None:
        self._portal.run(self._inner.unlock())

    def close(self) -> None:
        self._portal.run(self._inner.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, traceback))


class Files:
    """Everything is done as the user `app`."""

    _inner: AsyncFiles

    def __init__(self, portal: Portal, inner: AsyncFiles) -> None:
        self._portal = portal
        self._inner = inner

    def read_file(self, path: str) -> bytes:
        """A file's bytes. TooLarge over 256 MiB."""
        return self._portal.run(self._inner.read_file(path))

    def read_text_file(self, path: str) -> str:
        """A file's text; what is not UTF-8 is replaced."""
        return self._portal.run(self._inner.read_text_file(path))

    def read_chunks(self, path: str) -> Iterator[bytes]:
        """A file of any size in chunks."""
        return self._portal.iterate(self._inner.read_chunks(path))

    def write_file(
        self,
        path: str,
        data: Content,
        *,
        create: bool = True,
        append: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Write bytes, a stream of bytes or a file object; returns when the guest has closed the file."""
        self._portal.run(
            self._inner.write_file(path, data, create=create, append=append, create_new=create_new, mode=mode)
        )

    def write_text_file(
        self,
        path: str,
        content: str,
        *,
        create: bool = True,
        append: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Write text as UTF-8."""
        self._portal.run(
            self._inner.write_text_file(path, content, create=create, append=append, create_new=create_new, mode=mode)
        )

    def read_dir(self, path: str) -> list[DirEntry]:
        return self._portal.run(self._inner.read_dir(path))

    def walk(
        self,
        path: str,
        *,
        max_depth: int | None = None,
        include_files: bool = True,
        include_dirs: bool = True,
        include_symlinks: bool = True,
        follow_symlinks: bool = False,
        canonicalize: bool = True,
        exts: Sequence[str] | None = None,
        match: Sequence[Regex] | None = None,
        skip: Sequence[Regex] | None = None,
    ) -> list[WalkEntry]:
        """Everything below `path` and itself, as Deno's walk; `match` and `skip` are regular expressions."""
        return self._portal.run(
            self._inner.walk(
                path,
                max_depth=max_depth,
                include_files=include_files,
                include_dirs=include_dirs,
                include_symlinks=include_symlinks,
                follow_symlinks=follow_symlinks,
                canonicalize=canonicalize,
                exts=exts,
                match=match,
                skip=skip,
            )
        )

    def expand_glob(
        self,
        glob: str,
        *,
        root: str | None = None,
        exclude: Sequence[str] | None = None,
        include_dirs: bool = True,
        follow_symlinks: bool = False,
        canonicalize: bool = True,
        extended: bool = True,
        globstar: bool = True,
        case_insensitive: bool = False,
    ) -> list[str]:
        """The paths that match, sorted."""
        return self._portal.run(
            self._inner.expand_glob(
                glob,
                root=root,
                exclude=exclude,
                include_dirs=include_dirs,
                follow_symlinks=follow_symlinks,
                canonicalize=canonicalize,
                extended=extended,
                globstar=globstar,
                case_insensitive=case_insensitive,
            )
        )

    def remove(self, path: str, *, recursive: bool = False) -> None:
        self._portal.run(self._inner.remove(path, recursive=recursive))

    def mkdir(self, path: str, *, recursive: bool = False, mode: int | None = None) -> None:
        """Make a directory; with `recursive` its parents too, and it is no error when it exists."""
        self._portal.run(self._inner.mkdir(path, recursive=recursive, mode=mode))

    def rename(self, old_path: str, new_path: str) -> None:
        self._portal.run(self._inner.rename(old_path, new_path))

    def copy_file(self, from_path: str, to_path: str) -> None:
        self._portal.run(self._inner.copy_file(from_path, to_path))

    def link(self, target: str, path: str) -> None:
        """Make a hard link at `path`."""
        self._portal.run(self._inner.link(target, path))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`."""
        self._portal.run(self._inner.symlink(target, path))

    def read_link(self, path: str) -> str:
        return self._portal.run(self._inner.read_link(path))

    def real_path(self, path: str) -> str:
        return self._portal.run(self._inner.real_path(path))

    def stat(self, path: str) -> FileInfo:
        return self._portal.run(self._inner.stat(path))

    def lstat(self, path: str) -> FileInfo:
        """As `stat`, of a symbolic link itself."""
        return self._portal.run(self._inner.lstat(path))

    def chmod(self, path: str, mode: int) -> None:
        self._portal.run(self._inner.chmod(path, mode))

    def chown(self, path: str, uid: int | None = None, gid: int | None = None) -> None:
        self._portal.run(self._inner.chown(path, uid, gid))

    def truncate(self, name: str, length: int | None = None) -> None:
        self._portal.run(self._inner.truncate(name, length))

    def umask(self, mask: int | None = None) -> int:
        """Set the umask of what starts later, or only ask for it; the one before either way."""
        return self._portal.run(self._inner.umask(mask))

    def utime(self, path: str, atime: Time, mtime: Time) -> None:
        """Times as datetime or as seconds since the epoch."""
        self._portal.run(self._inner.utime(path, atime, mtime))

    def make_temp_dir(self, *, dir: str | None = None, prefix: str = "", suffix: str = "") -> str:  # noqa: A002
        return self._portal.run(self._inner.make_temp_dir(dir=dir, prefix=prefix, suffix=suffix))

    def make_temp_file(self, *, dir: str | None = None, prefix: str = "", suffix: str = "") -> str:  # noqa: A002
        return self._portal.run(self._inner.make_temp_file(dir=dir, prefix=prefix, suffix=suffix))

    def create(self, path: str) -> File:
        """Open a new, empty file for reading and writing."""
        return File(self._portal, self._portal.run(self._inner.create(path)))

    def open(
        self,
        path: str,
        *,
        read: bool = True,
        write: bool = False,
        append: bool = False,
        truncate: bool = False,
        create: bool = False,
        create_new: bool = False,
        mode: int | None = None,
    ) -> File:
        """Open a file; with `create` it is made when missing, with `create_new` it must be missing."""
        return File(
            self._portal,
            self._portal.run(
                self._inner.open(
                    path,
                    read=read,
                    write=write,
                    append=append,
                    truncate=truncate,
                    create=create,
                    create_new=create_new,
                    mode=mode,
                )
            ),
        )

    def upload(self, local_path: str, sandbox_path: str) -> None:
        """Copy a file, a symbolic link, or what a directory contains from here into the sandbox."""
        self._portal.run(self._inner.upload(local_path, sandbox_path))

    def download(self, local_path: str, sandbox_path: str) -> None:
        """Copy a file, a symbolic link, or what a directory contains from the sandbox to here.

        The sandbox is not trusted: nothing is written outside `local_path`, and no link that is there is followed.
        """
        self._portal.run(self._inner.download(local_path, sandbox_path))


class Environment:
    """Changes affect processes that start later."""

    _inner: AsyncEnvironment

    def __init__(self, portal: Portal, inner: AsyncEnvironment) -> None:
        self._portal = portal
        self._inner = inner

    def get(self, key: str) -> str | None:
        return self._portal.run(self._inner.get(key))

    def set(self, key: str, value: str) -> None:
        """InvalidSpec for what no process could be given."""
        self._portal.run(self._inner.set(key, value))

    def delete(self, key: str) -> None:
        self._portal.run(self._inner.delete(key))

    def as_dict(self) -> dict[str, str]:
        """All of them, with the sandbox's own."""
        return self._portal.run(self._inner.as_dict())


class DenoProcess(Process):
    """A script that runs."""

    _inner: AsyncDenoProcess

    def __init__(self, portal: Portal, inner: AsyncDenoProcess) -> None:
        self._portal = portal
        self._inner = inner

    def wait_http_ready(self) -> bool:
        """Whether it came to listen on a TCP port; False when it ended before that."""
        return self._portal.run(self._inner.wait_http_ready())

    def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: HeaderPairs | None = None,
        redirect: Literal["follow", "manual"] | None = None,
        body: Content | None = None,
    ) -> Response:
        """Make a request to its server, whatever host `url` names."""
        return Response(self._portal, self._portal.run(self._inner.fetch(url, method, headers, redirect, body)))

    def restarts(self) -> Iterator[None]:
        """Yields each time that `watch` starts it again, until it ends. To be iterated once."""
        return self._portal.iterate(self._inner.restarts())


class DenoRepl(Process):
    """A REPL. What is declared in it stays; as a context manager it is closed at the end of the block."""

    _inner: AsyncDenoRepl

    def __init__(self, portal: Portal, inner: AsyncDenoRepl) -> None:
        self._portal = portal
        self._inner = inner

    def eval(self, code: str) -> Any:
        """The value of the last expression, as JSON has it. ScriptError for what the code throws."""
        return self._portal.run(self._inner.eval(code))

    def call(self, fn: str, args: Sequence[Any] = ()) -> Any:
        """Call a function, given by its name in the REPL or its source text, with JSON arguments."""
        return self._portal.run(self._inner.call(fn, args))

    def close(self) -> None:
        """End it. Idempotent."""
        self._portal.run(self._inner.close())

    def kill(self, signal: str = "SIGKILL") -> None:
        self._portal.run(self._inner.kill(signal))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, traceback))


class Deno:
    """Programs in Deno, with all permissions: the VM is the border."""

    _inner: AsyncDeno

    def __init__(self, portal: Portal, inner: AsyncDeno) -> None:
        self._portal = portal
        self._inner = inner

    def run(
        self,
        *,
        entrypoint: str | None = None,
        code: str | None = None,
        extension: Extension = "ts",
        script_args: Sequence[str] = (),
        watch: bool | Sequence[str] = False,
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> DenoProcess:
        """Start a module from the sandbox's disk, or `code` as if it were a file in `cwd`."""
        return DenoProcess(
            self._portal,
            self._portal.run(
                self._inner.run(
                    entrypoint=entrypoint,
                    code=code,
                    extension=extension,
                    script_args=script_args,
                    watch=watch,
                    cwd=cwd,
                    clear_env=clear_env,
                    env=env,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    stdin_data=stdin_data,
                )
            ),
        )

    def repl(
        self,
        *,
        script_args: Sequence[str] = (),
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> DenoRepl:
        """Start a REPL, and wait until it can evaluate."""
        return DenoRepl(
            self._portal,
            self._portal.run(
                self._inner.repl(
                    script_args=script_args,
                    cwd=cwd,
                    clear_env=clear_env,
                    env=env,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    stdin_data=stdin_data,
                )
            ),
        )

    def eval(self, code: str) -> Any:
        """Evaluate `code` in a REPL of its own."""
        return self._portal.run(self._inner.eval(code))

    def deploy(self, *args: object, **options: object) -> None:
        """Hosting on Deno Deploy, which a sandbox engine does not do."""
        self._portal.run(self._inner.deploy(*args, **options))


class Sandbox:
    """Made by `Sandbox.create`, and gone with all that is in it when that block ends."""

    _inner: AsyncSandbox

    def __init__(self, portal: Portal, inner: AsyncSandbox) -> None:
        self._portal = portal
        self._inner = inner

    @classmethod
    @contextmanager
    def create(
        cls,
        *,
        region: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: str | None = None,
        memory_mb: int | None = None,
        vcpus: int | None = None,
        labels: Mapping[str, str] | None = None,
        root: str | None = None,
        volumes: Mapping[str, str] | None = None,
        allow_net: Sequence[str] | None = None,
        secrets: Mapping[str, Any] | None = None,
        ssh: bool | None = None,
        port: int | None = None,
        machines: MachineFactory | None = None,
    ) -> Iterator[Sandbox]:
        """A sandbox for as long as the block lasts.

        `timeout` is "session" (the default) or a duration, as "30s" or "5m", after which it ends even within the
        block. `memory_mb` is in MiB. NotAvailable for options that this version does not have; LimitReached,
        ImageError or LaunchFailed, each with a remedy, when there can be no sandbox. `machines` is for tests.
        """
        with (
            open_portal() as portal,
            portal.entered(
                AsyncSandbox.create(
                    region=region,
                    env=env,
                    timeout=timeout,
                    memory_mb=memory_mb,
                    vcpus=vcpus,
                    labels=labels,
                    root=root,
                    volumes=volumes,
                    allow_net=allow_net,
                    secrets=secrets,
                    ssh=ssh,
                    port=port,
                    machines=machines,
                )
            ) as inner,
        ):
            yield cls(portal, inner)

    @property
    def id(self) -> str:
        return self._inner.id

    @property
    def url(self) -> str | None:
        """None: `port` is not available in this version."""
        return self._inner.url

    @property
    def ssh(self) -> None:
        """None: `ssh` is not available in this version."""
        return self._inner.ssh

    @property
    def fs(self) -> Files:
        return Files(self._portal, self._inner.fs)

    @property
    def env(self) -> Environment:
        return Environment(self._portal, self._inner.env)

    @property
    def deno(self) -> Deno:
        return Deno(self._portal, self._inner.deno)

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._inner.closed

    @property
    def accelerator(self) -> str | None:
        """What runs its VM: `kvm`, or `tcg`, which is emulation."""
        return self._inner.accelerator

    def spawn(
        self,
        command: str,
        *,
        args: Sequence[str] | None = None,
        cwd: str | None = None,
        clear_env: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: InputMode | None = None,
        stdout: OutputMode | None = None,
        stderr: OutputMode | None = None,
        stdin_data: Content | None = None,
    ) -> Process:
        """Start a program. GuestError when the guest cannot, as ENOENT for one that is not there.

        Output is passed on to this process's own unless it is "piped" or "null"; stdin is empty unless it is
        "piped" or `stdin_data` is given, which is written beside whatever else happens.
        """
        return Process(
            self._portal,
            self._portal.run(
                self._inner.spawn(
                    command,
                    args=args,
                    cwd=cwd,
                    clear_env=clear_env,
                    env=env,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    stdin_data=stdin_data,
                )
            ),
        )

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: HeaderPairs | None = None,
        redirect: Literal["follow", "manual"] | None = None,
        body: Content | None = None,
    ) -> Response:
        """Make a request from inside the sandbox, by its network and its rules."""
        return Response(
            self._portal,
            self._portal.run(self._inner.fetch(url, method=method, headers=headers, redirect=redirect, body=body)),
        )

    def extend_timeout(self, additional_s: int) -> datetime:
        """Let it end `additional_s` seconds from now; when it really will. At most 30 minutes are granted."""
        return self._portal.run(self._inner.extend_timeout(additional_s))

    def wait_stopped(self) -> str:
        """Until it has ended, by its timeout or otherwise; why, in words."""
        return self._portal.run(self._inner.wait_stopped())

    def kill(self) -> None:
        """End it now, and wait until nothing of it is left. Idempotent."""
        self._portal.run(self._inner.kill())

    def close(self) -> None:
        """As `kill`: nobody else could reach an embedded sandbox. Idempotent."""
        self._portal.run(self._inner.close())

    def expose_http(self, *, port: int | None = None, pid: int | None = None) -> str:
        return self._portal.run(self._inner.expose_http(port=port, pid=pid))

    def expose_ssh(self) -> dict[str, Any]:
        return self._portal.run(self._inner.expose_ssh())
