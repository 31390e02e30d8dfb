"""The SQLite files of a data directory: opened, verified, written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import apsw

from ...errors import RuntimeFault
from .batch import Batch
from .directory import DataDirectory
from .highwater import HighWaterMark, read_mark
from .schema import SCHEMA_VERSION, create

__all__ = ["Database", "connect", "verify"]


def connect(path: Path, *, read_only: bool, stopped: bool = False) -> apsw.Connection:
    """A connection with the settings that durability rests on.

    Args:
        path: the database file.
        read_only: whether nothing may be written.
        stopped: nobody else has the file open; then a reader leaves no file behind.

    Raises:
        RuntimeFault: RT0202, the file cannot be opened; RT0204, it is no database.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    log = path.with_name(path.name + "-wal")
    # Without a log to take into account the file is all there is, and SQLite need not make files of its own to read it.
    alone = stopped and read_only and (not log.exists() or log.stat().st_size == 0)
    try:
        connection = apsw.Connection(path.as_uri() + ("?immutable=1" if alone else ""), flags=flags | apsw.SQLITE_OPEN_URI)
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


def verify(connection: apsw.Connection, directory: DataDirectory, *, accept_data_loss: bool) -> None:
    """Whether the database is one of ours and holds what was acknowledged.

    Raises:
        RuntimeFault: RT0203, acknowledged data is missing; RT0205, a newer version wrote it.
    """
    try:
        version, batch = connection.execute("SELECT schema_version, batch FROM meta").get
    except apsw.SQLError:
        raise RuntimeFault("RT0204", f"{directory.database} is not a database of this runtime") from None
    if version > SCHEMA_VERSION:
        raise RuntimeFault(
            "RT0205", f"{directory.database} has schema version {version}, this runtime knows {SCHEMA_VERSION}: start the newer version"
        )
    if accept_data_loss:
        return
    mark = read_mark(directory.highwater)
    if mark is None and batch > 0:
        raise RuntimeFault("RT0203", f"the high-water mark {directory.highwater} is missing, so nothing tells whether acknowledged data is")
    if mark is not None and mark > batch:
        raise RuntimeFault(
            "RT0203",
            f"acknowledged data is missing from {directory.path}: commits up to {mark} were durable, the database ends with {batch}. "
            f"Restore the directory from a backup, or go on with what is left: --accept-data-loss",
        )


class Database:
    """The writer: one process, one connection, one epoch.

    Attributes:
        unclean: the owner before did not stop in order.
        batch: number of the last commit.

    Raises:
        RuntimeFault: as `connect` and `verify`.
    """

    def __init__(self, directory: DataDirectory, *, accept_data_loss: bool = False) -> None:
        self.directory = directory
        fresh = not directory.database.exists()
        if fresh and not accept_data_loss and directory.highwater.exists() and (read_mark(directory.highwater) or 0) > 0:
            raise RuntimeFault("RT0203", f"{directory.database} is missing, although commits were acknowledged: restore it from a backup")
        if not fresh:
            # Through a reader: closing a writer would move a damaged log into the file, and the evidence would be gone.
            reader = connect(directory.database, read_only=True, stopped=True)
            try:
                verify(reader, directory, accept_data_loss=accept_data_loss)
            finally:
                reader.close()
        else:
            # The log inherits the permissions of the file.
            os.close(os.open(directory.database, os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.connection = connect(directory.database, read_only=False)
        if fresh:
            create(self.connection)
        epoch, batch, clean, next_seq, next_admission = self.connection.execute(
            "SELECT epoch, batch, clean, next_seq, next_admission FROM meta"
        ).get
        self.epoch: int = epoch + 1
        self.batch: int = batch
        self.unclean = not clean
        self.next_seq: int = next_seq
        self.next_admission: int = next_admission
        self.connection.execute("UPDATE meta SET epoch = ?, clean = 0", (self.epoch,))
        self._mark = HighWaterMark(directory.highwater, self.epoch)
        self._mark.write(batch)

    def write(self, batch: Batch, next_seq: int, next_admission: int) -> None:
        """Begins the transaction of a batch and fills it; `commit` ends it.

        Raises:
            apsw.Error: SQLite's own, the transaction is rolled back.
            RuntimeFault: RT0207, another process has taken the directory over.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, rows in batch.statements():
                connection.executemany(sql, rows)
            connection.execute(
                "UPDATE meta SET batch = ?, next_seq = ?, next_admission = ? WHERE epoch = ?",
                (batch.number, next_seq, next_admission, self.epoch),
            )
            if not connection.changes():
                raise RuntimeFault("RT0207", f"another process has taken over {self.directory.path}: this one stops")
        except BaseException:
            self.rollback()
            raise

    def commit(self, batch: Batch) -> None:
        """Makes the batch durable. Runs in the commit thread: it waits for the disk.

        Raises:
            apsw.Error: SQLite's own.
        """
        self.connection.execute("COMMIT")
        self._mark.write(batch.number)

    def rollback(self) -> None:
        """Ends a transaction that failed, where SQLite has not done so itself."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self, *, clean: bool) -> None:
        """Closes the files; `clean` says that everything was written in order."""
        if clean:
            self.connection.execute("UPDATE meta SET clean = 1 WHERE epoch = ?", (self.epoch,))
        self.connection.close()
        self._mark.close()
