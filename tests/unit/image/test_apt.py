from __future__ import annotations

from pathlib import Path

import pytest

from atoll.image import apt, apt_lines
from atoll.model.errors import ImageError

BOOKWORM = """\
Types: deb deb-src
# a comment
URIs: http://archive.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.test/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
VENDORS = """\
deb [arch=amd64 signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.test bookworm main
deb [signed-by=/usr/share/keyrings/other.gpg] https://other.test/debian stable main
deb https://pgdg.test/apt bookworm-pgdg main
"""
UBUNTU = """\
Types: deb
URIs: http://archive.test/ubuntu
Suites: noble noble-updates
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def host(directory: Path, **files: str) -> Path:
    (directory / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, kind = name.rpartition("_")
        place = directory / "sources.list" if name == "main" else directory / "sources.list.d" / f"{stem}.{kind}"
        place.write_text(text)
    return directory


def suites(archive: apt.Archive) -> list[tuple[str, str]]:
    return [(uri, suite) for source in archive.sources for uri in source.uris for suite in source.suites]


def test_deb822_host(tmp_path: Path) -> None:
    archive = apt.find_archive("trixie", None, host(tmp_path, vendor_list=VENDORS, debian_sources=BOOKWORM))
    assert suites(archive) == [
        ("http://archive.test/debian", "trixie"),
        ("http://archive.test/debian", "trixie-updates"),
        ("http://archive.test/debian-security", "trixie-security"),
    ]
    assert "contrib" not in archive.build_sources()
    assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in archive.build_sources()


def test_one_line_host(tmp_path: Path) -> None:
    text = (
        "deb cdrom:[Debian 12]/ bookworm main\n"
        "# deb http://old.test/debian bookworm main\n"
        "deb-src http://archive.test/debian bookworm main\n"
        "deb [trusted=yes arch=amd64] http://archive.test/debian/ bookworm main non-free # note\n"
        "deb http://archive.test/debian-security bookworm-security main\n"
    )
    archive = apt.find_archive("trixie", None, host(tmp_path, main=text))
    assert suites(archive) == [
        ("http://archive.test/debian/", "trixie"),
        ("http://archive.test/debian-security", "trixie-security"),
    ]
    assert "Trusted: yes" in archive.build_sources()


def test_a_disabled_entry_is_not_used(tmp_path: Path) -> None:
    text = BOOKWORM.replace("Types: deb deb-src", "Enabled: no\nTypes: deb")
    with pytest.raises(ImageError):
        apt.find_archive("trixie", None, host(tmp_path, debian_sources=text))


@pytest.mark.parametrize("text", [VENDORS, ""])
def test_other_vendors_are_not_debian(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImageError, match="ATOLL_IMAGE_DEBIAN_MIRROR"):
        apt.find_archive("trixie", None, host(tmp_path, vendor_list=text, ubuntu_sources=UBUNTU))


def test_inline_key_survives_the_round_trip() -> None:
    text = BOOKWORM.replace(
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFit\n -----END PGP PUBLIC KEY BLOCK-----",
    )
    archive = apt.choose("trixie", apt_lines.parse_deb822(text))
    again = list(apt_lines.parse_deb822(archive.build_sources()))
    assert again == list(archive.sources)
    assert again[0].options["signed-by"].splitlines()[2:4] == [" .", " mQINBFit"]


def test_the_guest_gets_no_credentials_and_no_path_of_the_host() -> None:
    source = apt_lines.AptSource(
        ("https://user:hunter2@archive.test:8443/debian", "file:/srv/debian"),
        ("trixie",),
        ("main",),
        {"trusted": "yes"},
    )
    text = apt.Archive((source,)).guest_sources()
    assert "URIs: https://archive.test:8443/debian\n" in text
    assert "hunter2" not in text
    assert "/srv" not in text
    assert "Trusted" not in text


def test_the_guest_gets_the_mirrors_of_a_list_on_the_host(tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text("# comment\nhttps://one.test/debian priority:1\nhttps://two.test/debian\n")
    found = apt.choose("trixie", [apt_lines.AptSource((f"mirror+file:{mirrors}",), ("bookworm",), ("main",))])
    assert f"mirror+file:{mirrors}" in found.build_sources()
    assert "URIs: https://one.test/debian https://two.test/debian\n" in found.guest_sources()


@pytest.mark.skipif(not apt.KEYRING.exists(), reason="needs debian-archive-keyring")
def test_an_operators_mirror_comes_first(tmp_path: Path) -> None:
    archive = apt.find_archive("trixie", "https://m.test/debian https://m.test/security", host(tmp_path))
    assert suites(archive) == [
        ("https://m.test/debian", "trixie"),
        ("https://m.test/debian", "trixie-updates"),
        ("https://m.test/security", "trixie-security"),
    ]
    with pytest.raises(ImageError, match="URL"):
        apt.find_archive("trixie", "m.test", tmp_path)
