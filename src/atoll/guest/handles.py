"""Open files that the host holds by number, as `Deno.FsFile` wants them."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import Any

from atoll.guest.paths import describe

# One read's bytes travel in one control frame, which a guest may fill to 1 MiB.
MAX_READ_BYTES = 512 * 1024
MAX_OPEN = 1024

Params = dict[str, Any]


class Handles:
    """A table of open descriptors. Operations run on crew threads; the table has a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, int] = {}
        self._next = 0
        self.operations: dict[str, Callable[[Params, bytes], tuple[Any, bytes]]] = {
            "open": self._do_open,
            "file_read": self._do_read,
            "file_write": self._do_write,
            "file_seek": self._do_seek,
            "file_stat": self._do_stat,
            "file_truncate": self._do_truncate,
            "file_utime": self._do_utime,
            "file_sync": self._do_sync,
            "file_lock": self._do_lock,
            "file_unlock": self._do_unlock,
            "file_close": self._do_close,
        }

    def _fd(self, params: Params) -> int:
        with self._lock:
            fd = self._open.get(params["handle"])
        if fd is None:
            raise OSError(errno.EBADF, f"no open file has the handle {params['handle']}")
        return fd

    def _do_open(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        if len(self._open) >= MAX_OPEN:
            raise OSError(errno.EMFILE, f"{MAX_OPEN} files are open already")
        fd = os.open(params["path"], open_flags(params), creation_mode(params))
        with self._lock:
            self._next += 1
            self._open[self._next] = fd
            return self._next, b""

    def _do_read(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        return None, os.read(self._fd(params), max(0, min(params["length"], MAX_READ_BYTES)))

    def _do_write(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        return os.write(self._fd(params), blob), b""

    def _do_seek(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        return os.lseek(self._fd(params), params["offset"], params["whence"]), b""

    def _do_stat(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        return describe(os.fstat(self._fd(params))), b""

    def _do_truncate(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        os.ftruncate(self._fd(params), params.get("length") or 0)
        return None, b""

    def _do_utime(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        os.utime(self._fd(params), ns=(params["atime_ns"], params["mtime_ns"]))
        return None, b""

    def _do_sync(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        (os.fdatasync if params.get("data_only") else os.fsync)(self._fd(params))
        return None, b""

    def _do_lock(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        fcntl.flock(self._fd(params), fcntl.LOCK_EX if params.get("exclusive") else fcntl.LOCK_SH)
        return None, b""

    def _do_unlock(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        fcntl.flock(self._fd(params), fcntl.LOCK_UN)
        return None, b""

    def _do_close(self, params: Params, blob: bytes) -> tuple[Any, bytes]:
        fd = self._fd(params)
        with self._lock:
            self._open.pop(params["handle"], None)
        os.close(fd)
        return None, b""


def open_flags(params: Params) -> int:
    """open(2) flags of Deno's open options; `create_new` overrides `create`, `append` overrides `truncate`."""
    read, write, append = (bool(params.get(key)) for key in ("read", "write", "append"))
    flags = os.O_CLOEXEC | os.O_NOCTTY
    if write or append:
        flags |= os.O_RDWR if read else os.O_WRONLY
    elif params.get("truncate") or params.get("create") or params.get("create_new"):
        raise OSError(errno.EINVAL, "create, create_new and truncate need write or append")
    if append:
        flags |= os.O_APPEND
    if params.get("create_new"):
        return flags | os.O_CREAT | os.O_EXCL
    if params.get("create"):
        flags |= os.O_CREAT
    if params.get("truncate") and not append:
        flags |= os.O_TRUNC
    return flags


def creation_mode(params: Params) -> int:
    mode = params.get("mode")
    return 0o666 if mode is None else int(mode) & 0o7777
