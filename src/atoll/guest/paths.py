"""One-shot operations on paths; each runs on a thread that has the user's root and credentials.

Every function takes the request's parameters and gives the JSON result, or raises OSError.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat as stat_bits
import tempfile
from collections.abc import Callable
from typing import Any

Params = dict[str, Any]


def describe(info: os.stat_result) -> dict[str, Any]:
    """`struct stat` as JSON; times in nanoseconds since the epoch."""
    return {
        "mode": info.st_mode,
        "size": info.st_size,
        "dev": info.st_dev,
        "ino": info.st_ino,
        "nlink": info.st_nlink,
        "uid": info.st_uid,
        "gid": info.st_gid,
        "rdev": info.st_rdev,
        "blksize": info.st_blksize,
        "blocks": info.st_blocks,
        "mtime_ns": info.st_mtime_ns,
        "atime_ns": info.st_atime_ns,
        "ctime_ns": info.st_ctime_ns,
    }


def stat(params: Params) -> Any:
    return describe(os.stat(params["path"]))


def lstat(params: Params) -> Any:
    return describe(os.lstat(params["path"]))


def remove(params: Params) -> Any:
    path = params["path"]
    if not params.get("recursive"):
        is_dir = stat_bits.S_ISDIR(os.lstat(path).st_mode)
        os.rmdir(path) if is_dir else os.unlink(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def mkdir(params: Params) -> Any:
    mode = params.get("mode")
    mode = 0o777 if mode is None else mode & 0o7777
    if params.get("recursive"):
        os.makedirs(params["path"], mode, exist_ok=True)
    else:
        os.mkdir(params["path"], mode)


def rename(params: Params) -> Any:
    os.rename(params["old"], params["new"])


def copy_file(params: Params) -> Any:
    source, target = params["source"], params["path"]
    if stat_bits.S_ISDIR(os.stat(source).st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", source)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def link(params: Params) -> Any:
    os.link(params["source"], params["path"])


def symlink(params: Params) -> Any:
    os.symlink(params["text"], params["path"])


def read_link(params: Params) -> Any:
    return os.readlink(params["path"])


def real_path(params: Params) -> Any:
    return os.path.realpath(params["path"], strict=True)


def chmod(params: Params) -> Any:
    os.chmod(params["path"], params["mode"] & 0o7777)


def chown(params: Params) -> Any:
    uid, gid = params.get("uid"), params.get("gid")
    os.chown(params["path"], -1 if uid is None else uid, -1 if gid is None else gid)


def truncate(params: Params) -> Any:
    os.truncate(params["path"], params.get("length") or 0)


def utime(params: Params) -> Any:
    os.utime(params["path"], ns=(params["atime_ns"], params["mtime_ns"]))


def make_temp_dir(params: Params) -> Any:
    return tempfile.mkdtemp(params.get("suffix") or "", params.get("prefix") or "", params.get("dir") or "/tmp")


def make_temp_file(params: Params) -> Any:
    fd, path = tempfile.mkstemp(params.get("suffix") or "", params.get("prefix") or "", params.get("dir") or "/tmp")
    os.close(fd)
    return path


OPERATIONS: dict[str, Callable[[Params], Any]] = {
    operation.__name__: operation
    for operation in (
        stat,
        lstat,
        remove,
        mkdir,
        rename,
        copy_file,
        link,
        symlink,
        read_link,
        real_path,
        chmod,
        chown,
        truncate,
        utime,
        make_temp_dir,
        make_temp_file,
    )
}
