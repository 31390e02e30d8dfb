"""The one row that says where the writer stands, with its checksum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw

from ...errors import RuntimeFault
from .rows import checked, sealed
from .schema import SCHEMA_VERSION

__all__ = ["Counters", "Meta", "read_meta", "write_meta"]


@dataclass(frozen=True, slots=True)
class Counters:
    """What a batch leaves in the core.

    Attributes:
        next_seq: number of the next invocation.
        next_admission: the next place in an inbox.
        live: invocations that are not completed, so that none is passed over in silence when they are read.
    """

    next_seq: int = 1
    next_admission: int = 1
    live: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """The row of table `meta`.

    Attributes:
        version: of the tables, as it was read; what is written is always the newest.
    """

    epoch: int
    batch: int
    clean: bool
    counters: Counters
    version: int = SCHEMA_VERSION


def read_meta(connection: apsw.Connection, path: Path) -> Meta:
    """The row as it is.

    Raises:
        RuntimeFault: RT0204, there is none or it is damaged; RT0205, a newer version wrote it.
    """
    try:
        version = connection.execute("SELECT schema_version FROM meta").get
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RuntimeFault(
                "RT0205", f"{path} has schema version {version}, this runtime knows {SCHEMA_VERSION}: start the newer version"
            )
        row = connection.execute("SELECT schema_version, epoch, batch, clean, next_seq, next_admission, live, crc FROM meta").fetchone()
    except apsw.SQLError:
        row = None
    if row is None:
        raise RuntimeFault("RT0204", f"{path} is not a database of this runtime")
    version, epoch, batch, clean, next_seq, next_admission, live = checked("meta", row)
    return Meta(epoch, batch, bool(clean), Counters(next_seq, next_admission, live), version)


def write_meta(connection: apsw.Connection, meta: Meta, owner: int) -> bool:
    """Writes the row, unless another epoch than the owner's has it; whether it did."""
    counters = meta.counters
    connection.execute(
        "UPDATE meta SET schema_version = ?, epoch = ?, batch = ?, clean = ?, next_seq = ?, next_admission = ?, live = ?, crc = ? "
        "WHERE epoch = ?",
        (
            *sealed(
                "meta", SCHEMA_VERSION, meta.epoch, meta.batch, int(meta.clean), counters.next_seq, counters.next_admission, counters.live
            ),
            owner,
        ),
    )
    return connection.changes() == 1
