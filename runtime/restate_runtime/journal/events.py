"""What happens to the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..retry import RetryPolicy
from ..serde import Value
from .entries import Command, Failure, Notification, Outcome, Target
from .model import Action, Invocation, LaneKey, Timer
from .waits import Wait

__all__ = [
    "ActionEnded",
    "ActionFailed",
    "ActionWanted",
    "Admit",
    "AttachWaiter",
    "AttemptFailed",
    "Cancel",
    "CancelTaken",
    "Event",
    "Evict",
    "Existing",
    "HandlerMissing",
    "Issue",
    "Kill",
    "Loaded",
    "Pause",
    "PauseRequested",
    "Pin",
    "Readdress",
    "Recover",
    "RefuseCall",
    "Resume",
    "ServicesChanged",
    "Settle",
    "Suspend",
    "Tick",
]


@dataclass(slots=True)
class Existing:
    """What an idempotency key or an id leads to: a live invocation by its number, or the outcome of one that the core has forgotten."""

    seq: int
    id: bytes
    outcome: Outcome | None = None


@dataclass(slots=True)
class Admit:
    """A call from outside, checked and encoded. `waiter` gets the reply; `None` for a background call."""

    id: bytes
    target: Target
    payload: bytes
    headers: dict[str, str]
    due_ms: int = 0
    waiter: object = None
    idempotency_key: str | None = None
    request_digest: bytes = b""
    retention_ms: int = 0


@dataclass(slots=True)
class AttachWaiter:
    """Somebody outside waits for a live invocation."""

    seq: int
    waiter: object


@dataclass(slots=True)
class Issue:
    """A handler asked for something new.

    Attributes:
        existing: what the command's idempotency key, the id or the promise that it names leads to; a promise has an outcome only.
        payload: the request as the callee gets it, where that is not what the handler gave.
        idempotency_key: the one that the callee gets, where the handler gave none.
    """

    seq: int
    token: int
    command: Command
    existing: Existing | None = None
    request_digest: bytes = b""
    retention_ms: int = 0
    payload: bytes | None = None
    idempotency_key: str | None = None


@dataclass(slots=True)
class ActionWanted:
    """A handler in memory has a side effect to run: its command is recorded, its result is not."""

    seq: int
    token: int
    completion_id: int


@dataclass(slots=True)
class ActionEnded:
    """A side effect has its result."""

    seq: int
    token: int
    completion_id: int
    outcome: Outcome


@dataclass(slots=True)
class ActionFailed:
    """An execution of a side effect failed, and its policy decides."""

    seq: int
    token: int
    completion_id: int
    name: str
    error: str
    began_ms: int
    policy: RetryPolicy


@dataclass(slots=True)
class AttemptFailed:
    """A handler raised an error that is not terminal.

    Attributes:
        delay_ms: the next attempt comes after so long; the policy does not count it. `None` leaves it to the policy.
        began: `False` where the handler was not reached: that is no attempt.
    """

    seq: int
    token: int
    error: str
    policy: RetryPolicy
    delay_ms: int | None = None
    began: bool = True


@dataclass(slots=True)
class HandlerMissing:
    """Nothing hosts the method of an invocation that was to run. It backs off until something does, however often that takes."""

    seq: int
    token: int
    error: str
    policy: RetryPolicy


@dataclass(slots=True)
class Readdress:
    """An invocation that has not begun was made before its service was hosted, under a key that the service knows as another one."""

    seq: int
    token: int
    key: str | None


@dataclass(slots=True)
class Pause:
    """An attempt cannot go on before somebody does something: a mismatch, a missing handler, a damaged row."""

    seq: int
    token: int
    fault: str
    error: str


@dataclass(slots=True)
class Pin:
    """An attempt has begun on a deployment: the invocation stays there, with that version of the service protocol."""

    seq: int
    token: int
    deployment: str
    protocol: int


@dataclass(slots=True)
class Suspend:
    """An attempt left memory, waiting.

    Attributes:
        told: how many notifications it knew of when it said what it waits for: what came later may end its wait.
    """

    seq: int
    token: int
    wait: Wait
    told: int = 0


@dataclass(slots=True)
class Loaded:
    """What `Load` asked for."""

    seq: int
    commands: list[Command] | None
    notifications: list[Notification] | None
    state: dict[str, Value] | None


@dataclass(slots=True)
class Evict:
    """These records are on disk: parked invocations whose version has not moved on leave their journals."""

    versions: Sequence[tuple[int, int]]


@dataclass(slots=True)
class Settle:
    """Somebody outside settles an awakeable of a live invocation whose journal is in memory."""

    seq: int
    index: int
    outcome: Outcome


@dataclass(slots=True)
class Cancel:
    """Asks a live invocation to stop: one that has not begun ends, of others the current or next await raises."""

    seq: int


@dataclass(slots=True)
class CancelTaken:
    """A handler in memory has got its cancellation: another one counts again."""

    seq: int
    token: int


@dataclass(slots=True)
class Kill:
    """Ends a live invocation."""

    seq: int


@dataclass(slots=True)
class PauseRequested:
    """Takes a begun invocation out of memory, until somebody resumes it."""

    seq: int


@dataclass(slots=True)
class RefuseCall:
    """A call, or an attachment, that somebody waits for cannot go on: it closes a cycle."""

    caller: int
    completion_id: int
    callee: int
    failure: Failure


@dataclass(slots=True)
class ServicesChanged:
    """Services came: invocations that back off because nothing hosts them try again."""


@dataclass(slots=True)
class Resume:
    """Lets a paused or backing-off invocation try again."""

    seq: int


@dataclass(slots=True)
class Tick:
    """Time has passed."""


@dataclass(slots=True)
class Recover:
    """A start: every invocation that is not completed, in order of creation, and what was durable beside them.

    `executing` are the invocations whose code ran when the process before exited without a word.
    """

    invocations: Sequence[Invocation]
    timers: Sequence[Timer]
    actions: Sequence[tuple[int, int, Action]]
    subscribers: Sequence[tuple[int, int, int]]
    executing: frozenset[bytes]
    next_seq: int
    next_admission: int
    unclean: bool = field(default=False)
    promise_waiters: Sequence[tuple[LaneKey, str, int, int]] = ()


Event = (
    Admit
    | AttachWaiter
    | Issue
    | ActionWanted
    | ActionEnded
    | ActionFailed
    | AttemptFailed
    | HandlerMissing
    | Readdress
    | Pause
    | Pin
    | Suspend
    | Loaded
    | Evict
    | Settle
    | Cancel
    | CancelTaken
    | Kill
    | PauseRequested
    | RefuseCall
    | ServicesChanged
    | Resume
    | Tick
    | Recover
)
