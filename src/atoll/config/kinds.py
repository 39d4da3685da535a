"""What a setting's value may be. `check` takes what TOML gave, `from_text` what a variable or an option says.

Both raise ValueError with a reason that reads well after the key's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

_SIZE = re.compile(r"(\d{1,9})\s*(MiB|GiB)\Z")
_MIB_IN = {"MiB": 1, "GiB": 1024}
_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>\d{1,5})\Z")


class ListenAddress(NamedTuple):
    """Where a server listens; port 0 lets the kernel choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """`HOST:PORT` or `[IPV6]:PORT`; ValueError otherwise."""
    match = _LISTEN.match(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f'{text[:80]!r} is not HOST:PORT, as "127.0.0.1:8700" or "[::1]:8700"')
    return ListenAddress(match["v6"] or match["host"], int(match["port"]))


def parse_memory_mib(text: str) -> int:
    """MiB of `"1280MiB"`, `"2GiB"` or `"1280"`; ValueError otherwise."""
    match = _SIZE.match(f"{text}MiB" if text.isascii() and text.isdigit() else text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is not a size, as "1280MiB" or "2GiB"')
    return int(match[1]) * _MIB_IN[match[2]]


class Kind(Protocol):
    """How one setting is read."""

    def check(self, value: object) -> Any: ...
    def from_text(self, text: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between `low` and `high`."""

    low: int
    high: int

    def check(self, value: object) -> int:
        # bool is an int to Python, but `size = true` is a mistake.
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is not between {self.low} and {self.high}")
        return value

    def from_text(self, text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            raise ValueError(f"{text[:40]!r} is not a whole number")
        return self.check(int(text))


@dataclass(frozen=True, slots=True)
class Size:
    """A size in whole `unit`s (`MiB` or `GiB`): a number of them, or text with a unit."""

    low: int
    high: int
    unit: str

    def check(self, value: object) -> int:
        return self.from_text(value) if isinstance(value, str) else Integer(self.low, self.high).check(value)

    def from_text(self, text: str) -> int:
        if text.isascii() and text.isdigit():
            return Integer(self.low, self.high).from_text(text)
        units, rest = divmod(parse_memory_mib(text), _MIB_IN[self.unit])
        if rest:
            raise ValueError(f"{text} is not a whole number of {self.unit}")
        return Integer(self.low, self.high).check(units)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: object) -> str:
        if value not in self.words:
            raise ValueError(f"{value!r} is not one of {', '.join(self.words)}")
        return str(value)

    def from_text(self, text: str) -> str:
        return self.check(text)


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not empty."""

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is not text")
        if "\x00" in value:
            raise ValueError("contains a NUL character")
        return value

    def from_text(self, text: str) -> str:
        return self.check(text)


@dataclass(frozen=True, slots=True)
class Listen:
    """`HOST:PORT`."""

    def check(self, value: object) -> ListenAddress:
        return parse_listen(Text().check(value))

    def from_text(self, text: str) -> ListenAddress:
        return self.check(text)


@dataclass(frozen=True, slots=True)
class Location:
    """A path; `~` is the user's home. A relative one is made absolute by whoever knows what it is relative to."""

    def check(self, value: object) -> Path:
        path = Path(Text().check(value))
        try:
            return path.expanduser()
        except RuntimeError:
            raise ValueError(f"{str(path)!r} names a home directory that is not known") from None

    def from_text(self, text: str) -> Path:
        return self.check(text)


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of texts; separated by commas where it comes as text."""

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple(Text().check(item) for item in value)

    def from_text(self, text: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in text.split(",") if item.strip())


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of texts; `name=value,name=value` where it comes as text."""

    def check(self, value: object) -> MappingProxyType[str, str]:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not a table")
        return MappingProxyType({key: Text().check(item) for key, item in value.items()})

    def from_text(self, text: str) -> MappingProxyType[str, str]:
        pairs = (item.partition("=") for item in TextList().from_text(text))
        return self.check({name.strip(): value.strip() for name, _, value in pairs})
