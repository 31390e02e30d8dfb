"""A disk for the simulator: what is left of a run when the process dies."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from restate_runtime.journal.effects import (
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
    PutNotification,
    PutPromise,
    PutPromiseWaiter,
    PutState,
    PutSubscriber,
    PutTimer,
)
from restate_runtime.journal.entries import (
    Command,
    Notification,
    Outcome,
)
from restate_runtime.journal.events import (
    Recover,
)
from restate_runtime.journal.model import Action, Invocation, Status, TimerKind
from restate_runtime.serde import Value


@dataclass
class Disk:
    """What the recorded effects leave behind."""

    rows: dict[int, Invocation] = field(default_factory=dict)
    commands: dict[int, list[Command]] = field(default_factory=dict)
    notifications: dict[int, list[Notification]] = field(default_factory=dict)
    state: dict[tuple[str, str], dict[str, Value]] = field(default_factory=dict)
    timers: dict[tuple[int, int], int] = field(default_factory=dict)
    actions: dict[tuple[int, int], Action] = field(default_factory=dict)
    subscribers: list[tuple[int, int, int]] = field(default_factory=list)
    promises: dict[tuple[tuple[str, str], str], Outcome] = field(default_factory=dict)
    promise_waiters: list[tuple[tuple[str, str], str, int, int]] = field(default_factory=list)
    next_seq: int = 1
    next_admission: int = 1

    def write(self, records: Sequence[Effect]) -> None:
        for record in records:
            match record:
                case PutInvocation():
                    self.rows[record.invocation.seq] = record.invocation
                case PutCommand():
                    log = self.commands.setdefault(record.seq, [])
                    assert record.index == len(log), "commands without a gap"
                    log.append(record.command)
                case PutNotification():
                    arrived = self.notifications.setdefault(record.seq, [])
                    assert record.index == len(arrived), "notifications without a gap"
                    arrived.append(record.notification)
                case PutState(value=None):
                    self.state.setdefault(record.lane, {}).pop(record.name, None)
                case PutState(value=Value() as value):
                    self.state.setdefault(record.lane, {})[record.name] = value
                case ClearStates():
                    self.state.pop(record.lane, None)
                case PutTimer():
                    self.timers[record.seq, record.completion_id] = record.due_ms
                case DropTimer():
                    del self.timers[record.seq, record.completion_id]
                case PutAction():
                    self.actions[record.seq, record.completion_id] = dataclasses.replace(record.action)
                case DropAction():
                    del self.actions[record.seq, record.completion_id]
                case PutSubscriber():
                    self.subscribers.append((record.seq, record.parent, record.completion_id))
                case DropSubscriber():
                    self.subscribers.remove((record.seq, record.parent, record.completion_id))
                case ForgetRows():
                    self.timers = {key: due for key, due in self.timers.items() if key[0] != record.seq}
                    self.actions = {key: action for key, action in self.actions.items() if key[0] != record.seq}
                    self.subscribers = [row for row in self.subscribers if row[0] != record.seq]
                    self.promise_waiters = [row for row in self.promise_waiters if row[2] != record.seq]
                case PutPromise():
                    assert (record.lane, record.name) not in self.promises, "settled once"
                    self.promises[record.lane, record.name] = record.outcome
                    self.promise_waiters = [row for row in self.promise_waiters if row[:2] != (record.lane, record.name)]
                case PutPromiseWaiter():
                    self.promise_waiters.append((record.lane, record.name, record.seq, record.completion_id))
                case PutIdempotency():
                    pass
                case _:
                    raise AssertionError(f"{record} is no record")

    def recovered(self, executing: frozenset[bytes], unclean: bool) -> Recover:
        """What a start reads."""
        invocations = []
        for seq, row in sorted(self.rows.items()):
            if row.status is Status.COMPLETED:
                continue
            invocation = row_of(row)
            invocation.command_count = len(self.commands[seq])
            arrived = len(self.notifications.get(seq, []))
            invocation.seen = row.notification_count if row.status is Status.SUSPENDED else -1
            if arrived > row.notification_count:
                invocation.wait = None
                invocation.notification_count = arrived
            invocations.append(invocation)
        known = {invocation.seq for invocation in invocations}
        assert {seq for seq, _ in self.timers} <= known, "no timers of what is over"
        assert {seq for seq, _ in self.actions} <= known, "no actions of what is over"
        assert {seq for seq, _, _ in self.subscribers} <= known, "no subscribers of what is over"
        return Recover(
            invocations,
            [(due, seq, TimerKind.SLEEP, completion) for (seq, completion), due in self.timers.items()],
            [(seq, completion, dataclasses.replace(action)) for (seq, completion), action in self.actions.items()],
            list(self.subscribers),
            executing,
            self.next_seq,
            self.next_admission,
            unclean,
            [row for row in self.promise_waiters if row[2] in known],
        )


def row_of(invocation: Invocation) -> Invocation:
    """An invocation as its row holds it."""
    return msgspec.structs.replace(
        invocation,
        journal=None,
        live=False,
        token=0,
        timers=0,
        version=0,
        waiters=[],
        subscribers=[],
        children={},
        actions={},
        wait=copy.deepcopy(invocation.wait),
    )
