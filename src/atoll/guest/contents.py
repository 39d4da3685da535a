"""Whole files as streams."""

from __future__ import annotations

import errno
import os
from typing import Any

from atoll.guest.handles import creation_mode, open_flags
from atoll.guest.transfers import Cancelled, Incoming, Outgoing

_CHUNK_BYTES = 128 * 1024


def open_for_reading(path: str) -> tuple[int, int]:
    """A descriptor of a file and its size; refuses directories before anything was promised."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        info = os.fstat(fd)
        os.readv(fd, [])
        return fd, info.st_size
    except OSError:
        os.close(fd)
        raise


def send_file(fd: int, out: Outgoing) -> None:
    """The rest of `fd` on `out`; closes `fd`."""
    try:
        while chunk := os.read(fd, _CHUNK_BYTES):
            out.put(chunk)
    except Cancelled:
        return
    except OSError as error:
        out.fail(errno.errorcode.get(error.errno or 0, "EIO"), str(error))
        return
    finally:
        os.close(fd)
    out.end()


def receive_file(params: dict[str, Any], source: Incoming) -> None:
    """`source` into the file that `params` name. Written in place, as Deno does: it may be a device or a FIFO."""
    create_new = bool(params.get("create_new"))
    options = {
        "write": True,
        "append": params.get("append"),
        "create": params.get("create", True) is not False,
        "create_new": create_new,
        "truncate": not params.get("append"),
    }
    fd = os.open(params["path"], open_flags(options), creation_mode(params))
    try:
        if params.get("mode") is not None:
            os.fchmod(fd, creation_mode(params))
        while chunk := source.get():
            view = memoryview(chunk)
            while len(view):
                view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
