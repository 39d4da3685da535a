"""The `x-deno-sandbox-config` header: base64 of JSON, in the dialects of both clients (WIRE 3.2), to a SandboxSpec."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from atoll.model.errors import InvalidSpec
from atoll.model.ids import DEFAULT_REGION
from atoll.model.spec import MAX_LIFETIME_S, SandboxSpec, parse_duration_s

HEADER = "x-deno-sandbox-config"
# JavaScript computes its deadline on the client's clock; a difference up to this is taken for that clock's.
CLOCK_SKEW_S = 60.0


class SandboxConfig(BaseModel):
    """What either client may send. Options that are not built yet are known here, so that they can be named."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    memory_mb: int | None = None
    debug: bool | None = None  # about the client's own logging
    region: str | None = None
    timeout: str | None = None
    stop_at_ms: float | None = None
    env: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    root: Any = None
    volumes: Any = None
    allow_net: Any = None
    secrets: Any = None
    ssh: Any = None
    port: Any = None


# JavaScript always sends `volumes: []`; an empty `allow_net` asks for no network, which is what there is.
_NOT_BUILT = {
    "allow_net": "leave it out: a sandbox has no network yet",
    "secrets": "leave it out: a sandbox has no network yet that could carry them",
    "volumes": "leave it out, and copy files in and out",
    "root": "leave it out: sandboxes start from the server's image",
    "ssh": "leave it out, and use spawn",
    "port": "leave it out, and use fetch with the process's pid",
}


def parse_config(header: str | None, *, default_memory_mib: int, vcpus: int) -> SandboxSpec:
    """InvalidSpec names the option that is wrong or unknown; no value of the config is in any message."""
    if header is None:
        raise InvalidSpec(HEADER, "the header is missing")
    config = _validated(_decoded(header))
    for name, remedy in _NOT_BUILT.items():
        if getattr(config, name):
            raise InvalidSpec(name, f"this option is not available in this version of atoll; {remedy}")
    return SandboxSpec(
        memory_mib=config.memory_mb if config.memory_mb is not None else default_memory_mib,
        vcpus=vcpus,
        region=config.region or DEFAULT_REGION,
        lifetime_s=_lifetime_s(config),
        env=config.env or {},
        labels=config.labels or {},
    )


def _decoded(header: str) -> Any:
    try:
        raw = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSpec(HEADER, "is not base64") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        # JavaScript's btoa sends U+0080 to U+00FF as single bytes.
        text = raw.decode("latin-1")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidSpec(HEADER, "is not base64 of JSON") from None


def _validated(value: Any) -> SandboxConfig:
    try:
        return SandboxConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or HEADER
    if first["type"] == "extra_forbidden":
        known = ", ".join(SandboxConfig.model_fields)
        raise InvalidSpec(field[:80], f"is not an option of a sandbox; there are {known}")
    raise InvalidSpec(field[:80], first["msg"])


def _lifetime_s(config: SandboxConfig) -> float | None:
    """Seconds from now, or None for a session. Both clients' words for it; a `timeout` wins."""
    if config.timeout is not None:
        return parse_duration_s(config.timeout)
    if config.stop_at_ms is None:
        return None
    left_s = config.stop_at_ms / 1000 - time.time()
    if not -CLOCK_SKEW_S < left_s <= MAX_LIFETIME_S + CLOCK_SKEW_S:
        reason = f"{left_s:.0f} s from now is not between 0 and {MAX_LIFETIME_S} s; is the client's clock right?"
        raise InvalidSpec("stop_at_ms", reason)
    return min(max(left_s, 1.0), MAX_LIFETIME_S)
