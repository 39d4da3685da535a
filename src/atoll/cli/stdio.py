"""This process's own stdin, stdout and stderr, for an event loop.

They are shared with whoever started us, a shell as a rule, so they are never made non-blocking: what a pipe or terminal
takes or gives is asked first, and where that is possible a description of our own is opened instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import stat
import termios
import tty
from collections.abc import Callable, Iterator

from atoll.model.process import PtySize

READ_BYTES = 64 * 1024
# pipe(7): what poll(2) promises that a blocking pipe takes at once.
PIPE_BUF = 4096
WRITE_BYTES = 256 * 1024
DEFAULT_SIZE = PtySize(24, 80)


def hold_places() -> None:
    """Put /dev/null where we were started without stdin, stdout or stderr.

    Otherwise the next file or socket that is opened gets that number, and the command's output.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


class Input:
    """A descriptor to read from. One that is closed is at its end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._can_wait = _can_wait(fd)

    async def read(self) -> bytes:
        """The next bytes, or b"" at the end."""
        if self._can_wait:
            await _ready(asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader, self._fd)
        try:
            return os.read(self._fd, READ_BYTES)
        except OSError:
            # EIO of a terminal that hung up, EBADF of a descriptor that nobody opened.
            return b""


class Output:
    """A descriptor to write to. A context manager; one that is closed swallows everything."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._own = _own_description(fd)
        self._can_wait = _can_wait(fd)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._own is not None:
            os.close(self._own)
            self._own = None

    async def write(self, chunk: bytes) -> None:
        """All of `chunk`. BrokenPipeError when nobody will read it."""
        view = memoryview(chunk)
        while view:
            written = self._write_some(view)
            if written is None:
                loop = asyncio.get_running_loop()
                await _ready(loop.add_writer, loop.remove_writer, self._fd)
            else:
                view = view[written:]

    def _write_some(self, view: memoryview) -> int | None:
        """How much was written without waiting; None when nothing can be."""
        if self._own is not None:
            with contextlib.suppress(BlockingIOError):
                return os.write(self._own, view[:WRITE_BYTES])
            return None
        if not self._can_wait:
            return _write_file(self._fd, view)
        if not _takes_now(self._fd):
            return None
        return os.write(self._fd, view[:PIPE_BUF])


def _write_file(fd: int, view: memoryview) -> int:
    try:
        return os.write(fd, view[:WRITE_BYTES])
    except OSError as error:
        if error.errno == errno.EBADF:  # Started with it closed.
            return len(view)
        raise


def _own_description(fd: int) -> int | None:
    """The same pipe or terminal once more, non-blocking for us alone; None where that is not allowed."""
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return None


def _can_wait(fd: int) -> bool:
    """Whether epoll takes it: it refuses files and devices that are always ready."""
    with select.epoll() as probe:
        try:
            probe.register(fd, select.EPOLLIN)
        except OSError:
            return False
    return True


def _takes_now(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


async def _ready(add: Callable[..., None], remove: Callable[[int], object], fd: int) -> None:
    """Until `fd` can be read or written, as `add` and `remove` are of the loop's readers or writers."""
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


def is_terminal(fd: int) -> bool:
    """False also for a descriptor that is closed."""
    return os.isatty(fd)


def terminal_size() -> PtySize:
    """Of the terminal that stdout or stdin is; 24 by 80 when neither is one, or it does not know."""
    for fd in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            if size.lines and size.columns:
                return PtySize(size.lines, size.columns)
    return DEFAULT_SIZE


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Every key goes to the command, Ctrl-C too; afterwards the terminal is as it was."""
    if not is_terminal(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
