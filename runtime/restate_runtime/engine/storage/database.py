"""The SQLite files of a data directory: opened, verified, written."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import apsw

from ...errors import RuntimeFault
from .batch import Batch
from .directory import DataDirectory
from .highwater import HighWaterMark, read_mark
from .meta import Meta, read_meta, write_meta
from .rows import damage_reported
from .schema import SCHEMA_VERSION, create, upgrade

__all__ = ["Database", "connect", "verify"]


def connect(path: Path, *, read_only: bool, stopped: bool = False) -> apsw.Connection:
    """A connection with the settings that durability rests on.

    Args:
        path: the database file.
        read_only: whether nothing may be written.
        stopped: nobody else has the file open; then a reader changes no file and leaves none behind.

    Raises:
        RuntimeFault: RT0202, the file cannot be opened; RT0204, it is no database.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    how = _without_traces(path) if stopped and read_only else ""
    try:
        connection = apsw.Connection(path.as_uri() + how, flags=flags | apsw.SQLITE_OPEN_URI)
        connection.set_busy_timeout(0 if not read_only else 1000)
        if not read_only:
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise RuntimeFault("RT0202", f"the file system of {path} does not allow SQLite's write-ahead log")
            connection.pragma("synchronous", "FULL")
            if sys.platform == "darwin":
                connection.pragma("fullfsync", True)
            connection.pragma("wal_autocheckpoint", 4000)
            connection.pragma("cache_size", -64 * 1024)
        connection.pragma("schema_version")
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise RuntimeFault("RT0204", f"{path} is damaged: {error}") from None
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.IOError) as error:
        raise RuntimeFault("RT0202", f"{path} cannot be opened: {error}") from None
    return connection


def _without_traces(path: Path) -> str:
    """How SQLite is to open a file that nobody else has open, so that it writes nothing to read it."""
    log = path.with_name(path.name + "-wal")
    if not log.exists() or log.stat().st_size == 0:
        return "?immutable=1"  # the file is all there is
    # The log's index, which a process that was killed left behind, would be made anew in its file; so it is made in memory.
    return "?readonly_shm=1" if path.with_name(path.name + "-shm").exists() else ""


@damage_reported()
def verify(connection: apsw.Connection, directory: DataDirectory, *, accept_data_loss: bool) -> None:
    """Whether the database is one of ours and holds what was acknowledged.

    Raises:
        RuntimeFault: RT0203, acknowledged data is missing; RT0204, it is damaged or none of ours; RT0205, a newer version wrote it.
    """
    batch = read_meta(connection, directory.database).batch
    if not accept_data_loss:
        _verify_mark(directory, batch)
    # A checksum speaks for its row alone; a page that lost its place takes rows along that nobody would miss. A quarter of a second for
    # a million rows.
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise RuntimeFault("RT0204", f"{directory.database} is damaged: {found}")


def _verify_mark(directory: DataDirectory, batch: int) -> None:
    mark = read_mark(directory.highwater)
    if mark is None and batch > 0:
        raise RuntimeFault("RT0203", f"the high-water mark {directory.highwater} is missing, so nothing tells whether acknowledged data is")
    if mark is not None and mark > batch:
        raise RuntimeFault(
            "RT0203",
            f"acknowledged data is missing from {directory.path}: commits up to {mark} were durable, the database ends with {batch}. "
            f"Restore the directory from a backup, or go on with what is left: --accept-data-loss",
        )


@damage_reported()
def _is_fresh(directory: DataDirectory, *, accept_data_loss: bool) -> bool:
    """Whether the tables are to be made; else the database is verified."""
    path = directory.database
    if path.exists():
        # Through a reader: closing a writer would move a damaged log into the file, and the evidence would be gone.
        reader = connect(path, read_only=True, stopped=True)
        try:
            empty = not reader.execute("SELECT count(*) FROM sqlite_schema").get  # its maker died before the tables were there
            if not empty:
                verify(reader, directory, accept_data_loss=accept_data_loss)
                return False
        finally:
            reader.close()
    if not accept_data_loss and directory.highwater.exists() and (read_mark(directory.highwater) or 0) > 0:
        raise RuntimeFault("RT0203", f"{path} is missing, although commits were acknowledged: restore it from a backup")
    # The log inherits the permissions of the file.
    os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    return True


