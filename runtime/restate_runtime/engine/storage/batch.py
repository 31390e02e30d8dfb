"""The records of one commit, gathered in order, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...journal.effects import (
    ClearStates,
    DropAction,
    DropSubscriber,
    DropTimer,
    Effect,
    ForgetRows,
    PutAction,
    PutCommand,
    PutIdempotency,
    PutInvocation,
    PutKey,
    PutNotification,
    PutPromise,
    PutPromiseWaiter,
    PutState,
    PutSubscriber,
    PutTimer,
)
from ...journal.entries import Notification, Outcome, Output, encode_entry
from ...journal.model import PARKED, Status
from .meta import Counters
from .rows import invocation_row, sealed, sealed_entry, sealed_invocation

__all__ = ["Batch", "Statement"]

Statement = tuple[str, list[tuple[Any, ...]]]

_INVOCATION = (
    "INSERT INTO invocation VALUES (" + ",".join("?" * 34) + ") ON CONFLICT (seq) DO UPDATE SET "
    "status = excluded.status, admission = excluded.admission, parent_seq = excluded.parent_seq, "
    "parent_completion = excluded.parent_completion, due_ms = excluded.due_ms, started_ms = excluded.started_ms, "
    "modified_ms = excluded.modified_ms, completed_ms = excluded.completed_ms, attempt = excluded.attempt, failures = excluded.failures, "
    "crashes = excluded.crashes, retry_ms = excluded.retry_ms, failure = excluded.failure, fault = excluded.fault, "
    "failure_code = excluded.failure_code, failure_message = excluded.failure_message, wait = excluded.wait, "
    "commands = excluded.commands, notifications = excluded.notifications, crc = excluded.crc, "
    "deployment = excluded.deployment, protocol = excluded.protocol, retries = excluded.retries, retries_ms = excluded.retries_ms, "
    "retries_length = excluded.retries_length"
)

_WORKFLOW = "SELECT service, key FROM invocation WHERE seq = ? AND idempotency_key = ''"


class Batch:
    """Filled by one transition after another, then written as it is.

    Rows that are written more than once are written in their last form; `state`, `timers`, `actions` and `access` hold `None` for a row
    to delete.

    Attributes:
        number: counts commits; what is on disk is every batch up to some number.
        counters: the core's, as the last transition left them.
        transitions: how many are in it.
        releases: what leaves the engine once the batch is durable, in order.
        completed, outcomes, idempotency, notifications, promises: what a reader must know of records that are not on disk yet.
    """

    __slots__ = (
        "_clears",
        "_commands",
        "_dropped_subscribers",
        "_keys",
        "_notification_rows",
        "_promise_waiters",
        "_subscribers",
        "access",
        "actions",
        "completed",
        "contracts",
        "counters",
        "deployments",
        "forget",
        "idempotency",
        "invocations",
        "notifications",
        "number",
        "outcomes",
        "parked",
        "promises",
        "purge",
        "releases",
        "state",
        "timers",
        "transitions",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.counters = Counters()
        self.transitions = 0
        self.releases: list[Callable[[], None]] = []
        self.invocations: dict[int, tuple[Any, ...]] = {}
        self._keys: list[tuple[str | None, int]] = []
        self.parked: dict[int, int] = {}
        self.completed: dict[bytes, int] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.idempotency: dict[tuple[str, str, str, str], tuple[int, bytes, bytes]] = {}
        self.notifications: dict[int, list[Notification]] = {}
        self.state: dict[tuple[str, str, str], tuple[Any, ...] | None] = {}
        self.timers: dict[tuple[int, int], int | None] = {}
        self.actions: dict[tuple[int, int], PutAction | None] = {}
        self.promises: dict[tuple[str, str, str], Outcome] = {}
        self.contracts: dict[str, tuple[str, str, bytes, int]] = {}
        self.deployments: dict[str, tuple[str, int, bytes] | None] = {}
        self.access: dict[str, bool | None] = {}
        self.forget: list[tuple[int]] = []
        self.purge: list[tuple[int]] = []
        self._clears: list[tuple[str, str]] = []
        self._commands: list[tuple[int, int, bytes, int]] = []
        self._notification_rows: list[tuple[int, int, bytes, int]] = []
        self._subscribers: list[tuple[int, int, int]] = []
        self._dropped_subscribers: list[tuple[int, int, int]] = []
        self._promise_waiters: list[tuple[int, int, str, str, str]] = []

    def add(self, record: Effect) -> bool:
        """Takes a record; `False` where the effect is none."""
        take = _TAKE.get(type(record))
        if take is None:
            return False
        take(self, record)
        return True

    def _put_command(self, record: PutCommand) -> None:
        command = record.command
        self._commands.append(sealed_entry(b"command", record.seq, record.index, encode_entry(command)))
        if isinstance(command, Output):
            self.outcomes[record.seq] = command.outcome

    def _put_invocation(self, record: PutInvocation) -> None:
        invocation = record.invocation
        self.invocations[invocation.seq] = invocation_row(invocation)
        if invocation.status in PARKED:
            self.parked[invocation.seq] = invocation.version
            return
        self.parked.pop(invocation.seq, None)
        if invocation.status is Status.COMPLETED:
            self.completed[invocation.id] = invocation.seq

    def _put_key(self, record: PutKey) -> None:
        self._keys.append((record.key, record.seq))

    def _put_notification(self, record: PutNotification) -> None:
        notification = record.notification
        self._notification_rows.append(sealed_entry(b"notification", record.seq, record.index, encode_entry(notification)))
        self.notifications.setdefault(record.seq, []).append(notification)

    def _put_state(self, record: PutState) -> None:
        value = record.value
        self.state[(*record.lane, record.name)] = None if value is None else (value.tag, value.data)

    def _clear_states(self, record: ClearStates) -> None:
        for key in [key for key in self.state if key[:2] == record.lane]:
            del self.state[key]
        self._clears.append(record.lane)

    def _put_timer(self, record: PutTimer) -> None:
        self.timers[record.seq, record.completion_id] = record.due_ms

    def _drop_timer(self, record: DropTimer) -> None:
        self.timers[record.seq, record.completion_id] = None

    def _put_action(self, record: PutAction) -> None:
        self.actions[record.seq, record.completion_id] = record

    def _drop_action(self, record: DropAction) -> None:
        self.actions[record.seq, record.completion_id] = None

    def _put_idempotency(self, record: PutIdempotency) -> None:
        owner = record.invocation
        scope = (owner.target.service, owner.target.method, owner.target.key or "", owner.idempotency_key or "")
        self.idempotency[scope] = (owner.seq, owner.id, record.request_digest)

    def _put_subscriber(self, record: PutSubscriber) -> None:
        self._subscribers.append((record.seq, record.parent, record.completion_id))

    def _put_promise(self, record: PutPromise) -> None:
        self.promises[(*record.lane, record.name)] = record.outcome

    def _put_promise_waiter(self, record: PutPromiseWaiter) -> None:
        self._promise_waiters.append((record.seq, record.completion_id, *record.lane, record.name))

    def _drop_subscriber(self, record: DropSubscriber) -> None:
        self._dropped_subscribers.append((record.seq, record.parent, record.completion_id))

    def _forget_rows(self, record: ForgetRows) -> None:
        self.forget.append((record.seq,))

    def statements(self) -> list[Statement]:
        """What to execute, in an order in which clears come before what was set after them."""
        found: list[Statement] = [
            ("UPDATE invocation SET key = ? WHERE seq = ?", list(self._keys)),  # rare: the statement below leaves the index alone
            (_INVOCATION, [sealed_invocation(*row) for row in self.invocations.values()]),
            ("INSERT INTO command VALUES (?,?,?,?)", list(self._commands)),
            ("INSERT INTO notification VALUES (?,?,?,?)", list(self._notification_rows)),
            ("DELETE FROM state WHERE service = ? AND key = ?", list(self._clears)),
            (
                "INSERT OR REPLACE INTO state VALUES (?,?,?,?,?,?)",
                [sealed("state", *key, *value) for key, value in self.state.items() if value is not None],
            ),
            (
                "DELETE FROM state WHERE service = ? AND key = ? AND name = ?",
                [key for key, value in self.state.items() if value is None],
            ),
            (
                "INSERT OR REPLACE INTO timer VALUES (?,?,?,?)",
                [sealed("timer", *key, due) for key, due in self.timers.items() if due is not None],
            ),
            ("DELETE FROM timer WHERE seq = ? AND completion = ?", [key for key, due in self.timers.items() if due is None]),
            (
                "INSERT OR REPLACE INTO action VALUES (?,?,?,?,?,?,?)",
                [
                    sealed("action", *key, put.action.failures, put.action.first_ms, put.action.next_ms, put.action.error)
                    for key, put in self.actions.items()
                    if put is not None
                ],
            ),
            ("DELETE FROM action WHERE seq = ? AND completion = ?", [key for key, put in self.actions.items() if put is None]),
            ("INSERT OR REPLACE INTO subscriber VALUES (?,?,?,?)", [sealed("subscriber", *row) for row in self._subscribers]),
            ("DELETE FROM subscriber WHERE seq = ? AND parent_seq = ? AND parent_completion = ?", self._dropped_subscribers),
            (
                "INSERT OR REPLACE INTO idempotency VALUES (?,?,?,?,?,?,?)",
                [sealed("idempotency", *scope, seq, digest) for scope, (seq, _, digest) in self.idempotency.items()],
            ),
            ("INSERT INTO promise_waiter VALUES (?,?,?,?,?,?)", [sealed("promise_waiter", *row) for row in self._promise_waiters]),
            (
                "INSERT OR REPLACE INTO promise VALUES (?,?,?,?,?)",
                [sealed("promise", *key, encode_entry(outcome)) for key, outcome in self.promises.items()],
            ),
            ("DELETE FROM promise_waiter WHERE service = ? AND key = ? AND name = ?", list(self.promises)),
            (
                "INSERT OR REPLACE INTO access VALUES (?,?,?)",
                [sealed("access", service, int(public)) for service, public in self.access.items() if public is not None],
            ),
            ("DELETE FROM access WHERE service = ?", [(service,) for service, public in self.access.items() if public is None]),
            (
                "INSERT OR REPLACE INTO service VALUES (?,?,?,?,?,?)",
                [sealed("service", name, *row) for name, row in self.contracts.items()],
            ),
            (
                "INSERT OR REPLACE INTO deployment VALUES (?,?,?,?,?)",
                [sealed("deployment", id, *row) for id, row in self.deployments.items() if row is not None],
            ),
            ("DELETE FROM deployment WHERE id = ?", [(id,) for id, row in self.deployments.items() if row is None]),
            ("DELETE FROM timer WHERE seq = ?", self.forget),
            ("DELETE FROM action WHERE seq = ?", self.forget),
            ("DELETE FROM subscriber WHERE seq = ?", self.forget),
            ("DELETE FROM promise_waiter WHERE seq = ?", self.purge),
            # A workflow is the only one with an empty idempotency key (journal/entries.KnownAs): its promises and state go with it.
            (f"DELETE FROM promise WHERE (service, key) = ({_WORKFLOW})", self.purge),
            (f"DELETE FROM state WHERE (service, key) = ({_WORKFLOW})", self.purge),
            ("DELETE FROM invocation WHERE seq = ?", self.purge),
            ("DELETE FROM command WHERE seq = ?", self.purge),
            ("DELETE FROM notification WHERE seq = ?", self.purge),
            ("DELETE FROM idempotency WHERE seq = ?", self.purge),
        ]
        return [(sql, rows) for sql, rows in found if rows]


_TAKE: dict[type, Callable[[Batch, Any], None]] = {
    PutCommand: Batch._put_command,
    PutInvocation: Batch._put_invocation,
    PutKey: Batch._put_key,
    PutNotification: Batch._put_notification,
    PutState: Batch._put_state,
    ClearStates: Batch._clear_states,
    PutTimer: Batch._put_timer,
    DropTimer: Batch._drop_timer,
    PutAction: Batch._put_action,
    DropAction: Batch._drop_action,
    PutIdempotency: Batch._put_idempotency,
    PutSubscriber: Batch._put_subscriber,
    DropSubscriber: Batch._drop_subscriber,
    PutPromise: Batch._put_promise,
    PutPromiseWaiter: Batch._put_promise_waiter,
    ForgetRows: Batch._forget_rows,
}
