"""The records of one commit, gathered in order, and what waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...journal.effects import (
    ClearStates,
    DropAction,
    DropSubscriber,
    DropTimer,
    Effect,
    ForgetKey,
    ForgetRows,
    Purge,
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
from ...journal.model import PARKED, Invocation, LaneKey, Status
from .meta import Counters
from .rows import invocation_row, sealed, sealed_entry

__all__ = ["Batch", "Statement"]

Statement = tuple[str, list[tuple[Any, ...]]]

_COLUMNS = (
    "seq", "id", "service", "method", "key", "status", "admission", "parent_seq", "parent_completion", "idempotency_key", "created_ms",
    "due_ms", "started_ms", "modified_ms", "completed_ms", "retention_ms", "attempt", "failures", "crashes", "retry_ms", "failure", "fault",
    "failure_code", "failure_message", "wait", "commands", "notifications", "crc", "shared", "deployment", "protocol", "retries",
    "retries_ms", "retries_length", "cancelling", "begun",
)  # fmt: skip
_FIXED = {"seq", "id", "service", "method", "key", "idempotency_key", "created_ms", "retention_ms", "shared"}

# Parameters by number, because that is short: apsw goes through the whole text of a statement for every row.
_INVOCATION = f"INSERT INTO invocation VALUES ({','.join('?' * len(_COLUMNS))}) ON CONFLICT (seq) DO UPDATE SET " + ",".join(
    f"{name}=?{number}" for number, name in enumerate(_COLUMNS, start=1) if name not in _FIXED
)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table whose rows are set and removed by their key."""

    name: str
    put: str
    drop: str

    def changes(self, rows: Mapping[tuple[Any, ...], tuple[Any, ...] | None]) -> Iterator[Statement]:
        """The statements that set the rows of these keys to these values, or remove them where there is `None`."""
        put = [sealed(self.name, *key, *values) for key, values in rows.items() if values is not None]
        if put:
            yield self.put, put
        if len(put) < len(rows):
            yield self.drop, [key for key, values in rows.items() if values is None]


def _table(name: str, key: Sequence[str], values: int) -> _Table:
    """A table by its name, the columns of its key, and how many values stand between those and the checksum."""
    put = f"INSERT OR REPLACE INTO {name} VALUES ({'?,' * (len(key) + values)}?)"
    return _Table(name, put, f"DELETE FROM {name} WHERE {' AND '.join(f'{column} = ?' for column in key)}")


_STATE = _table("state", ("service", "key", "name"), 2)
_TIMER = _table("timer", ("seq", "completion"), 1)
_ACTION = _table("action", ("seq", "completion"), 4)
_SUBSCRIBER = _table("subscriber", ("seq", "parent_seq", "parent_completion"), 0)
_IDEMPOTENCY = _table("idempotency", ("service", "method", "key", "idempotency_key"), 2)
_PROMISE = _table("promise", ("service", "key", "name"), 1)
_PROMISE_WAITER = _table("promise_waiter", ("seq", "completion", "service", "key", "name"), 0)
_ACCESS = _table("access", ("service",), 1)
_SERVICE = _table("service", ("name",), 4)
_DEPLOYMENT = _table("deployment", ("id",), 3)


