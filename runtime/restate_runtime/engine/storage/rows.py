"""Rows and their checksums: values in, tuples for SQLite out, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import google_crc32c
import msgspec

from ...errors import RuntimeFault
from ...journal.entries import Failure, Target
from ...journal.model import Invocation, Status
from ...journal.waits import decode_wait, encode_wait

__all__ = [
    "checked",
    "damage_reported",
    "invocation_crc",
    "invocation_from_row",
    "invocation_row",
    "key_is_intact",
    "sealed",
    "sealed_entry",
]

_pack = msgspec.msgpack.Encoder().encode
_crc = google_crc32c.value
_CRC = 27  # where the checksum stands in a row of `invocation`


def sealed(table: str, *columns: Any) -> tuple[Any, ...]:
    """The columns with their checksum behind them. The table's name counts, so that a row cannot pass for one of another table."""
    crc = _crc(_pack((table, columns)))
    key_columns = _LOOKED_UP.get(table)
    return (*columns, crc if key_columns is None else crc | _key_crc(table, columns[:key_columns]))


# A row that is looked up by its key is not found when its key is damaged. The checksum of the key alone, above the row's 32 bits, tells
# whether a damaged row is where it belongs.
_LOOKED_UP = {"state": 3, "idempotency": 4, "promise": 3}


def _key_crc(table: str, key: tuple[Any, ...]) -> int:
    return int(_crc(_pack((table, key)))) >> 1 << 32


def key_is_intact(table: str, row: Sequence[Any]) -> bool:
    """Whether a row of a table that is looked up by key has the key that it was written with, whatever else is damaged."""
    return type(row[-1]) is int and bool(row[-1] >> 32 << 32 == _key_crc(table, tuple(row[: _LOOKED_UP[table]])))


def sealed_entry(table: bytes, seq: int, position: int, entry: bytes) -> tuple[int, int, bytes, int]:
    """A journal row; the same as `sealed` in purpose, without packing the entry again."""
    return seq, position, entry, _crc(b"%s %d %d " % (table, seq, position) + entry)


# Columns of `invocation` that came later stand behind the checksum. Up to the last one that is not its default it covers them, so that
# rows of older versions stay as they are.
_LATER = (0, "", 0, 0, 0, 0, 0, 0)


def invocation_crc(columns: tuple[Any, ...], later: tuple[Any, ...]) -> int:
    """The checksum of a row of `invocation`, from the columns before it and those behind it."""
    if later != _LATER:
        count = len(later)
        while later[count - 1] == _LATER[count - 1]:
            count -= 1
        columns = columns + later[:count]
    return int(_crc(_pack(("invocation", columns))))


def _checked_invocation(row: Sequence[Any]) -> tuple[Any, ...]:
    columns = tuple(row[:_CRC])
    later = tuple(row[_CRC + 1 :])
    later += _LATER[len(later) :]  # a reader may meet a file of an older version
    if invocation_crc(columns, later) != row[_CRC]:
        raise RuntimeFault("RT0204", f"table invocation: the row {_name(columns)} is damaged: its checksum does not match")
    return columns + later


def checked(table: str, row: Sequence[Any]) -> tuple[Any, ...]:
    """The columns of a row without its checksum.

    Raises:
        RuntimeFault: RT0204, the row is damaged.
    """
    if table == "invocation":
        return _checked_invocation(row)
    columns = tuple(row[:-1])
    expected: int | None
    if table not in ("command", "notification"):
        expected = sealed(table, *columns)[-1]
    elif [type(column) for column in columns] == [int, int, bytes]:
        expected = sealed_entry(table.encode(), columns[0], columns[1], columns[2])[-1]
    else:
        expected = None  # damaged so that it has another type
    if expected != row[-1]:
        raise RuntimeFault("RT0204", f"table {table}: the row {_name(columns)} is damaged: its checksum does not match")
    return columns


@contextlib.contextmanager
def damage_reported() -> Iterator[None]:
    """Turns what SQLite itself finds damaged into RT0204; as a decorator, too."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError) as error:  # SQLError: a table or column is not there
        raise RuntimeFault("RT0204", f"the database is damaged: {error}") from None


def _name(columns: tuple[Any, ...]) -> str:
    return ", ".join(repr(column.hex() if isinstance(column, bytes) else column) for column in columns[:3])


def invocation_row(invocation: Invocation) -> tuple[Any, ...]:
    """The row of an invocation as it is now, with its checksum where older versions have it."""
    target = invocation.target
    parent = invocation.parent
    failure = invocation.outcome_failure
    columns = (
        invocation.seq,
        invocation.id,
        target.service,
        target.method,
        target.key,
        str(invocation.status),
        invocation.admission,
        invocation.invoker or None,
        None if parent is None else parent[1],
        invocation.idempotency_key,
        invocation.created_ms,
        invocation.due_ms,
        invocation.started_ms,
        invocation.modified_ms,
        invocation.completed_ms,
        invocation.retention_ms,
        invocation.attempt,
        invocation.failures,
        invocation.crashes,
        invocation.retry_ms,
        invocation.failure,
        invocation.fault,
        None if failure is None else failure.code,
        None if failure is None else failure.message,
        None if invocation.wait is None else encode_wait(invocation.wait),
        invocation.command_count,
        invocation.notification_count,
    )
    later = (
        int(target.shared),
        invocation.deployment,
        invocation.protocol,
        invocation.retries,
        invocation.retries_ms,
        invocation.retries_length,
        int(invocation.cancelling),
        int(invocation.begun),
    )
    return (*columns, invocation_crc(columns, later), *later)


def invocation_from_row(row: Sequence[Any]) -> Invocation:
    """An invocation without its journal.

    Raises:
        RuntimeFault: RT0204, the row is damaged.
    """
    (
        seq, id_, service, method, key, status, admission, parent_seq, parent_completion, idempotency_key, created_ms, due_ms, started_ms,
        modified_ms, completed_ms, retention_ms, attempt, failures, crashes, retry_ms, failure, fault, failure_code, failure_message, wait,
        commands, notifications, shared, deployment, protocol, retries, retries_ms, retries_length, cancelling, begun,
    ) = checked("invocation", row)  # fmt: skip
    return Invocation(
        seq=seq,
        id=id_,
        target=Target(service, method, key, bool(shared)),
        status=Status(status),
        created_ms=created_ms,
        due_ms=due_ms,
        admission=admission,
        command_count=commands,
        notification_count=notifications,
        attempt=attempt,
        failures=failures,
        crashes=crashes,
        retry_ms=retry_ms,
        started_ms=started_ms,
        completed_ms=completed_ms,
        modified_ms=modified_ms,
        retention_ms=retention_ms,
        idempotency_key=idempotency_key,
        invoker=parent_seq or 0,
        parent=None if parent_completion is None else (parent_seq, parent_completion),
        wait=None if wait is None else decode_wait(wait),
        failure=failure,
        fault=fault,
        outcome_failure=None if failure_code is None else Failure(failure_code, failure_message),
        seen=notifications if status == Status.SUSPENDED.value else -1,
        deployment=deployment,
        protocol=protocol,
        retries=retries,
        retries_ms=retries_ms,
        retries_length=retries_length,
        cancelling=bool(cancelling),
        begun=bool(begun) or status == Status.SUSPENDED.value,
    )
