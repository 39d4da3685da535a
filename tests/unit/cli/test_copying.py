"""A sandbox may answer anything to a copy out of it; nothing may land outside the target."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.copying import CopyOut, guest_path, stays_inside
from atoll.model.errors import AtollError, GuestError, HostError, ProtocolViolation, TooLarge


@dataclass(frozen=True)
class Facts:
    mode: int


@dataclass(frozen=True)
class Entry:
    name: str


Node = bytes | str | list[tuple[str, "Node"]] | int
"""Content, a link's text, a directory's entries (twice the same, if it likes), or a bare file type."""


class Guest:
    """A sandbox with files that no real one has."""

    def __init__(self, root: Node) -> None:
        self.nodes: dict[str, list[Node]] = {}
        self._add("/src", root)

    def _add(self, path: str, node: Node) -> None:
        self.nodes.setdefault(path, []).append(node)
        if isinstance(node, list):
            for name, inner in node:
                self._add(f"{path}/{name}", inner)

    def _next(self, path: str) -> Node:
        """Of two with the same name, each in its turn."""
        if path not in self.nodes:
            raise GuestError("ENOENT", f"{path}: not there")
        found = self.nodes[path]
        return found[0] if len(found) == 1 else found.pop(0)

    async def real_path(self, path: str, /) -> str:
        return path

    async def lstat(self, path: str, /) -> Facts:
        self.seen = self._next(path)
        kinds = {bytes: stat.S_IFREG | 0o6755, str: stat.S_IFLNK | 0o777, list: stat.S_IFDIR | 0o755}
        return Facts(self.seen if isinstance(self.seen, int) else kinds[type(self.seen)])

    async def read_link(self, path: str, /) -> str:
        assert isinstance(self.seen, str)
        return self.seen

    async def read_dir(self, path: str, /) -> Sequence[Entry]:
        assert isinstance(self.seen, list)
        return [Entry(name) for name, _ in self.seen]

    async def read(self, path: str) -> AsyncGenerator[bytes, None]:
        assert isinstance(self.seen, bytes)
        yield self.seen


class Target:
    """A directory to copy into, beside one that must stay as it is."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "target"
        self.skipped: list[str] = []
        (base / "outside").mkdir()
        (base / "outside" / "victim").write_text("untouched")

    async def copy(self, root: Node, max_bytes: int = 1 << 20) -> None:
        out = CopyOut(Guest(root), lambda name, reason: self.skipped.append(name), max_bytes=max_bytes)
        await out.run("/src", self.path)

    def check(self) -> None:
        """Nothing but the target is there, and nothing in it leads out."""
        assert set(os.listdir(self.base)) <= {"target", "outside"}
        assert os.listdir(self.base / "outside") == ["victim"]
        assert (self.base / "outside" / "victim").read_text() == "untouched"
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = Path(folder, name)
                assert not name.startswith(".atoll-")
                if path.is_symlink():
                    assert Path(os.path.realpath(path)).is_relative_to(self.path), f"{path} leads out"
                else:
                    assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


async def test_a_tree_is_copied(target: Target) -> None:
    await target.copy(
        [("a", b"one"), ("d", [("b", b"two"), ("up", "../a"), ("here", "b"), ("dir", "..")]), ("l", "d/b")]
    )
    target.check()
    assert target.skipped == []
    assert ((target.path / "l").read_text(), (target.path / "d" / "up").read_text()) == ("two", "one")
    assert stat.S_IMODE((target.path / "a").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["..", ".", "", "../outside/victim", "/etc/x", "a/b", "a\x00b", "n" * 256])
async def test_a_name_that_is_none_ends_the_copy(target: Target, name: str) -> None:
    with pytest.raises(ProtocolViolation, match="is no name"):
        await target.copy([(name, b"evil")])
    target.check()


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "..", "../outside", "../../x", "d/../..", "d/..", "./../x", "//etc", "a/../../target/../x"]
)
async def test_a_link_that_leads_out_is_left_out(target: Target, text: str) -> None:
    await target.copy([("l", text), ("good", b"good")])
    target.check()
    assert target.skipped == ["target/l"]
    assert os.listdir(target.path) == ["good"]


