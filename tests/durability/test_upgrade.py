"""Files of each earlier version of the tables: what is parked in them carries on (R46)."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from restate_runtime.engine.storage.offline import _LATER_TABLES, examine
from restate_runtime.engine.storage.rows import _CRC, _LATER, invocation_crc, sealed
from restate_runtime.engine.storage.schema import SCHEMA_VERSION

from .fixtures.make import make
from .test_released import opens_and_carries_on

# Columns of `invocation` that a version brought.
_COLUMNS = {2: ("shared",), 3: ("deployment", "protocol", "retries", "retries_ms", "retries_length"), 4: ("cancelling", "begun")}


def downgrade(database: Path, version: int) -> None:
    """Makes of a stopped runtime's file what an earlier version wrote: nothing in it is newer."""
    with sqlite3.connect(database) as connection:
        kept = sum(len(columns) for since, columns in _COLUMNS.items() if since <= version)
        for row in connection.execute("SELECT * FROM invocation").fetchall():
            crc = invocation_crc(row[:_CRC], (*row[_CRC + 1 : _CRC + 1 + kept], *_LATER[kept:]))
            connection.execute("UPDATE invocation SET crc = ? WHERE seq = ?", (crc, row[0]))
        for since in range(version + 1, SCHEMA_VERSION + 1):
            for column in _COLUMNS[since]:
                connection.execute(f"ALTER TABLE invocation DROP COLUMN {column}")
            for table in _LATER_TABLES.get(since, ()):
                connection.execute(f"DROP TABLE {table}")
        counters = list(connection.execute("SELECT epoch, batch, clean, next_seq, next_admission, live FROM meta").fetchone())
        connection.execute("UPDATE meta SET schema_version = ?, crc = ?", (version, sealed("meta", version, *counters)[-1]))
    connection.close()


@pytest.mark.rule("R46")
@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_an_earlier_version(version: int, tmp_path: Path) -> None:
    await make(tmp_path / "made")
    shutil.copytree(tmp_path / "made", tmp_path / "data")
    downgrade(tmp_path / "data" / "restate.sqlite3", version)
    assert examine(tmp_path / "data") == []
    await opens_and_carries_on(tmp_path / "data", {})
    with sqlite3.connect(tmp_path / "data" / "restate.sqlite3") as upgraded, sqlite3.connect(tmp_path / "made" / "restate.sqlite3") as made:
        shapes = [
            {name: [column[1:3] for column in file.execute(f"PRAGMA table_info({name})")] for (name,) in file.execute(_TABLES)}
            for file in (upgraded, made)
        ]
        assert shapes[0] == shapes[1], "the same tables as a new file has"
        assert upgraded.execute("SELECT schema_version FROM meta").fetchone() == (SCHEMA_VERSION,)


_TABLES = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'index') AND name NOT LIKE 'sqlite_%'"
