"""A stopped runtime's files, read without changing them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from ...errors import RuntimeFault
from .database import connect, verify
from .directory import DataDirectory
from .inspector import StorageInspector
from .rows import checked

__all__ = ["Finding", "examine", "open_offline"]

_TABLES = ("invocation", "command", "notification", "state", "timer", "action", "subscriber", "idempotency", "service")
_LATER_TABLES = {3: ("promise", "promise_waiter", "deployment", "access")}
"""By the version that brought them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a data directory."""

    code: str
    subject: str
    message: str
    severity: str = "error"


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[tuple[DataDirectory, apsw.Connection]]:
    directory = DataDirectory(data_dir, reader=True)
    index = directory.database.with_name(directory.database.name + "-shm")
    there = index.exists()
    try:
        connection = connect(directory.database, read_only=True, stopped=True)
        try:
            yield directory, connection
        finally:
            connection.close()
    finally:
        if not there:
            index.unlink(missing_ok=True)
        directory.release()


@contextlib.contextmanager
def open_offline(data_dir: Path) -> Iterator[StorageInspector]:
    """The files of a stopped runtime, verified first.

    Raises:
        RuntimeFault: RT0201 while a runtime owns it, RT0202 where there is none, RT0203 to RT0205 where it is damaged or newer.
    """
    with _owned(data_dir) as (directory, connection):
        verify(connection, directory, accept_data_loss=False)
        yield StorageInspector(connection)


def examine(data_dir: Path) -> list[Finding]:
    """Everything that is wrong: each checksum, each journal's length, SQLite's own structure, the high-water mark.

    Raises:
        RuntimeFault: RT0201 while a runtime owns it, RT0202 where there is none.
    """
    findings = []
    with _owned(data_dir) as (directory, connection):
        try:
            verify(connection, directory, accept_data_loss=False)
        except RuntimeFault as fault:
            findings.append(Finding(fault.code, str(directory.database), fault.message))
        try:
            findings += [
                Finding("RT0204", str(directory.database), message)
                for (message,) in connection.execute("PRAGMA integrity_check")
                if message != "ok"
            ]
            version = connection.execute("SELECT schema_version FROM meta").get
            for table in (*_TABLES, *(table for since, tables in _LATER_TABLES.items() if version >= since for table in tables)):
                findings += _damaged_rows(connection, table)
            findings += _short_journals(connection)
        except apsw.Error as error:
            findings.append(Finding("RT0204", str(directory.database), f"SQLite cannot read it: {error}"))
    return findings


def _damaged_rows(connection: apsw.Connection, table: str) -> Iterator[Finding]:
    for row in connection.execute(f"SELECT * FROM {table}"):
        try:
            checked(table, row)
        except RuntimeFault as fault:
            yield Finding(fault.code, table, fault.message)


def _short_journals(connection: apsw.Connection) -> Iterator[Finding]:
    for table, column in (("command", "commands"), ("notification", "notifications")):
        rows = connection.execute(
            f"SELECT i.seq, i.{column}, count(e.seq) AS found FROM invocation i LEFT JOIN {table} e ON e.seq = i.seq "
            f"GROUP BY i.seq HAVING found < i.{column}"
        )
        for seq, expected, found in rows:
            yield Finding("RT0204", table, f"invocation {seq} has {found} entries of {expected}")
