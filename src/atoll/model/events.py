"""What happened, for the log and later the audit trail: `noun.verb-past` with plain fields.

No event has a field for a secret's value, or for an environment variable's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked: the kind of way in (`api`, `embedded`, `cli`), the token's name, the client's name."""

    via: str
    token: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one sandbox (or to the server, with `sandbox_id` None)."""

    kind: str
    at_ms: int
    sandbox_id: str | None = None
    actor: Actor | None = None
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
