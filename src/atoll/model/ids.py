"""Identifiers: `sbx_<region>_<20>`, as both official clients demand (WIRE 3.5)."""

from __future__ import annotations

import re
import secrets

# Digits and lower-case letters without i, l and o: what the JavaScript client accepts.
ALPHABET = "0123456789abcdefghjkmnpqrstuvwxyz"
DEFAULT_REGION = "ord"

_REGION = re.compile(r"[a-z]{3}\Z")
_ID = re.compile(r"(sbx)_([a-z]{3})_([0-9a-hjkmnp-z]{20})\Z")


def is_region(text: str) -> bool:
    """Whether `text` can be the region of an id: exactly three lower-case letters."""
    return _REGION.match(text) is not None


def new_sandbox_id(region: str = DEFAULT_REGION) -> str:
    """A new id with 100 random bits, so that it can be neither guessed nor met twice."""
    tail = "".join(secrets.choice(ALPHABET) for _ in range(20))
    return f"sbx_{region}_{tail}"


def is_sandbox_id(text: str) -> bool:
    """Whether `text` has the form of a sandbox id."""
    return _ID.match(text) is not None
