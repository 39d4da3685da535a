"""Records that outlive a process: sandboxes, API tokens (as hashes only), and what each sandbox owns on the host.

SQLite, in one file, through one thread that owns the connection; every method is awaitable and blocks only that thread.
It must never hold a token's text, a secret, a sandbox's environment or its output.
"""

from __future__ import annotations

from atoll.store.owned import Owned, OwnedThings
from atoll.store.records import SandboxPage, SandboxRecord, SandboxRecords
from atoll.store.store import Store
from atoll.store.tokens import TokenRecord, Tokens

__all__ = [
    "Owned",
    "OwnedThings",
    "SandboxPage",
    "SandboxRecord",
    "SandboxRecords",
    "Store",
    "TokenRecord",
    "Tokens",
]
