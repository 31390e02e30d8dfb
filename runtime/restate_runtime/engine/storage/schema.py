"""The tables, and the versions of them."""

from __future__ import annotations

import apsw

from .rows import sealed

__all__ = ["SCHEMA_VERSION", "create", "upgrade"]

SCHEMA_VERSION = 4

# One row of current state for each invocation, an append-only log of what its handler asked, another of what arrived.
# Times are milliseconds since 1970, 0 where there is none. Every row ends with the CRC-32C of what stands before (rows.py).
_TABLES = """
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    schema_version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,          -- counts starts; a writer whose epoch is stale is refused
    batch INTEGER NOT NULL,          -- number of the last commit, compared with the high-water mark
    clean INTEGER NOT NULL,          -- whether the last owner stopped in order
    next_seq INTEGER NOT NULL,
    next_admission INTEGER NOT NULL,
    live INTEGER NOT NULL,           -- invocations that are not completed
    crc INTEGER NOT NULL
) STRICT;

-- What came later stands behind the checksum, which covers it where it is not the default (rows.py): `shared` since version 2,
-- `cancelling` and `begun` since version 4, the rest since version 3. `deployment` is where it began, `retries` are failed attempts since
-- the journal last grew; `cancelling` was cancelled and has not seen it, of `begun` the handler may have done something.
CREATE TABLE invocation (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    service TEXT NOT NULL,
    method TEXT NOT NULL,
    key TEXT,
    status TEXT NOT NULL,
    admission INTEGER NOT NULL,
    parent_seq INTEGER,              -- the invocation that made it
    parent_completion INTEGER,       -- where that awaits it
    idempotency_key TEXT,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    completed_ms INTEGER NOT NULL,
    retention_ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    retry_ms INTEGER NOT NULL,
    failure TEXT NOT NULL,
    fault TEXT NOT NULL,
    failure_code INTEGER,
    failure_message TEXT,
    wait BLOB,
    commands INTEGER NOT NULL,
    notifications INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    shared INTEGER NOT NULL DEFAULT 0,
    deployment TEXT NOT NULL DEFAULT '',
    protocol INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    retries_ms INTEGER NOT NULL DEFAULT 0,
    retries_length INTEGER NOT NULL DEFAULT 0,
    cancelling INTEGER NOT NULL DEFAULT 0,
    begun INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX invocation_live ON invocation (seq) WHERE status <> 'completed';
CREATE INDEX invocation_completed ON invocation (completed_ms) WHERE status = 'completed';

CREATE TABLE command (
    seq INTEGER, position INTEGER, entry BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE notification (
    seq INTEGER, position INTEGER, entry BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE state (
    service TEXT, key TEXT, name TEXT, tag TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (service, key, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE timer (
    seq INTEGER, completion INTEGER, due_ms INTEGER NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, completion)
) STRICT, WITHOUT ROWID;
CREATE TABLE action (
    seq INTEGER, completion INTEGER, failures INTEGER NOT NULL, first_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL,
    error TEXT NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, completion)
) STRICT, WITHOUT ROWID;
CREATE TABLE subscriber (
    seq INTEGER, parent_seq INTEGER, parent_completion INTEGER, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, parent_seq, parent_completion)
) STRICT, WITHOUT ROWID;
CREATE TABLE idempotency (
    service TEXT, method TEXT, key TEXT, idempotency_key TEXT, seq INTEGER NOT NULL, digest BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (service, method, key, idempotency_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_seq ON idempotency (seq);

-- Named promises: those that are settled, and who waits for the others.
CREATE TABLE promise (
    service TEXT, key TEXT, name TEXT, outcome BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (service, key, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE promise_waiter (
    seq INTEGER, completion INTEGER, service TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (seq, completion)
) STRICT, WITHOUT ROWID;
CREATE INDEX promise_waiter_name ON promise_waiter (service, key, name);

-- Endpoints elsewhere; a row is never changed, only removed.
CREATE TABLE deployment (
    id TEXT PRIMARY KEY, url TEXT NOT NULL, created_ms INTEGER NOT NULL, manifest BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Services that somebody closed or opened to callers outside, whatever code and contract say.
CREATE TABLE access (
    service TEXT PRIMARY KEY, public INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The contracts of the hosted services, so that a stopped runtime's values can be decoded without the code.
CREATE TABLE service (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, methods TEXT NOT NULL, descriptors BLOB NOT NULL,
    revision INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


def create(connection: apsw.Connection) -> None:
    """All tables, in one transaction."""
    with connection:
        connection.execute(_TABLES)
        connection.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)", sealed("meta", SCHEMA_VERSION, 0, 0, 1, 1, 1, 0))


# What makes the tables of a version of those before it. Rows stay as they are: what is new has a default.
_UPGRADES = {
    2: "ALTER TABLE invocation ADD COLUMN shared INTEGER NOT NULL DEFAULT 0",
    3: """
    ALTER TABLE invocation ADD COLUMN deployment TEXT NOT NULL DEFAULT '';
    ALTER TABLE invocation ADD COLUMN protocol INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocation ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocation ADD COLUMN retries_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocation ADD COLUMN retries_length INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE promise (
        service TEXT, key TEXT, name TEXT, outcome BLOB NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (service, key, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE promise_waiter (
        seq INTEGER, completion INTEGER, service TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (seq, completion)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX promise_waiter_name ON promise_waiter (service, key, name);
    CREATE TABLE deployment (
        id TEXT PRIMARY KEY, url TEXT NOT NULL, created_ms INTEGER NOT NULL, manifest BLOB NOT NULL, crc INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE access (
        service TEXT PRIMARY KEY, public INTEGER NOT NULL, crc INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    4: """
    ALTER TABLE invocation ADD COLUMN cancelling INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE invocation ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
    """,
}


def upgrade(connection: apsw.Connection, version: int) -> None:
    """Brings the tables of an older version up to date, inside the caller's transaction, which writes the new version."""
    for newer in range(version + 1, SCHEMA_VERSION + 1):
        connection.execute(_UPGRADES[newer])
