"""Where settings come from. A later source wins: defaults, the file, `ATOLL_SECTION_KEY`, the command line.

The file is the one that was named, else the user's, else the system's; never one in the current directory, which may be
a stranger's checkout. Unknown keys are refused, since a misspelt limit that is ignored is no limit.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from atoll.config.kinds import Kind
from atoll.config.sections import SECTIONS, Config, default_state_dir
from atoll.model.errors import InvalidSpec, NotAvailable

SYSTEM_FILE = Path("/etc/atoll/atoll.toml")
MAX_FILE_BYTES = 1024 * 1024

Values = dict[str, dict[str, Any]]


def load_config(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """All settings. `overrides` has command-line values by their dotted names, as `server.listen`.

    InvalidSpec names the source and the key of what is wrong, NotAvailable a setting that nothing reads yet.
    """
    environ = os.environ if environ is None else environ
    file = file or find_config_file(environ)
    values: Values = {name: {} for name in SECTIONS}
    values["server"]["state_dir"] = default_state_dir(environ, is_root=os.geteuid() == 0)
    if file is not None:
        _take_file(values, file)
    _take_environment(values, environ)
    for name, text in (overrides or {}).items():
        section, _, key = name.partition(".")
        _take_text(values, "the command line", section, key, text)
    return _assemble(values, file)


def find_config_file(environ: Mapping[str, str]) -> Path | None:
    """The file that `ATOLL_CONFIG` names, or the first that exists of the user's and the system's."""
    named = environ.get("ATOLL_CONFIG")
    if named:
        return Path(named)
    base = environ.get("XDG_CONFIG_HOME", "")
    user_base = Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".config"
    return next((path for path in (user_base / "atoll/atoll.toml", SYSTEM_FILE) if path.exists()), None)


def _take_file(values: Values, file: Path) -> None:
    where = str(file)
    for section, table in _read_toml(file).items():
        if section not in SECTIONS:
            raise InvalidSpec(where, f"there is no section [{section}]{_did_you_mean(section, SECTIONS)}")
        if not isinstance(table, dict):
            raise InvalidSpec(where, f"{section} is not a section; write [{section}]")
        for key, value in table.items():
            _take(values, where, section, key, value)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidSpec(str(file), f"is over {MAX_FILE_BYTES} bytes long")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise InvalidSpec(str(file), f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSpec(str(file), f"is not valid TOML: {error}") from None


def _take_environment(values: Values, environ: Mapping[str, str]) -> None:
    known = {f"ATOLL_{section}_{key}".upper(): (section, key) for section in SECTIONS for key in _kinds(section)}
    for name, text in environ.items():
        if name in known:
            _take_text(values, name, *known[name], text)
        elif _looks_like_setting(name, known):
            raise InvalidSpec(name, f"this variable is no setting{_did_you_mean(name, known)}")


def _looks_like_setting(name: str, known: Iterable[str]) -> bool:
    """Whether somebody meant a setting: other programs may have ATOLL_ variables of their own."""
    if name.startswith(tuple(f"ATOLL_{section.upper()}_" for section in SECTIONS)):
        return True
    return name.startswith("ATOLL_") and bool(difflib.get_close_matches(name, known, n=1, cutoff=0.9))


def _take_text(values: Values, where: str, section: str, key: str, text: str) -> None:
    _store(values, where, section, key, lambda kind: kind.from_text(text), Path.cwd())


def _take(values: Values, where: str, section: str, key: str, value: object) -> None:
    _store(values, where, section, key, lambda kind: kind.check(value), Path(where).parent)


def _store(values: Values, where: str, section: str, key: str, read: Callable[[Kind], Any], base: Path) -> None:
    """Read one value and keep it; a relative path is relative to the file, or to the current directory."""
    kinds = _kinds(section)
    if key not in kinds:
        raise InvalidSpec(where, f"[{section}] has no key {key!r}{_did_you_mean(key, kinds)}")
    try:
        value = read(kinds[key])
    except ValueError as error:
        raise InvalidSpec(f"{where}: {section}.{key}", str(error)) from None
    values[section][key] = Path(os.path.abspath(base / value)) if isinstance(value, Path) else value
    _check_built(where, section, key, value)


def _check_built(where: str, section: str, key: str, value: object) -> None:
    built = {entry.name: entry.metadata["built"] for entry in dataclasses.fields(SECTIONS[section])}
    if not built[key] and value != getattr(SECTIONS[section](), key):
        raise NotAvailable(f"{section}.{key} (set in {where})", "leave it out")


def _kinds(section: str) -> dict[str, Kind]:
    if section not in SECTIONS:
        raise InvalidSpec(section, f"there is no such section of settings{_did_you_mean(section, SECTIONS)}")
    return {entry.name: entry.metadata["kind"] for entry in dataclasses.fields(SECTIONS[section])}


def _assemble(values: Values, file: Path | None) -> Config:
    try:
        return Config(**{name: SECTIONS[name](**values[name]) for name in SECTIONS})
    except InvalidSpec as error:
        raise InvalidSpec(f"{file}: {error.field}" if file else error.field, error.reason) from None


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
