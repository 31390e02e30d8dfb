"""Reads of what is committed: for recovery, for attempts that come into memory, for ids and idempotency keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from ...errors import RuntimeFault
from ...journal.entries import Command, Notification, Outcome, Output, Ref, decode_command, decode_notification, decode_outcome
from ...journal.model import Action, Invocation, LaneKey, Timer, TimerKind
from ...serde import Value
from ..registry import HostedService
from .contracts import contract_row
from .rows import checked, damage_reported, invocation_from_row, key_is_intact, sealed

__all__ = ["Idempotent", "Reader", "Recovered"]


@dataclass(frozen=True, slots=True)
class Idempotent:
    """What an idempotency key leads to."""

    seq: int
    id: bytes
    digest: bytes
    expired: bool


@dataclass(frozen=True, slots=True)
class Recovered:
    """Everything that is not completed."""

    invocations: list[Invocation]
    timers: list[Timer]
    actions: list[tuple[int, int, Action]]
    subscribers: list[tuple[int, int, int]]
    promise_waiters: list[tuple[LaneKey, str, int, int]]


_STATE = "SELECT service, key, name, tag, value, crc FROM state WHERE "
_PROMISE = "SELECT service, key, name, outcome, crc FROM promise WHERE "
_IDEMPOTENCY = "SELECT service, method, key, idempotency_key, seq, digest, crc FROM idempotency WHERE "


class Reader:
    """A read-only connection. Every row is checked against its checksum.

    Each method raises `RuntimeFault` RT0204 for a damaged row.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment: in between, another thread may commit that an invocation is forgotten."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    @damage_reported()
    def journal(self, seq: int, commands: int, notifications: int) -> tuple[list[Command], list[Notification]]:
        """Both logs of an invocation, which hold at least so many entries."""
        return (
            [decode_command(entry) for entry in self._entries("command", seq, commands)],
            [decode_notification(entry) for entry in self._entries("notification", seq, notifications)],
        )

    def _entries(self, table: str, seq: int, at_least: int) -> Iterator[bytes]:
        rows = self._connection.execute(f"SELECT seq, position, entry, crc FROM {table} WHERE seq = ? ORDER BY position", (seq,)).fetchall()
        if len(rows) < at_least:
            raise RuntimeFault("RT0204", f"table {table}: invocation {seq} has {len(rows)} entries of {at_least}")
        for expected, row in enumerate(rows):
            _, position, entry = checked(table, row)
            if position != expected:
                raise RuntimeFault("RT0204", f"table {table}: entry {expected} of invocation {seq} is missing")
            yield entry

    @damage_reported()
    def state(self, lane: LaneKey) -> dict[str, Value]:
        """All state of a lane."""
        found = {}
        for row in self._connection.execute(_STATE + "(service, key) >= (?, ?) ORDER BY service, key, name", lane):
            if row[:2] != lane:
                self._check_neighbour("state", row)
                break
            _, _, name, tag, value = checked("state", row)
            found[name] = Value(tag, value)
        self._check_neighbour(
            "state", self._one(_STATE + "(service, key) < (?, ?) ORDER BY service DESC, key DESC, name DESC LIMIT 1", lane)
        )
        return found

    def _one(self, sql: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    def _check_neighbour(self, table: str, row: tuple[Any, ...] | None) -> None:
        """A row beside the place where one was looked for: where its key is damaged, it may be the one."""
        if row is not None and not key_is_intact(table, row):
            checked(table, row)
            raise RuntimeFault("RT0204", f"table {table}: the checksum of a row is damaged")

    @damage_reported()
    def find(self, invocation_id: bytes) -> Invocation | None:
        """The row of an invocation."""
        row = self._one("SELECT * FROM invocation WHERE id = ?", (invocation_id,))
        if row is not None:
            return invocation_from_row(row)
        with self.snapshot():
            for beside in ("id < ? ORDER BY id DESC", "id > ? ORDER BY id"):
                entry = self._one(f"SELECT id, seq FROM invocation WHERE {beside} LIMIT 1", (invocation_id,))
                if entry is not None and self._one("SELECT id FROM invocation WHERE seq = ?", entry[1:]) != entry[:1]:
                    raise RuntimeFault("RT0204", f"table invocation: the index of ids is damaged at invocation {entry[1]}")
        return None

    @damage_reported()
    def outcome(self, seq: int) -> Outcome:
        """The outcome of a completed invocation."""
        row = self._connection.execute(
            "SELECT seq, position, entry, crc FROM command WHERE seq = ? ORDER BY position DESC LIMIT 1", (seq,)
        ).fetchone()
        last = None if row is None else decode_command(checked("command", row)[2])
        if not isinstance(last, Output):
            raise RuntimeFault("RT0204", f"table command: the outcome of invocation {seq} is missing")
        return last.outcome

    @damage_reported()
    def signal(self, seq: int, ref: Ref) -> Outcome | None:
        """How an awakeable was settled."""
        for entry in self._entries("notification", seq, 0):
            notification = decode_notification(entry)
            if notification.ref == ref:
                return notification.outcome
        return None

    @damage_reported()
    def idempotent(self, scope: tuple[str, str, str, str], now_ms: int) -> Idempotent | None:
        """What an idempotency key leads to."""
        with self.snapshot():
            return self._idempotent(scope, now_ms)

    def _idempotent(self, scope: tuple[str, str, str, str], now_ms: int) -> Idempotent | None:
        row = self._one(_IDEMPOTENCY + "(service, method, key, idempotency_key) >= (?, ?, ?, ?) ORDER BY 1, 2, 3, 4 LIMIT 1", scope)
        if row is None or row[:4] != scope:
            self._check_neighbour("idempotency", row)
            before = "(service, method, key, idempotency_key) < (?, ?, ?, ?) ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1"
            self._check_neighbour("idempotency", self._one(_IDEMPOTENCY + before, scope))
            return None
        seq, digest = checked("idempotency", row)[4:]
        owner = self._connection.execute("SELECT * FROM invocation WHERE seq = ?", (seq,)).fetchone()
        if owner is None:
            raise RuntimeFault("RT0204", f"table idempotency: invocation {seq} of key {scope[3]!r} is missing")
        invocation = invocation_from_row(owner)
        return Idempotent(seq, invocation.id, digest, invocation.forgotten(now_ms))

    @damage_reported()
    def promise(self, lane: LaneKey, name: str) -> Outcome | None:
        """How a named promise was settled."""
        wanted = (*lane, name)
        row = self._one(_PROMISE + "(service, key, name) >= (?, ?, ?) ORDER BY 1, 2, 3 LIMIT 1", wanted)
        if row is not None and row[:3] == wanted:
            return decode_outcome(checked("promise", row)[3])
        self._check_neighbour("promise", row)
        self._check_neighbour(
            "promise", self._one(_PROMISE + "(service, key, name) < (?, ?, ?) ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1", wanted)
        )
        return None

    @damage_reported()
    def workflows(self, seqs: Sequence[int]) -> list[LaneKey]:
        """The keys of workflows whose last run is among these invocations; a damaged row says nothing about any."""
        last = _IDEMPOTENCY + "seq = ? AND idempotency_key = ''"
        rows = [row for seq in seqs for row in self._connection.execute(last, (seq,))]
        return [(row[0], row[2]) for row in rows if row == sealed("idempotency", *row[:-1])]

    @damage_reported()
    def deployments(self) -> list[tuple[str, str, int, bytes]]:
        """All rows of deployments, oldest first."""
        rows = self._connection.execute("SELECT id, url, created_ms, manifest, crc FROM deployment ORDER BY created_ms, id")
        return [(id, url, created_ms, manifest) for id, url, created_ms, manifest in (checked("deployment", row) for row in rows)]

    def contract_row(self, service: HostedService) -> tuple[str, str, str, bytes, int] | None:
        """The row of a service that came while the runtime runs; `None` where it is there as it is."""
        return contract_row(self._connection, service)

    @damage_reported()
    def expired(self, now_ms: int, journal_ms: int, own_ms: Mapping[str, int], limit: int) -> list[int]:
        """Completed invocations that nobody can ask for any more, oldest first.

        Args:
            now_ms: the time.
            journal_ms: how long they can be looked at.
            own_ms: the same for single methods, by full name.
            limit: at most so many.
        """
        whens = " WHEN ? THEN ?" * len(own_ms)
        kept = f"CASE service || '/' || method{whens} ELSE ? END" if own_ms else "?"
        rows = self._connection.execute(
            f"SELECT seq FROM invocation WHERE status = 'completed' AND completed_ms <= ? AND completed_ms + {kept} <= ? "
            "AND (idempotency_key IS NULL OR completed_ms + retention_ms <= ?) ORDER BY completed_ms LIMIT ?",
            (
                now_ms - min(journal_ms, *own_ms.values()) if own_ms else now_ms - journal_ms,
                *(value for item in own_ms.items() for value in item),
                journal_ms,
                now_ms,
                now_ms,
                limit,
            ),
        )
        return [seq for (seq,) in rows]

    @damage_reported()
    def recover(self, live_count: int) -> Recovered:
        """Everything that is not completed, in order of creation.

        Args:
            live_count: how many there are.
        """
        execute = self._connection.execute
        invocations = [invocation_from_row(row) for row in execute("SELECT * FROM invocation WHERE status <> 'completed' ORDER BY seq")]
        if len(invocations) != live_count:
            raise RuntimeFault("RT0204", f"table invocation: {len(invocations)} invocations are not completed, {live_count} were written")
        live = "(SELECT seq FROM invocation WHERE status <> 'completed')"
        commands = dict(execute(f"SELECT seq, count(*) FROM command WHERE seq IN {live} GROUP BY seq"))
        notifications = dict(execute(f"SELECT seq, count(*) FROM notification WHERE seq IN {live} GROUP BY seq"))
        for invocation in invocations:
            invocation.command_count = max(invocation.command_count, commands.get(invocation.seq, 0))
            arrived = notifications.get(invocation.seq, 0)
            if arrived > invocation.notification_count:
                # Something arrived after it was suspended; the tree in its row does not know.
                invocation.wait = None
                invocation.notification_count = arrived
        known = {invocation.seq for invocation in invocations}
        timers: list[Timer] = []
        for row in execute("SELECT seq, completion, due_ms, crc FROM timer"):
            seq, completion, due_ms = checked("timer", row)
            if seq in known:
                timers.append((due_ms, seq, TimerKind.SLEEP, completion))
        actions = []
        for row in execute("SELECT seq, completion, failures, first_ms, next_ms, error, crc FROM action"):
            seq, completion, failures, first_ms, next_ms, error = checked("action", row)
            if seq in known:
                actions.append((seq, completion, Action(failures, first_ms, next_ms, error)))
        subscribers = []
        for row in execute("SELECT seq, parent_seq, parent_completion, crc FROM subscriber"):
            seq, parent, completion = checked("subscriber", row)
            if seq in known:
                subscribers.append((seq, parent, completion))
        promise_waiters: list[tuple[LaneKey, str, int, int]] = []
        for row in execute("SELECT seq, completion, service, key, name, crc FROM promise_waiter ORDER BY seq, completion"):
            seq, completion, service, key, name = checked("promise_waiter", row)
            if seq in known:
                promise_waiters.append(((service, key), name, seq, completion))
        return Recovered(invocations, timers, actions, subscribers, promise_waiters)
