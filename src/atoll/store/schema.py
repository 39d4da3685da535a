"""The tables, and how an older file becomes a newer one.

`MIGRATIONS[n]` takes a file from `user_version` n to n + 1. An entry never changes once it was released: add one.
"""

from __future__ import annotations

from typing import Final

# "atol": tells our files from other programs' (PRAGMA application_id).
APPLICATION_ID: Final = 0x61746F6C

_FIRST = """
CREATE TABLE sandboxes (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,    -- the order of creation, and so of listings
    id            TEXT    NOT NULL UNIQUE,
    status        TEXT    NOT NULL CHECK (status IN ('starting', 'running', 'stopping', 'stopped')),
    region        TEXT    NOT NULL,
    memory_mib    INTEGER NOT NULL,
    vcpus         INTEGER NOT NULL,
    accelerator   TEXT,                                 -- known once it runs
    image_digest  TEXT,
    created_at_ms INTEGER NOT NULL,
    stopped_at_ms INTEGER,
    stop_reason   TEXT,
    CHECK ((status = 'stopped') = (stopped_at_ms IS NOT NULL)),
    CHECK ((status = 'stopped') = (stop_reason IS NOT NULL))
) STRICT;
CREATE INDEX sandboxes_alive ON sandboxes (seq) WHERE status <> 'stopped';

CREATE TABLE labels (
    key   BLOB    NOT NULL,     -- UTF-8, but with the lone surrogates that JSON can carry
    value BLOB    NOT NULL,
    seq   INTEGER NOT NULL REFERENCES sandboxes (seq) ON DELETE CASCADE,
    PRIMARY KEY (key, value, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of ON labels (seq);

CREATE TABLE tokens (
    name            TEXT    NOT NULL PRIMARY KEY,
    sha256          BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    created_at_ms   INTEGER NOT NULL,
    revoked_at_ms   INTEGER,
    last_used_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Written before the thing is made and removed after it is gone: what a crash leaves here is what reconcile looks for.
-- No reference to sandboxes: a VM of the pool owns things before it is anybody's sandbox.
CREATE TABLE owned (
    sandbox_id TEXT NOT NULL,
    kind       TEXT NOT NULL,
    ident      TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, kind, ident)
) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: Final = (_FIRST,)
