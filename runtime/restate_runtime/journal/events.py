"""What happens to the core. Nothing that an event holds leads back to it, so the garbage collector need not look at it (`gc=False`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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
    "DetachWaiter",
    "Event",
    "Evict",
    "Existing",
    "Forget",
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
    "Share",
    "Suspend",
    "Tick",
]


class Existing(msgspec.Struct, gc=False):
    """What an idempotency key or an id leads to: a live invocation by its number, or the outcome of one that the core has forgotten."""

    seq: int
    id: bytes
    outcome: Outcome | None = None


class Admit(msgspec.Struct, gc=False):
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


class AttachWaiter(msgspec.Struct, gc=False):
    """Somebody outside waits for a live invocation."""

    seq: int
    waiter: object


class DetachWaiter(msgspec.Struct, gc=False):
    """Who waited outside does so no longer."""

    id: bytes
    waiter: object


class Share(msgspec.Struct, gc=False):
    """Somebody outside made the call again under its idempotency key: it does not end with the handler that made it first."""

    seq: int


class Issue(msgspec.Struct, gc=False):
    """A handler asked for something new.

    Attributes:
        existing: what the command's idempotency key, the id or the promise that it names leads to; a promise has an outcome only.
        payload: the request as the callee gets it, where that is not what the handler gave.
        idempotency_key: the one that the callee gets, where the handler gave none.
        refusal: why a call cannot be made, where its handler has gone on already: the callee ends with it at once.
    """

    seq: int
    token: int
    command: Command
    existing: Existing | None = None
    request_digest: bytes = b""
    retention_ms: int = 0
    payload: bytes | None = None
    idempotency_key: str | None = None
    refusal: Failure | None = None


class ActionWanted(msgspec.Struct, gc=False):
    """A handler in memory has a side effect to run: its command is recorded, its result is not."""

    seq: int
    token: int
    completion_id: int


class ActionEnded(msgspec.Struct, gc=False):
    """A side effect has its result."""

    seq: int
    token: int
    completion_id: int
    outcome: Outcome


class ActionFailed(msgspec.Struct, gc=False):
    """An execution of a side effect failed, and its policy decides."""

    seq: int
    token: int
    completion_id: int
    name: str
    error: str
    began_ms: int
    policy: RetryPolicy


class AttemptFailed(msgspec.Struct, gc=False):
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


class HandlerMissing(msgspec.Struct, gc=False):
    """Nothing hosts the method of an invocation that was to run. It backs off until something does, however often that takes."""

    seq: int
    token: int
    error: str
    policy: RetryPolicy


class Readdress(msgspec.Struct, gc=False):
    """An invocation that has not begun was made before its service was hosted, under a key that the service knows as another one.

    Attributes:
        idempotency_key: what it has from now on; the run of a workflow gets it here.
        request_digest: of its request, where its idempotency key is to be found under the other key.
    """

    seq: int
    token: int
    key: str | None
    idempotency_key: str | None
    request_digest: bytes | None = None


class Pause(msgspec.Struct, gc=False):
    """An attempt cannot go on before somebody does something: a mismatch, a missing handler, a damaged row."""

    seq: int
    token: int
    fault: str
    error: str


class Pin(msgspec.Struct, gc=False):
    """An attempt has begun on a deployment: the invocation stays there, with that version of the service protocol."""

    seq: int
    token: int
    deployment: str
    protocol: int


class Suspend(msgspec.Struct, gc=False):
    """An attempt left memory, waiting.

    Attributes:
        told: how many notifications it knew of when it said what it waits for: what came later may end its wait.
    """

    seq: int
    token: int
    wait: Wait
    told: int = 0


class Loaded(msgspec.Struct, gc=False):
    """What `Load` asked for."""

    seq: int
    commands: list[Command] | None
    notifications: list[Notification] | None
    state: dict[str, Value] | None


class Evict(msgspec.Struct, gc=False):
    """These records are on disk: parked invocations whose version has not moved on leave their journals."""

    versions: Sequence[tuple[int, int]]


class Settle(msgspec.Struct, gc=False):
    """Somebody outside settles an awakeable of a live invocation whose journal is in memory."""

    seq: int
    index: int
    outcome: Outcome


class Forget(msgspec.Struct, gc=False):
    """Completed invocations go; with the runs of workflows among them, of these keys, their state and promises."""

    seqs: Sequence[int]
    workflows: Sequence[LaneKey]


class Cancel(msgspec.Struct, gc=False):
    """Asks a live invocation to stop: one that has not begun ends, of others the current or next await raises."""

    seq: int


class CancelTaken(msgspec.Struct, gc=False):
    """A handler in memory has got its cancellation: another one counts again."""

    seq: int
    token: int


class Kill(msgspec.Struct, gc=False):
    """Ends a live invocation."""

    seq: int


class PauseRequested(msgspec.Struct, gc=False):
    """Takes a begun invocation out of memory, until somebody resumes it."""

    seq: int


class RefuseCall(msgspec.Struct, gc=False):
    """A call, or an attachment, that somebody waits for cannot go on: it closes a cycle."""

    caller: int
    completion_id: int
    callee: int
    failure: Failure


class ServicesChanged(msgspec.Struct, gc=False):
    """Services came: invocations that back off because nothing hosts them try again."""


class Resume(msgspec.Struct, gc=False):
    """Lets a paused or backing-off invocation try again."""

    seq: int


class Tick(msgspec.Struct, gc=False):
    """Time has passed."""


class Recover(msgspec.Struct, gc=False):
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
    unclean: bool = False
    promise_waiters: Sequence[tuple[LaneKey, str, int, int]] = ()


Event = (
    Admit
    | AttachWaiter
    | DetachWaiter
    | Share
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
    | Forget
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