async def test_a_link_cannot_be_written_through(target: Target) -> None:
    await target.copy([("l", "d"), ("l", b"content"), ("d", [])])
    target.check()
    assert (target.path / "l").read_bytes() == b"content"


async def test_a_link_cannot_be_descended_through(target: Target) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        await target.copy([("l", "d"), ("l", [("inner", b"x")]), ("d", [])])
    target.check()


async def test_links_that_are_there_already_are_not_followed(target: Target) -> None:
    target.path.mkdir()
    (target.path / "src").mkdir()
    (target.path / "src" / "file").symlink_to(target.base / "outside" / "victim")
    (target.path / "src" / "d").symlink_to(target.base / "outside")
    await target.copy([("file", b"new")])
    assert (target.path / "src" / "file").read_bytes() == b"new"
    assert not (target.path / "src" / "file").is_symlink()
    with pytest.raises(HostError):
        await target.copy([("d", [("victim", b"new")])])
    assert (target.base / "outside" / "victim").read_text() == "untouched"


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0])
async def test_devices_and_the_like_are_left_out(target: Target, kind: int) -> None:
    await target.copy([("odd", kind | 0o666), ("good", b"good")])
    target.check()
    assert target.skipped == ["target/odd"]


async def test_content_depth_and_number_are_bounded(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="--max-size"):
        await target.copy([("a", b"x" * 600), ("b", b"x" * 600)], max_bytes=1000)
    assert os.listdir(target.path) == ["a"]
    deep: Node = []
    for _ in range(250):
        deep = [("d", deep)]
    with pytest.raises(TooLarge, match="deep"):
        await target.copy(deep)
    monkeypatch.setattr("atoll.cli.copying.MAX_ENTRIES", 3)
    with pytest.raises(TooLarge, match="more than 3"):
        await target.copy([(str(number), b"") for number in range(4)])


async def test_what_vanishes_meanwhile_is_left_out(target: Target) -> None:
    guest = Guest([("gone", b""), ("there", b"x")])
    del guest.nodes["/src/gone"]
    out = CopyOut(guest, lambda name, reason: target.skipped.append(name), max_bytes=1000)
    await out.run("/src", target.path)
    assert (target.skipped, os.listdir(target.path)) == (["target/gone"], ["there"])


_NAMES = st.sampled_from(["a", "b", "c", "..", "x/y", ""])
_LINKS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), max_size=5).map("/".join)
_TREES: st.SearchStrategy[Node] = st.recursive(
    st.one_of(st.binary(max_size=3), _LINKS, st.just(stat.S_IFIFO)),
    lambda inner: st.lists(st.tuples(_NAMES, inner), max_size=5),
    max_leaves=15,
)


@given(root=st.lists(st.tuples(_NAMES, _TREES), max_size=5))
async def test_no_tree_at_all_gets_out(tmp_path_factory: pytest.TempPathFactory, root: Node) -> None:
    target = Target(tmp_path_factory.mktemp("any"))
    try:
        await target.copy(root)
    except AtollError:
        pass
    target.check()


@given(text=_LINKS, depth=st.integers(0, 3))
def test_a_link_that_stays_inside_does_so_by_its_text(text: str, depth: int) -> None:
    if stays_inside(text, depth=depth):
        below = posixpath.join("/root", *["d"] * depth)
        assert posixpath.normpath(posixpath.join(below, text)).startswith("/root")


def test_paths_of_the_guest_are_absolute_and_normal() -> None:
    found = [guest_path(text) for text in ("", "x", "/a/../b/", "~/x", "../y")]
    assert found == ["/home/app", "/home/app/x", "/b", "/home/app/~/x", "/home/y"]
