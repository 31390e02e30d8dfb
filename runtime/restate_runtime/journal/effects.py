"""What the core wants done.

* **Records** go into the batch that is filling, in order.
* **Inner** effects happen at once, in memory.
* **Outer** effects leave the engine: they wait until every record before them is on disk.

Nothing that they hold leads back to them, so the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

import msgspec

from ..serde import Value
from .entries import Command, Notification, Outcome, Ref
from .model import Action, Invocation, LaneKey

__all__ = [
    "Abandon",
    "ClearStates",
    "Deliver",
    "DropAction",
    "DropSubscriber",
    "DropTimer",
    "Effect",
    "ForgetKey",
    "ForgetRows",
    "Load",
    "Paused",
    "Pressure",
    "Purge",
    "PutAction",
    "PutCommand",
    "PutIdempotency",
    "PutInvocation",
    "PutKey",
    "PutNotification",
    "PutPromise",
    "PutPromiseWaiter",
    "PutState",
    "PutSubscriber",
    "PutTimer",
    "Reply",
    "StartAction",
    "StartAttempt",
    "StillWaits",
]


class PutInvocation(msgspec.Struct, gc=False):
    """Record: the invocation's row, as it is now."""

    invocation: Invocation


class PutKey(msgspec.Struct, gc=False):
    """Record: the invocation belongs to another key than before, or has another idempotency key."""

    seq: int
    key: str | None
    idempotency_key: str | None


class PutCommand(msgspec.Struct, gc=False):
    """Record: a command was appended."""

    seq: int
    index: int
    command: Command


class PutNotification(msgspec.Struct, gc=False):
    """Record: a notification was appended."""

    seq: int
    index: int
    notification: Notification


class PutState(msgspec.Struct, gc=False):
    """Record: a state value was set, or cleared where it is `None`."""

    lane: LaneKey
    name: str
    value: Value | None


class ClearStates(msgspec.Struct, gc=False):
    """Record: all state of the lane was cleared."""

    lane: LaneKey


class PutTimer(msgspec.Struct, gc=False):
    """Record: a sleep is due."""

    seq: int
    completion_id: int
    due_ms: int


class DropTimer(msgspec.Struct, gc=False):
    """Record: a sleep is over."""

    seq: int
    completion_id: int


class PutAction(msgspec.Struct, gc=False):
    """Record: an execution of a side effect failed."""

    seq: int
    completion_id: int
    action: Action


class DropAction(msgspec.Struct, gc=False):
    """Record: a side effect that had failed has its result."""

    seq: int
    completion_id: int


class PutIdempotency(msgspec.Struct, gc=False):
    """Record: an idempotency key leads to an invocation."""

    invocation: Invocation
    request_digest: bytes


class PutSubscriber(msgspec.Struct, gc=False):
    """Record: an awaited call attached to an invocation that another one made."""

    seq: int
    parent: int
    completion_id: int


class DropSubscriber(msgspec.Struct, gc=False):
    """Record: an awaited call has its result without the invocation that it attached to."""

    seq: int
    parent: int
    completion_id: int


class PutPromise(msgspec.Struct, gc=False):
    """Record: a named promise of a key was settled; nobody waits for it any more."""

    lane: LaneKey
    name: str
    outcome: Outcome


class PutPromiseWaiter(msgspec.Struct, gc=False):
    """Record: a command waits for a named promise of a key."""

    lane: LaneKey
    name: str
    seq: int
    completion_id: int


class ForgetRows(msgspec.Struct, gc=False):
    """Record: timers, actions, subscribers and waits for promises of a completed invocation go."""

    seq: int


class ForgetKey(msgspec.Struct, gc=False):
    """Record: state and promises of a key go, with the run of a workflow that they belong to."""

    lane: LaneKey


class Purge(msgspec.Struct, gc=False):
    """Record: a completed invocation goes with all that is its own."""

    seq: int


class StartAttempt(msgspec.Struct, gc=False):
    """Inner: run the handler; journal and state are in memory."""

    invocation: Invocation


class Paused(msgspec.Struct, gc=False):
    """Inner: somebody should know that an invocation goes on only once it is resumed."""

    invocation: Invocation


class Load(msgspec.Struct, gc=False):
    """Inner: answer with `Loaded`."""

    seq: int
    journal: bool
    lane: LaneKey | None


class Deliver(msgspec.Struct, gc=False):
    """Inner: a result arrived for a handler in memory."""

    seq: int
    ref: Ref


class StillWaits(msgspec.Struct, gc=False):
    """Inner: a result arrived that does not end the wait of a suspended invocation, or one that others wait for has to wait for its turn:
    see whether anything can go on."""

    seq: int


class Abandon(msgspec.Struct, gc=False):
    """Inner: the attempt in memory is over; nothing that it does counts any more."""

    seq: int


class Pressure(msgspec.Struct, gc=False):
    """Inner: an invocation waits for room; suspend a waiting one."""


class Reply(msgspec.Struct, gc=False):
    """Outer: an outcome for a caller outside."""

    waiter: object
    outcome: Outcome


class StartAction(msgspec.Struct, gc=False):
    """Outer: run the side effect's body."""

    seq: int
    token: int
    completion_id: int


Effect = (
    PutInvocation
    | PutKey
    | PutCommand
    | PutNotification
    | PutState
    | ClearStates
    | PutTimer
    | DropTimer
    | PutAction
    | DropAction
    | PutIdempotency
    | PutSubscriber
    | DropSubscriber
    | PutPromise
    | PutPromiseWaiter
    | ForgetRows
    | ForgetKey
    | Purge
    | StartAttempt
    | Load
    | Paused
    | Deliver
    | StillWaits
    | Abandon
    | Pressure
    | Reply
    | StartAction
)
