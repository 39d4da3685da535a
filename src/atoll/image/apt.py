"""Where the host's apt gets Debian from, and the same for the guest's suite.

Only the entry of the main Debian archive is taken (and its updates and security): hosts
often have entries of other vendors beside it that use Debian's suite names.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from atoll.image import apt_lines
from atoll.image.apt_lines import AptSource
from atoll.model.errors import ImageError

MIRROR_VARIABLE = "ATOLL_IMAGE_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEBIAN_SUITES = frozenset(
    "bullseye bookworm trixie forky duke sid stable oldstable testing unstable".split()  # noqa: SIM905
)
_ANOTHER_VENDOR = 0
# Settings of the host's apt that say how to reach an archive; the rest is the host's own business.
_LOGINS = {"Dir::Etc::netrc": Path("/etc/apt/auth.conf"), "Dir::Etc::netrcparts": Path("/etc/apt/auth.conf.d")}
_CARRIED = re.compile(r"Acquire::(http|https|ftp|Retries|ForceIPv[46]|Check-|Max-)", re.IGNORECASE)


@dataclass(frozen=True)
class Archive:
    """The sources a build uses, with the guest's suites."""

    sources: tuple[AptSource, ...]

    def build_sources(self) -> str:
        """deb822 text for mmdebstrap; may hold credentials."""
        return "\n".join(apt_lines.format_deb822(source) for source in self.sources)

    def guest_sources(self) -> str:
        """deb822 text for /etc/apt in the guest: what a guest can reach, and no credentials."""
        return "\n".join(apt_lines.format_deb822(_for_guest(source)) for source in self.sources)


def find_archive(suite: str, mirror: str | None, apt_directory: Path = Path("/etc/apt")) -> Archive:
    """The archive for `suite`: `mirror` ("URL" or "URL SECURITY_URL") if given, else the host's; ImageError if none."""
    if mirror and mirror.split():
        return _from_mirror(suite, mirror.split())
    return choose(suite, apt_lines.read_sources(apt_directory))


def _from_mirror(suite: str, urls: list[str]) -> Archive:
    if not KEYRING.exists():
        raise ImageError(f"{KEYRING} is missing; `apt-get install debian-archive-keyring`")
    bad = [url for url in urls if "://" not in url]
    if bad or len(urls) > 2:
        raise ImageError(f"{MIRROR_VARIABLE} must be a mirror's URL, or two: of the archive and of its security part")
    options = {"signed-by": str(KEYRING)}
    sources = [AptSource((urls[0],), (suite, f"{suite}-updates"), ("main",), options)]
    sources += [AptSource((url,), (f"{suite}-security",), ("main",), options) for url in urls[1:]]
    return Archive(tuple(sources))


def choose(suite: str, sources: Iterable[AptSource]) -> Archive:
    """The Debian archive among a host's `sources`, its suites replaced by `suite` and its companions."""
    usable = [source for source in sources if "main" in source.components and _uris(source)]
    candidates = [source for source in usable if _DEBIAN_SUITES & set(source.suites)]
    main = max(candidates, key=_likeness, default=None)
    if main is None or _likeness(main) == _ANOTHER_VENDOR:
        raise ImageError(
            "no apt source of this host is the Debian archive (an Ubuntu host has none); set "
            f"{MIRROR_VARIABLE} to a mirror's URL, and after a space to that of its security part"
        )
    wanted = [_as_suite(main, suite)]
    for name in ("updates", "security"):
        companion = next((source for source in usable if _has_companion(source, name, main)), None)
        if companion:
            wanted.append(_as_suite(companion, f"{suite}-{name}"))
    return Archive(tuple(wanted))


def _as_suite(source: AptSource, suite: str) -> AptSource:
    return replace(source, uris=_uris(source), suites=(suite,), components=("main",))


def _uris(source: AptSource) -> tuple[str, ...]:
    return tuple(uri for uri in source.uris if not uri.startswith("cdrom:"))


def _likeness(source: AptSource) -> int:
    """How surely `source` is Debian's own archive; other vendors use their own keyring and path."""
    own_key = "debian-archive" in source.options.get("signed-by", "")
    own_path = any(uri.rstrip("/").endswith(("/debian", "/debian.list")) for uri in source.uris)
    foreign_key = "signed-by" in source.options and not own_key and "\n" not in source.options["signed-by"]
    return 4 * own_key + 2 * own_path - 2 * foreign_key if own_key or own_path else _ANOTHER_VENDOR


def _has_companion(source: AptSource, name: str, main: AptSource) -> bool:
    endings = (f"-{name}", "/updates") if name == "security" else (f"-{name}",)
    suites = {suite.removesuffix(ending) for suite in source.suites for ending in endings if suite.endswith(ending)}
    related = source.options.get("signed-by") == main.options.get("signed-by")
    return bool(suites & _DEBIAN_SUITES) and related


def _for_guest(source: AptSource) -> AptSource:
    uris = tuple(_without_credentials(uri) for uri in _reachable(source.uris))
    return AptSource(uris, source.suites, source.components, {"signed-by": str(KEYRING)})


def _reachable(uris: Iterable[str]) -> Iterator[str]:
    """`uris` with a list of mirrors in a file of the host replaced by what stands in it."""
    for uri in uris:
        _, listed, path = uri.partition("mirror+file:")
        if listed:
            yield from (line.split()[0] for line in _mirror_list(Path(path)) if line.strip())
        elif not uri.startswith(("file:", "copy:")):
            yield uri


def _mirror_list(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if not line.startswith("#")]
    except OSError as error:
        raise ImageError(f"{path}, which the host's apt sources name, cannot be read: {error.strerror}") from error


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _readable(path: Path) -> bool:
    """Whether mmdebstrap's apt can read it: as root, or, under a subordinate uid, like anybody."""
    return path.exists() and (os.geteuid() == 0 or bool(path.stat().st_mode & stat.S_IROTH))


def host_settings() -> str:
    """The host's apt settings for reaching an archive (proxy, CA, retries, logins), as apt.conf text."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    carried = [line for line in dump.splitlines() if _CARRIED.match(line)]
    # mmdebstrap's apt looks in the new root for these, where nothing is.
    carried += [f'{option} "{path}";' for option, path in _LOGINS.items() if _readable(path)]
    return "\n".join(carried) + "\n"
