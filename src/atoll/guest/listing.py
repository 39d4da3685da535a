"""Directory listings, walks and globs, as a stream of JSON lines.

They follow Deno's standard library (`@std/fs/walk`, `expand_glob`), which both clients document.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from atoll.guest.globs import glob_to_regex, is_glob
from atoll.guest.regexes import from_javascript
from atoll.guest.transfers import Cancelled, Outgoing

_BATCH_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry; a link is not followed."""

    path: str
    name: str
    is_file: bool
    is_directory: bool
    is_symlink: bool

    def line(self) -> bytes:
        flags = (self.is_file, self.is_directory, self.is_symlink)
        return json.dumps([self.path, self.name, *flags], separators=(",", ":")).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """Options of a walk, with Deno's defaults."""

    max_depth: float = float("inf")
    include_files: bool = True
    include_dirs: bool = True
    include_symlinks: bool = True
    follow_symlinks: bool = False
    canonicalize: bool = True
    exts: tuple[str, ...] | None = None
    match: tuple[re.Pattern[str], ...] | None = None
    skip: tuple[re.Pattern[str], ...] | None = None

    def includes(self, path: str) -> bool:
        if self.exts is not None and not path.endswith(self.exts):
            return False
        if self.match is not None and not any(pattern.search(path) for pattern in self.match):
            return False
        return not self.skips(path)

    def skips(self, path: str) -> bool:
        return self.skip is not None and any(pattern.search(path) for pattern in self.skip)


def read_dir(params: dict[str, Any]) -> Iterator[Entry]:
    with os.scandir(params["path"]) as entries:
        for entry in entries:
            yield _from_scan(entry.name, entry)


def walk_options(params: dict[str, Any]) -> WalkOptions:
    """Options from a request; OSError EINVAL for an expression that cannot be used."""
    given = {key: params[key] for key in WalkOptions.__slots__ if params.get(key) is not None}
    if "exts" in given:
        given["exts"] = tuple(ext if ext.startswith(".") else "." + ext for ext in given["exts"])
    for key in ("match", "skip"):
        if key in given:
            given[key] = tuple(from_javascript(source, flags) for source, flags in given[key])
    return WalkOptions(**given)


def walk(root: str, options: WalkOptions) -> Iterator[Entry]:
    """The root itself, then everything below it that the options let through."""
    if options.max_depth < 0:
        return
    if options.include_dirs and options.includes(root):
        yield describe(root)
    if options.max_depth < 1 or options.skips(root):
        return
    below = replace(options, max_depth=options.max_depth - 1)
    with os.scandir(root) as entries:
        for entry in entries:
            yield from _walk_entry(posixpath.normpath(posixpath.join(root, entry.name)), entry, below)


def _walk_entry(path: str, scanned: os.DirEntry[str], options: WalkOptions) -> Iterator[Entry]:
    entry = _from_scan(path, scanned)
    is_directory = entry.is_directory
    if entry.is_symlink:
        if not options.follow_symlinks:
            if options.include_symlinks and options.includes(path):
                yield entry
            return
        real = os.path.realpath(path, strict=True)
        path = real if options.canonicalize else path
        entry = replace(describe(real), path=path, name=scanned.name)
        is_directory = entry.is_directory
    if is_directory:
        yield from walk(path, options)
    elif options.include_files and options.includes(path):
        yield entry


def expand_glob(params: dict[str, Any]) -> Iterator[Entry]:
    """The entries that match a glob, sorted by path; nothing when its fixed part does not exist."""
    root = posixpath.normpath(posixpath.join(os.getcwd(), params.get("root") or "."))
    flags = {key: params[key] is not False for key in ("extended", "globstar") if params.get(key) is not None}
    regex_options = {"extended": flags.get("extended", True), "ignore_case": bool(params.get("case_insensitive"))}
    globstar = flags.get("globstar", True)
    skip = tuple(
        glob_to_regex(posixpath.normpath(posixpath.join(root, glob)), globstar=globstar, **regex_options)
        for glob in params.get("exclude") or ()
    )
    options = WalkOptions(
        skip=skip,
        follow_symlinks=bool(params.get("follow_symlinks")),
        canonicalize=params.get("canonicalize") is not False,
    )
    fixed, segments, only_dirs = _split_glob(params["glob"], root)
    try:
        matches = [describe(fixed)]
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    for segment in segments:
        found: dict[str, Entry] = {}
        for entry in matches:
            for match in _advance(entry, segment, options, globstar, regex_options):
                found[match.path] = match
        matches = [found[path] for path in sorted(found)]
    if only_dirs:
        matches = [entry for entry in matches if entry.is_directory]
    if params.get("include_dirs") is False:
        matches = [entry for entry in matches if not entry.is_directory]
    yield from matches


def _split_glob(glob: str, root: str) -> tuple[str, list[str], bool]:
    """The part without wildcards as an absolute path, the segments after it, whether only directories match."""
    fixed = "/" if glob.startswith("/") else root
    segments = [part for part in glob.split("/") if part not in ("", ".")]
    while segments and not is_glob(segments[0]):
        fixed = posixpath.normpath(posixpath.join(fixed, segments.pop(0)))
    return fixed, segments, glob.endswith("/")


def _advance(
    entry: Entry, segment: str, options: WalkOptions, globstar: bool, regex_options: dict[str, bool]
) -> Iterator[Entry]:
    if not entry.is_directory:
        return
    if segment == "..":
        parent = posixpath.normpath(posixpath.join(entry.path, ".."))
        if not options.skips(parent):
            yield describe(parent)
    elif segment == "**":
        yield from walk(entry.path, replace(options, max_depth=float("inf") if globstar else 1))
    else:
        pattern = glob_to_regex(segment, globstar=False, **regex_options)
        for match in walk(entry.path, replace(options, max_depth=1)):
            if match.path != entry.path and pattern.match(match.name):
                yield match


def describe(path: str) -> Entry:
    """One path as an entry, links not followed at the last step unless they lead to a directory."""
    path = posixpath.normpath(path)
    info = os.stat(path)
    is_dir = (info.st_mode & 0o170000) == 0o040000
    is_file = (info.st_mode & 0o170000) == 0o100000
    return Entry(path, posixpath.basename(path), is_file, is_dir, is_symlink=False)


def _from_scan(path: str, entry: os.DirEntry[str]) -> Entry:
    return Entry(
        path,
        entry.name,
        entry.is_file(follow_symlinks=False),
        entry.is_dir(follow_symlinks=False),
        entry.is_symlink(),
    )


def send_entries(entries: Iterator[Entry], first: list[Entry], out: Outgoing) -> None:
    """`first` and then `entries` as JSON lines on `out`."""
    batch: list[bytes] = [entry.line() for entry in first]
    size = sum(map(len, batch))
    try:
        for entry in entries:
            line = entry.line()
            batch.append(line)
            size += len(line)
            if size > _BATCH_BYTES:
                out.put(b"".join(batch))
                batch, size = [], 0
        out.put(b"".join(batch))
    except Cancelled:
        return
    except OSError as error:
        out.fail(os_error_name(error), os_error_text(error))
        return
    out.end()


def os_error_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "EIO")


def os_error_text(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{text}: {error.filename!r}" if error.filename else text
