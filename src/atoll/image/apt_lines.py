"""The two languages of apt's source lists: one-line (`deb [options] uri suite component…`) and deb822."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>\S+\s+\S.*)")
# The options that decide whether and how apt believes a source; both languages spell them alike.
_OPTIONS = ("signed-by", "trusted", "check-valid-until", "check-date", "allow-insecure", "by-hash")


@dataclass(frozen=True)
class AptSource:
    """Binary packages of some suites; `options` by their names in lower case."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


def read_sources(apt_directory: Path) -> list[AptSource]:
    """Every enabled source of binary packages under `apt_directory`, in apt's order."""
    parts = apt_directory / "sources.list.d"
    files = [apt_directory / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    return [source for file in files if file.is_file() for source in _parse(file)]


def _parse(file: Path) -> Iterator[AptSource]:
    text = file.read_text(errors="replace")
    return parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)


def parse_one_line(text: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            uri, suite, *components = match["rest"].split()
            pairs = (option.partition("=") for option in (match["options"] or "").split())
            yield AptSource((uri,), (suite,), tuple(components), _kept({key: value for key, _, value in pairs}))


def parse_deb822(text: str) -> Iterator[AptSource]:
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n(?:[ \t]*\n)+", uncommented):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0", "off")
        if enabled and "deb" in fields.get("types", "").split():
            uris, suites, components = (
                tuple(fields.get(name, "").split()) for name in ("uris", "suites", "components")
            )
            yield AptSource(uris, suites, components, _kept(fields))


def _fields(stanza: str) -> dict[str, str]:
    """Field names in lower case to values; a value of more lines keeps them."""
    found: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1].isspace():
            found[name] = found.get(name, "") + "\n" + line
        else:
            name, _, value = line.partition(":")
            name = name.lower()
            found[name] = value.strip()
    return found


def _kept(options: Mapping[str, str]) -> dict[str, str]:
    lowered = {key.lower(): value for key, value in options.items()}
    return {key: lowered[key] for key in _OPTIONS if key in lowered}


def format_deb822(source: AptSource) -> str:
    """One stanza, ending in a newline."""
    lines = [
        "Types: deb",
        f"URIs: {' '.join(source.uris)}",
        f"Suites: {' '.join(source.suites)}",
        f"Components: {' '.join(source.components)}",
    ]
    lines += [f"{key.title()}: {value}" for key, value in source.options.items()]
    return "\n".join(lines) + "\n"
