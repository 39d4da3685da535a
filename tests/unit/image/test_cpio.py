from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.image.cpio_reader import read

from atoll.image import cpio

NAMES = st.text("abcxyz0-_.", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))


@given(st.dictionaries(NAMES, st.binary(max_size=40)))
def test_everything_written_is_read_back(files: dict[str, bytes]) -> None:
    data = cpio.archive(cpio.regular(name, content) for name, content in files.items())
    assert {name: content for name, _, content in read(data)} == files
    assert len(data) % 512 == 0


def test_order_of_entries_does_not_matter() -> None:
    entries = [cpio.regular("b/x", b"1", 0o755), cpio.directory("b"), cpio.regular("a", b"2")]
    assert cpio.archive(entries) == cpio.archive(reversed(entries))
    assert [name for name, _, _ in read(cpio.archive(entries))] == ["a", "b", "b/x"]


def test_modes_are_kept() -> None:
    modes = {name: mode for name, mode, _ in read(cpio.archive([cpio.directory("d"), cpio.regular("f", b"", 0o755)]))}
    assert modes == {"d": stat.S_IFDIR | 0o755, "f": stat.S_IFREG | 0o755}
