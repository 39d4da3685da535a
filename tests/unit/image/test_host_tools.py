"""What a build needs of its user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from atoll.image import host_tools
from atoll.model.errors import ImageError


def nameless_uid() -> int:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in range(54321, 60000) if uid not in known)


def test_a_user_without_a_name_is_told_of_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = nameless_uid()
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(ImageError, match=f"gives {uid} no 65536 subordinate ids"):
        host_tools._check_subordinate_ids()


@pytest.mark.parametrize(
    ("content", "enough"),
    [
        ("someone:100000:65536\n", True),
        ("54321:100000:65536\n", True),
        ("someone:100000:65535\n", False),
        ("other:100000:65536\nbroken\n", False),
        ("", False),
    ],
)
def test_subordinate_ids_are_found_by_name_or_number(tmp_path: Path, content: str, enough: bool) -> None:
    (tmp_path / "subuid").write_text(content)
    assert host_tools.has_ids(tmp_path / "subuid", "someone", 54321) is enough
    assert not host_tools.has_ids(tmp_path / "none", "someone", 54321)
