"""Starts one program, on a thread that has the user's identity; posix_spawn keeps the cost of fork away."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Python ignores these; a program expects their default actions.
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Program:
    """What to start. `files` are the descriptors (or a terminal's path) for 0, 1 and 2; None is /dev/null."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    umask: int
    stdin: int | None
    stdout: int | None
    stderr: int | None
    terminal: str | None = None


def start(program: Program) -> int:
    """The pid. OSError with the file name that was tried when it cannot be started."""
    os.umask(program.umask)
    try:
        os.chdir(program.cwd)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot start in the directory {program.cwd!r}: {os.strerror(error.errno or 0)}"
        ) from None
    actions = _terminal_actions(program.terminal) if program.terminal else _file_actions(program)
    failure = errno.ENOENT
    for path in _candidates(program.argv[0], program.env):
        try:
            return _spawn(path, program, actions)
        except OSError as error:
            failure = _worse(failure, error.errno or errno.EIO)
            if failure not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                break
    raise OSError(failure, f"cannot start {program.argv[0]!r}: {os.strerror(failure)}")


def _spawn(path: str, program: Program, actions: list[tuple[int, ...]]) -> int:
    try:
        return _posix_spawn(path, program.argv, program.env, actions)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without an interpreter line, which exec(3) gives to the shell.
    return _posix_spawn("/bin/sh", ["/bin/sh", path, *program.argv[1:]], program.env, actions)


def _posix_spawn(path: str, argv: list[str], env: dict[str, str], actions: list[tuple[int, ...]]) -> int:
    return os.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigdef=_RESET_SIGNALS, setsigmask=())


def _candidates(name: str, env: dict[str, str]) -> list[str]:
    if "/" in name:
        return [name]
    return [f"{folder or '.'}/{name}" for folder in env.get("PATH", _DEFAULT_PATH).split(":")]


def _worse(known: int, new: int) -> int:
    """EACCES says more than ENOENT: the name was found (execvp(3))."""
    if new in (errno.ENOENT, errno.ENOTDIR):
        return known
    return new


def _file_actions(program: Program) -> list[tuple[int, ...]]:
    actions: list[tuple[int, ...]] = []
    for target, fd in enumerate((program.stdin, program.stdout, program.stderr)):
        if fd is None:
            mode = os.O_RDONLY if target == 0 else os.O_WRONLY
            actions.append((os.POSIX_SPAWN_OPEN, target, "/dev/null", mode, 0))  # type: ignore[arg-type]
        else:
            actions.append((os.POSIX_SPAWN_DUP2, fd, target))
    return actions


def _terminal_actions(path: str) -> list[tuple[int, ...]]:
    # The first terminal that a session's leader opens becomes its controlling terminal.
    return [
        (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0),  # type: ignore[list-item]
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