class Batch:
    """Filled by one transition after another, then written as it is.

    Rows that are written more than once are written in their last form; dictionaries by a row's key hold `None` for one to remove.

    Attributes:
        number: counts commits; what is on disk is every batch up to some number.
        counters: the core's, as the last transition left them.
        begun: whether anything was recorded, if only of a transition that is under way.
        transitions: how many are in it.
        releases: what leaves the engine once the batch is durable, in order.
        parked: versions of the invocations that are out of memory once it is durable, by sequence number.
        completed, outcomes, idempotency, notifications, promises: what a reader must know of records that are not on disk yet.
        access, contracts, deployments: what is stored of services and deployments, by name and id.
        forgotten: keys of workflows whose state and promises went; what is in the batch of them came later.
        purged: completed invocations that go with all that is their own.
    """

    __slots__ = (
        "_actions",
        "_clears",
        "_commands",
        "_forget",
        "_invocations",
        "_keys",
        "_notification_rows",
        "_promise_waiters",
        "_rows",
        "_settled",
        "_state",
        "_subscribers",
        "_timers",
        "access",
        "begun",
        "completed",
        "contracts",
        "counters",
        "deployments",
        "forgotten",
        "idempotency",
        "notifications",
        "number",
        "outcomes",
        "parked",
        "promises",
        "purged",
        "releases",
        "transitions",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.counters = Counters()
        self.begun = False
        self.transitions = 0
        self.releases: list[Callable[[], None]] = []
        self._invocations: dict[int, Invocation] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._keys: list[tuple[str | None, str | None, int]] = []
        self.parked: dict[int, int] = {}
        self.completed: dict[bytes, Invocation] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.idempotency: dict[tuple[str, str, str, str], tuple[int, bytes, bytes]] = {}
        self.notifications: dict[int, list[Notification]] = {}
        self._state: dict[tuple[str, str, str], tuple[str, bytes] | None] = {}
        self._timers: dict[tuple[int, int], tuple[int] | None] = {}
        self._actions: dict[tuple[int, int], tuple[int, int, int, str] | None] = {}
        self.promises: dict[tuple[str, str, str], Outcome] = {}
        self.contracts: dict[str, tuple[str, str, bytes, int]] = {}
        self.deployments: dict[str, tuple[str, int, bytes] | None] = {}
        self.access: dict[str, bool | None] = {}
        self._forget: list[tuple[int]] = []
        self.forgotten: list[LaneKey] = []
        self.purged: list[int] = []
        self._clears: list[LaneKey] = []
        self._commands: list[tuple[int, int, bytes, int]] = []
        self._notification_rows: list[tuple[int, int, bytes, int]] = []
        self._subscribers: dict[tuple[int, int, int], tuple[()] | None] = {}
        self._promise_waiters: dict[tuple[int, int, str, str, str], tuple[()]] = {}
        self._settled: list[tuple[str, str, str]] = []

    def add(self, record: Effect) -> bool:
        """Takes a record; `False` where the effect is none."""
        take = _TAKE.get(type(record))
        if take is None:
            return False
        self.begun = True
        take(self, record)
        return True

    def _put_command(self, record: PutCommand) -> None:
        command = record.command
        self._commands.append(sealed_entry(b"command", record.seq, record.index, encode_entry(command)))
        if isinstance(command, Output):
            self.outcomes[record.seq] = command.outcome

    def _put_invocation(self, record: PutInvocation) -> None:
        invocation = record.invocation
        seq = invocation.seq
        status = invocation.status
        self._invocations[seq] = invocation
        if status in PARKED:
            self.parked[seq] = invocation.version
            return
        self.parked.pop(seq, None)
        if status is Status.COMPLETED:
            self.completed[invocation.id] = invocation

    def _put_key(self, record: PutKey) -> None:
        self._keys.append((record.key, record.idempotency_key, record.seq))

    def _put_notification(self, record: PutNotification) -> None:
        notification = record.notification
        self._notification_rows.append(sealed_entry(b"notification", record.seq, record.index, encode_entry(notification)))
        self.notifications.setdefault(record.seq, []).append(notification)

    def _put_state(self, record: PutState) -> None:
        value = record.value
        self._state[(*record.lane, record.name)] = None if value is None else (value.tag, value.data)

    def _clear_states(self, record: ClearStates | ForgetKey) -> None:
        for key in [key for key in self._state if key[:2] == record.lane]:
            del self._state[key]
        self._clears.append(record.lane)

    def _forget_key(self, record: ForgetKey) -> None:
        self._clear_states(record)
        for key in [key for key in self.promises if key[:2] == record.lane]:
            del self.promises[key]
        self.forgotten.append(record.lane)

    def _purge(self, record: Purge) -> None:
        self.purged.append(record.seq)

    def _put_timer(self, record: PutTimer) -> None:
        self._timers[record.seq, record.completion_id] = (record.due_ms,)

    def _drop_timer(self, record: DropTimer) -> None:
        self._timers[record.seq, record.completion_id] = None

    def _put_action(self, record: PutAction) -> None:
        action = record.action
        self._actions[record.seq, record.completion_id] = (action.failures, action.first_ms, action.next_ms, action.error)

    def _drop_action(self, record: DropAction) -> None:
        self._actions[record.seq, record.completion_id] = None

    def _put_idempotency(self, record: PutIdempotency) -> None:
        owner = record.invocation
        scope = (owner.target.service, owner.target.method, owner.target.key or "", owner.idempotency_key or "")
        self.idempotency[scope] = (owner.seq, owner.id, record.request_digest)

    def _put_subscriber(self, record: PutSubscriber) -> None:
        self._subscribers[record.seq, record.parent, record.completion_id] = ()

    def _put_promise(self, record: PutPromise) -> None:
        promise = (*record.lane, record.name)
        self.promises[promise] = record.outcome
        self._settled.append(promise)
        for key in [key for key in self._promise_waiters if key[2:] == promise]:
            del self._promise_waiters[key]

    def _put_promise_waiter(self, record: PutPromiseWaiter) -> None:
        self._promise_waiters[record.seq, record.completion_id, *record.lane, record.name] = ()

    def _drop_subscriber(self, record: DropSubscriber) -> None:
        self._subscribers[record.seq, record.parent, record.completion_id] = None

    def _forget_rows(self, record: ForgetRows) -> None:
        self._forget.append((record.seq,))

    def close(self, counters: Counters) -> None:
        """Nothing comes any more: the invocations are kept as they are now."""
        self.counters = counters
        self._rows = [invocation_row(invocation) for invocation in self._invocations.values()]

    def statements(self) -> Iterator[Statement]:
        """What to execute, in an order in which clears come before what was set after them. Most batches need few of them."""
        if self._keys:
            # Rare: the statement below leaves them alone.
            yield "UPDATE invocation SET key = ?, idempotency_key = ? WHERE seq = ?", self._keys
        if self._rows:
            yield _INVOCATION, self._rows
        if self._commands:
            yield "INSERT INTO command VALUES (?,?,?,?)", self._commands
        if self._notification_rows:
            yield "INSERT INTO notification VALUES (?,?,?,?)", self._notification_rows
        if self._clears:
            yield "DELETE FROM state WHERE service = ? AND key = ?", self._clears
        if self._state:
            yield from _STATE.changes(self._state)
        if self._timers:
            yield from _TIMER.changes(self._timers)
        if self._actions:
            yield from _ACTION.changes(self._actions)
        if self._subscribers:
            yield from _SUBSCRIBER.changes(self._subscribers)
        if self.idempotency:
            yield from _IDEMPOTENCY.changes({scope: (seq, digest) for scope, (seq, _, digest) in self.idempotency.items()})
        if self._settled:
            yield "DELETE FROM promise_waiter WHERE service = ? AND key = ? AND name = ?", self._settled
        if self._promise_waiters:
            yield from _PROMISE_WAITER.changes(self._promise_waiters)
        if self.forgotten:
            yield "DELETE FROM promise WHERE service = ? AND key = ?", self.forgotten
        if self.promises:
            yield from _PROMISE.changes({key: (encode_entry(outcome),) for key, outcome in self.promises.items()})
        if self.access:
            yield from _ACCESS.changes({(name,): None if public is None else (int(public),) for name, public in self.access.items()})
        if self.contracts:
            yield from _SERVICE.changes({(name,): row for name, row in self.contracts.items()})
        if self.deployments:
            yield from _DEPLOYMENT.changes({(id,): row for id, row in self.deployments.items()})
        if self._forget:
            for table in ("timer", "action", "subscriber", "promise_waiter"):
                yield f"DELETE FROM {table} WHERE seq = ?", self._forget
        if self.purged:
            for table in ("invocation", "command", "notification", "idempotency", "promise_waiter"):
                yield f"DELETE FROM {table} WHERE seq = ?", [(seq,) for seq in self.purged]


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
    ForgetKey: Batch._forget_key,
    Purge: Batch._purge,
}