_LOG = logging.getLogger("restate_runtime.engine")


class Database:
    """The writer: one process, one connection, one epoch.

    Attributes:
        unclean: the owner before did not stop in order.
        batch: number of the last commit.
        counters: as that commit left them.

    Raises:
        RuntimeFault: as `connect` and `verify`.
    """

    def __init__(self, directory: DataDirectory, *, accept_data_loss: bool = False) -> None:
        self.directory = directory
        fresh = _is_fresh(directory, accept_data_loss=accept_data_loss)
        self.connection = connect(directory.database, read_only=False)
        try:
            if fresh:
                create(self.connection)
            before = self._take_over()
            self.epoch = before.epoch + 1
            self.batch = before.batch
            self.unclean = not before.clean
            self.counters = before.counters
            self._mark = HighWaterMark(directory.highwater, self.epoch, self.batch)
        except BaseException:
            self.connection.close()
            raise

    @damage_reported()
    def _take_over(self) -> Meta:
        """Begins this epoch, and returns what the one before left. In one transaction: an owner whose lock file was removed may write."""
        connection = self.connection
        path = self.directory.database
        try:
            self._back_up()
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = read_meta(connection, path)
                upgrade(connection, before.version)
                write_meta(connection, replace(before, epoch=before.epoch + 1, clean=False), before.epoch)
                connection.execute("COMMIT")
            except BaseException:
                self.rollback()
                raise
        except apsw.BusyError:
            raise RuntimeFault("RT0201", f"{path} is in use by another process, although nobody holds the directory's lock") from None
        except apsw.FullError as error:
            raise RuntimeFault("RT0208", f"there is no room for {path}: {error}") from None
        except (apsw.ReadOnlyError, apsw.IOError) as error:
            raise RuntimeFault("RT0202", f"{path} cannot be written: {error}") from None
        return before

    def _back_up(self) -> None:
        """Keeps a copy of files that are about to be brought up to date: an older version cannot open them afterwards."""
        path = self.directory.database
        version = read_meta(self.connection, path).version
        if version < SCHEMA_VERSION:
            copy = path.with_name(f"{path.name}.schema-{version}")
            copy.unlink(missing_ok=True)  # of an upgrade that was broken off
            self.connection.execute("VACUUM INTO ?", (str(copy),))

    def write(self, batch: Batch) -> None:
        """Begins the transaction of a batch and fills it; `commit` ends it.

        Raises:
            apsw.Error: SQLite's own, the transaction is rolled back.
            RuntimeFault: RT0207, another process has taken the directory over.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not write_meta(connection, Meta(self.epoch, batch.number, False, batch.counters), self.epoch):
                raise RuntimeFault("RT0207", f"another process has taken over {self.directory.path}: this one stops")
            for sql, rows in batch.statements():
                connection.executemany(sql, rows)
        except BaseException:
            self.rollback()
            raise

    def commit(self, batch: Batch) -> None:
        """Makes the batch durable. Runs in the commit thread: it waits for the disk.

        Raises:
            apsw.Error: SQLite's own.
        """
        self.connection.execute("COMMIT")
        self.batch = batch.number
        self.counters = batch.counters
        self._mark.write(batch.number)

    def rollback(self) -> None:
        """Ends a transaction that failed, where SQLite has not done so itself."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self, *, clean: bool) -> None:
        """Closes the files; `clean` says that everything was written in order. On a full disk that cannot be noted."""
        try:
            if clean:
                write_meta(self.connection, Meta(self.epoch, self.batch, True, self.counters), self.epoch)
        except apsw.Error as error:
            _LOG.warning("%s: that the runtime stopped in order cannot be written: %s", self.directory.path, error)
        finally:
            self.connection.close()
            self._mark.close()
