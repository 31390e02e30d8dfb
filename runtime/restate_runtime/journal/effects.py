"""What the core wants done.

* **Records** go into the batch that is filling, in order.
* **Inner** effects happen at once, in memory.
* **Outer** effects leave the engine: they wait until every record before them is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    "ForgetRows",
    "Load",
    "Pressure",
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


@dataclass(slots=True)
class PutInvocation:
    """Record: the invocation's row, as it is now."""

    invocation: Invocation


@dataclass(slots=True)
class PutKey:
    """Record: the invocation belongs to another key than before."""

    seq: int
    key: str | None


@dataclass(slots=True)
class PutCommand:
    """Record: a command was appended."""

    seq: int
    index: int
    command: Command


@dataclass(slots=True)
class PutNotification:
    """Record: a notification was appended."""

    seq: int
    index: int
    notification: Notification


@dataclass(slots=True)
class PutState:
    """Record: a state value was set, or cleared where it is `None`."""

    lane: LaneKey
    name: str
    value: Value | None


@dataclass(slots=True)
class ClearStates:
    """Record: all state of the lane was cleared."""

    lane: LaneKey


@dataclass(slots=True)
class PutTimer:
    """Record: a sleep is due."""

    seq: int
    completion_id: int
    due_ms: int


@dataclass(slots=True)
class DropTimer:
    """Record: a sleep is over."""

    seq: int
    completion_id: int


@dataclass(slots=True)
class PutAction:
    """Record: an execution of a side effect failed."""

    seq: int
    completion_id: int
    action: Action


@dataclass(slots=True)
class DropAction:
    """Record: a side effect that had failed has its result."""

    seq: int
    completion_id: int


@dataclass(slots=True)
class PutIdempotency:
    """Record: an idempotency key leads to an invocation."""

    invocation: Invocation
    request_digest: bytes


@dataclass(slots=True)
class PutSubscriber:
    """Record: an awaited call attached to an invocation that another one made."""

    seq: int
    parent: int
    completion_id: int


@dataclass(slots=True)
class DropSubscriber:
    """Record: an awaited call has its result without the invocation that it attached to."""

    seq: int
    parent: int
    completion_id: int


@dataclass(slots=True)
class PutPromise:
    """Record: a named promise of a key was settled; nobody waits for it any more."""

    lane: LaneKey
    name: str
    outcome: Outcome


@dataclass(slots=True)
class PutPromiseWaiter:
    """Record: a command waits for a named promise of a key."""

    lane: LaneKey
    name: str
    seq: int
    completion_id: int


@dataclass(slots=True)
class ForgetRows:
    """Record: timers, actions and subscribers of a completed invocation go."""

    seq: int


@dataclass(slots=True)
class StartAttempt:
    """Inner: run the handler; journal and state are in memory."""

    invocation: Invocation


@dataclass(slots=True)
class Load:
    """Inner: answer with `Loaded`."""

    seq: int
    journal: bool
    lane: LaneKey | None


@dataclass(slots=True)
class Deliver:
    """Inner: a result arrived for a handler in memory."""

    seq: int
    ref: Ref


@dataclass(slots=True)
class StillWaits:
    """Inner: a result arrived that does not end the wait of a suspended invocation: see whether anything can."""

    seq: int


@dataclass(slots=True)
class Abandon:
    """Inner: the attempt in memory is over; nothing that it does counts any more."""

    seq: int


@dataclass(slots=True)
class Pressure:
    """Inner: an invocation waits for room; suspend a waiting one."""


@dataclass(slots=True)
class Reply:
    """Outer: an outcome for a caller outside."""

    waiter: object
    outcome: Outcome


@dataclass(slots=True)
class StartAction:
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
    | StartAttempt
    | Load
    | Deliver
    | StillWaits
    | Abandon
    | Pressure
    | Reply
    | StartAction
)
