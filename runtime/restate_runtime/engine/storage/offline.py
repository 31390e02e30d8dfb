"""A stopped runtime's files, read without changing them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from ...errors import RuntimeFault
from .database import connect, verify
from .directory import DataDirectory
from .inspector import StorageInspector
from .rows import checked
from .schema import SCHEMA_VERSION

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
        findings += _read(str(directory.database), _damaged_structure(connection, str(directory.database)))
        for table in _tables(connection):
            findings += _read(table, _damaged_rows(connection, table))
        findings += _read("invocation", _short_journals(connection))
    return findings


def _read(subject: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """What is found, up to where SQLite itself fails: what stands elsewhere is looked at all the same."""
    try:
        yield from found
    except (apsw.Error, UnicodeDecodeError) as error:
        yield Finding("RT0204", subject, f"SQLite cannot read it: {error}")


def _damaged_structure(connection: apsw.Connection, subject: str) -> Iterator[Finding]:
    for (message,) in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield Finding("RT0204", subject, message)


def _tables(connection: apsw.Connection) -> tuple[str, ...]:
    """Those of the version that wrote it; of the newest, where the row that says so is gone or damaged."""
    try:
        version = connection.execute("SELECT schema_version FROM meta").get
    except (apsw.Error, UnicodeDecodeError):
        version = None
    if not isinstance(version, int):
        version = SCHEMA_VERSION
    return (*_TABLES, *(table for since, tables in _LATER_TABLES.items() if version >= since for table in tables))


def _damaged_rows(connection: apsw.Connection, table: str) -> Iterator[Finding]:
    rows = iter(connection.execute(f"SELECT * FROM {table}"))
    for number in itertools.count(1):
        try:
            row = next(rows, None)
            if row is None:
                return
            checked(table, row)
        except RuntimeFault as fault:
            yield Finding(fault.code, table, fault.message)
        except UnicodeDecodeError as error:  # the row behind it comes next
            yield Finding("RT0204", table, f"table {table}: row {number} is damaged: it holds text that is no UTF-8 ({error.reason})")


def _short_journals(connection: apsw.Connection) -> Iterator[Finding]:
    for table, column in (("command", "commands"), ("notification", "notifications")):
        rows = connection.execute(
            f"SELECT i.seq, i.{column}, count(e.seq) AS found FROM invocation i LEFT JOIN {table} e ON e.seq = i.seq "
            f"GROUP BY i.seq HAVING found < i.{column}"
        )
        for seq, expected, found in rows:
            yield Finding("RT0204", table, f"invocation {seq} has {found} entries of {expected}")
