"""What a caller asks a sandbox to be. Validated when made: a `SandboxSpec` that exists is valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from atoll.model.errors import InvalidSpec
from atoll.model.ids import DEFAULT_REGION, is_region

MIN_MEMORY_MIB = 768
MAX_MEMORY_MIB = 4096
DEFAULT_MEMORY_MIB = 1280
MAX_LABELS = 5
MAX_LABEL_KEY_BYTES = 64
MAX_LABEL_VALUE_BYTES = 128
# execve(2) refuses one string over 128 KiB (MAX_ARG_STRLEN) and about 2 MiB in all.
MAX_ENV_ENTRY_BYTES = 128 * 1024 - 1
MAX_ENV_BYTES = 1024 * 1024
MAX_LIFETIME_S = 30 * 60

_ENV_NAME = re.compile(r"[^=\x00]+\Z")
_DURATION = re.compile(r"(\d{1,9})(s|m|h)\Z")
_DURATION_UNIT_S = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One sandbox as asked for. `lifetime_s` None means session: it ends with its creator's connection."""

    memory_mib: int = DEFAULT_MEMORY_MIB
    vcpus: int = 2
    region: str = DEFAULT_REGION
    lifetime_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not MIN_MEMORY_MIB <= self.memory_mib <= MAX_MEMORY_MIB:
            raise InvalidSpec(
                "memory_mb", f"{self.memory_mib} is not between {MIN_MEMORY_MIB} and {MAX_MEMORY_MIB} MiB"
            )
        if self.vcpus not in (1, 2):
            raise InvalidSpec("vcpus", f"{self.vcpus} is not 1 or 2")
        if not is_region(self.region):
            raise InvalidSpec("region", f"{self.region!r} is not three lower-case letters")
        if self.lifetime_s is not None and not 0 < self.lifetime_s <= MAX_LIFETIME_S:
            raise InvalidSpec("timeout", f"{self.lifetime_s:g} s is not between 0 and {MAX_LIFETIME_S} s")
        object.__setattr__(self, "env", MappingProxyType(dict(check_env(self.env))))
        object.__setattr__(self, "labels", MappingProxyType(dict(check_labels(self.labels))))


def check_env(env: Mapping[str, str]) -> Mapping[str, str]:
    """`env` itself, or InvalidSpec for what execve(2) could not take."""
    total = 0
    for name, value in env.items():
        if not _ENV_NAME.match(name):
            raise InvalidSpec("env", f"{name!r} is not a name for an environment variable")
        if "\x00" in value:
            raise InvalidSpec("env", f"the value of {name} contains a NUL byte")
        size = len(name.encode("utf-8", "surrogateescape")) + len(value.encode("utf-8", "surrogateescape")) + 2
        if size > MAX_ENV_ENTRY_BYTES:
            raise InvalidSpec("env", f"{name} is {size} bytes long, over the kernel's {MAX_ENV_ENTRY_BYTES}")
        total += size
    if total > MAX_ENV_BYTES:
        raise InvalidSpec("env", f"{total} bytes in all, over {MAX_ENV_BYTES}")
    return env


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """`labels` itself, or InvalidSpec: at most 5, keys of 1–64 bytes, values of at most 128 (Deno's documentation)."""
    if len(labels) > MAX_LABELS:
        raise InvalidSpec("labels", f"{len(labels)} labels, over the limit of {MAX_LABELS}")
    for key, value in labels.items():
        if not 0 < len(key.encode("utf-8", "replace")) <= MAX_LABEL_KEY_BYTES:
            raise InvalidSpec("labels", f"the key {key[:80]!r} is not 1 to {MAX_LABEL_KEY_BYTES} bytes long")
        if len(value.encode("utf-8", "replace")) > MAX_LABEL_VALUE_BYTES:
            raise InvalidSpec("labels", f"the value of {key!r} is over {MAX_LABEL_VALUE_BYTES} bytes long")
    return labels


def parse_duration_s(text: str, field_name: str = "timeout") -> float | None:
    """Seconds of `"30s"`, `"5m"` or `"1h"`; None for `"session"`; InvalidSpec otherwise."""
    if text == "session":
        return None
    match = _DURATION.match(text)
    if match is None:
        raise InvalidSpec(field_name, f'{text[:40]!r} is not "session" or a number with s, m or h, as "5m"')
    return float(int(match[1]) * _DURATION_UNIT_S[match[2]])
