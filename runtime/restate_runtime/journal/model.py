"""The state of the core: every invocation that is not completed, and the lanes that give them their turn."""

from __future__ import annotations

import enum
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from ..serde import Value
from .entries import CANCEL, Command, Failure, Notification, Outcome, Ref, Target
from .waits import Wait

__all__ = ["Action", "Invocation", "Journal", "Lane", "LaneKey", "State", "Status", "Timer", "TimerKind"]

_STALE_TIMERS = 500  # so few are not worth going through all of them


class Status(enum.StrEnum):
    """Where an invocation stands."""

    SCHEDULED = "scheduled"
    """Not yet due."""
    INBOXED = "inboxed"
    """Waits for its key's turn."""
    READY = "ready"
    """Has its turn, waits for room in memory."""
    RUNNING = "running"
    """Its handler is in memory."""
    SUSPENDED = "suspended"
    """Waits for a result, out of memory."""
    BACKING_OFF = "backing-off"
    """Failed, waits for its next attempt."""
    PAUSED = "paused"
    """Waits for somebody to resume or kill it."""
    COMPLETED = "completed"
    """Over."""


PARKED = frozenset({Status.SCHEDULED, Status.INBOXED, Status.READY, Status.SUSPENDED, Status.BACKING_OFF, Status.PAUSED})
"""Not in memory: only its row and its stub are needed."""


class Journal:
    """The two logs of one invocation, and where each result arrived; cancellations are kept apart, as each counts."""

    __slots__ = ("arrivals", "cancels", "commands", "notifications")

    def __init__(self, commands: list[Command], notifications: list[Notification]) -> None:
        self.commands = commands
        self.notifications = notifications
        self.arrivals: dict[Ref, tuple[int, Outcome]] = {}
        self.cancels: list[int] = []
        for index, entry in enumerate(notifications):
            # The first one counts, as it did when it arrived: an awakeable can be settled from two sides at once.
            self.arrivals.setdefault(entry.ref, (index, entry.outcome))
            if entry.ref == CANCEL:
                self.cancels.append(index)


@dataclass(slots=True)
class Action:
    """A side effect that has failed and is tried again.

    Attributes:
        failures: executions that failed.
        first_ms: when the first one began, milliseconds since 1970.
        next_ms: when the next one is due.
        error: text of the last exception.
    """

    failures: int
    first_ms: int
    next_ms: int
    error: str


class Invocation(msgspec.Struct, eq=False):
    """One invocation. Only what decides about its fate stays in memory while it is parked; the journal comes and goes.

    Attributes:
        seq: number in order of creation; the key of its rows.
        id: 128 random bits.
        admission: its place in the inbox; 0 while it is not due.
        journal: `None` while it is not in memory.
        command_count, notification_count: lengths of the logs, known without the journal.
        token: number of the attempt in memory, so that a late event of an earlier one is told apart; 0 for none.
        attempt: `ctx.attempt`.
        failures: failed attempts since the last resume, which the retry policy counts.
        crashes: unclean exits in a row at which it was executing.
        invoker: sequence number of the invocation that made it, with an awaited or a background call; 0 for a caller outside.
        parent: sequence number and completion id of the awaited call that made it, as long as somebody awaits it.
        subscribers: the same, for awaited calls that attached to it later.
        given_up: those of parent and subscribers whose await was cancelled. Not stored: after a crash in between, what they share goes on.
        children: calls that it waits for, made or attached to, by completion id; those that are not completed.
        missing: how often nothing hosted its method, since it came into memory.
        begun: its handler may have done something that is in no journal.
        cancelling: it was cancelled, and has not seen it yet: another cancellation adds nothing.
        waiters: opaque tokens of callers outside.
        wait: what a suspended one waits for.
        timers, promises: how many timers of it run, and for how many named promises it waits that are not settled.
        seen: notifications that had arrived when the last attempt was suspended; -1 where it was not.
        version: counts its records, so that it leaves memory only when all are on disk.
        deployment: the deployment that it began on, empty for the App's own services and for one that has not begun.
        protocol: version of the service protocol that it began with there.
        retries: failed attempts since its journal last grew, beginning at `retries_ms`; `retries_length` is the journal's length then.
    """

    seq: int
    id: bytes
    target: Target
    status: Status
    created_ms: int
    due_ms: int = 0
    admission: int = 0
    journal: Journal | None = None
    command_count: int = 0
    notification_count: int = 0
    token: int = 0
    live: bool = False
    attempt: int = 1
    failures: int = 0
    crashes: int = 0
    retry_ms: int = 0
    started_ms: int = 0
    completed_ms: int = 0
    modified_ms: int = 0
    retention_ms: int = 0
    idempotency_key: str | None = None
    invoker: int = 0
    parent: tuple[int, int] | None = None
    subscribers: list[tuple[int, int]] = msgspec.field(default_factory=list)
    given_up: frozenset[tuple[int, int]] = frozenset()
    children: dict[int, int] = msgspec.field(default_factory=dict)
    missing: int = 0
    begun: bool = False
    cancelling: bool = False
    waiters: list[object] = msgspec.field(default_factory=list)
    wait: Wait | None = None
    actions: dict[int, Action] = msgspec.field(default_factory=dict)
    timers: int = 0
    promises: int = 0
    failure: str = ""
    fault: str = ""
    outcome_failure: Failure | None = None
    seen: int = -1
    version: int = 0
    deployment: str = ""
    protocol: int = 0
    retries: int = 0
    retries_ms: int = 0
    retries_length: int = 0

    def forgotten(self, now_ms: int) -> bool:
        """Whether its idempotency key is free again."""
        return self.status is Status.COMPLETED and self.completed_ms + self.retention_ms <= now_ms


LaneKey = tuple[str, str]
"""Service and key; the key of a SINGLETON is empty."""


@dataclass(slots=True, eq=False)
class Lane:
    """One key of a KEYED service, or a SINGLETON: who has the turn, who waits, and the state.

    Attributes:
        holder: the invocation that has the turn; 0 for none, where shared ones read alone.
        readers: shared invocations in memory.
        state: `None` while it is not in memory.
    """

    holder: int = 0
    readers: int = 0
    inbox: deque[int] = field(default_factory=deque)
    state: dict[str, Value] | None = None


class TimerKind(enum.IntEnum):
    """What is due."""

    START = 0
    """A delayed invocation enters its inbox."""
    SLEEP = 1
    """A sleep is over."""
    RETRY = 2
    """An invocation's next attempt."""
    ACTION = 3
    """A side effect's next execution."""


Timer = tuple[int, int, TimerKind, int]
"""Due in milliseconds, sequence number, kind, completion id: ties go by age, then by kind."""


@dataclass(slots=True, eq=False)
class State:
    """All that the core knows.

    Attributes:
        max_live: attempts in memory at once.
        live: attempts in memory now, those being loaded included.
        ready: invocations that wait for room, in order.
        timers: a heap; those of completed invocations stay in it until there are too many.
        promises: who waits for named promises of a key that are not settled: name, sequence number, completion id.
    """

    max_live: int
    next_seq: int = 1
    next_admission: int = 1
    live: int = 0
    invocations: dict[int, Invocation] = field(default_factory=dict)
    by_id: dict[bytes, int] = field(default_factory=dict)
    lanes: dict[LaneKey, Lane] = field(default_factory=dict)
    ready: deque[int] = field(default_factory=deque)
    timers: list[Timer] = field(default_factory=list)
    stale_timers: int = 0
    promises: dict[LaneKey, list[tuple[str, int, int]]] = field(default_factory=dict)

    def find(self, invocation_id: bytes) -> Invocation | None:
        """The invocation of that id, unless it is completed or unknown."""
        seq = self.by_id.get(invocation_id)
        return None if seq is None else self.invocations[seq]

    def add_timer(self, due_ms: int, kind: TimerKind, seq: int, completion_id: int = 0) -> None:
        """Something will be due. Timers are never taken back: a stale one finds nothing to do."""
        heapq.heappush(self.timers, (due_ms, seq, kind, completion_id))

    def forget_timers(self, count: int) -> None:
        """So many timers were an invocation's that is completed. A month's bound on a wait of a moment must not stay for a month."""
        self.stale_timers += count
        if self.stale_timers > _STALE_TIMERS and self.stale_timers * 2 > len(self.timers):
            self.timers = [timer for timer in self.timers if timer[1] in self.invocations]
            heapq.heapify(self.timers)
            self.stale_timers = 0

    def add_promise_waiter(self, lane: LaneKey, name: str, invocation: Invocation, completion_id: int) -> None:
        """It waits for a promise that is not settled."""
        self.promises.setdefault(lane, []).append((name, invocation.seq, completion_id))
        invocation.promises += 1

    def take_promise_waiters(self, lane: LaneKey, name: str) -> list[tuple[Invocation, int]]:
        """Who waits for a promise that is being settled, in order, with their completion ids."""
        waiting = [(self.invocations[seq], completion_id) for known, seq, completion_id in self.promises.get(lane, ()) if known == name]
        for invocation, _ in waiting:
            invocation.promises -= 1
        self._keep_promise_waiters(lane, lambda known, seq: known != name)
        return waiting

    def forget_promise_waiter(self, invocation: Invocation) -> None:
        """It is completed, and waits for no promise any more."""
        target = invocation.target
        self._keep_promise_waiters((target.service, target.key or ""), lambda known, seq: seq != invocation.seq)

    def _keep_promise_waiters(self, lane: LaneKey, stays: Callable[[str, int], bool]) -> None:
        kept = [waiter for waiter in self.promises.pop(lane, ()) if stays(waiter[0], waiter[1])]
        if kept:
            self.promises[lane] = kept

    def due(self, now_ms: int) -> Iterator[Timer]:
        """Takes out what is due, in order."""
        while self.timers and self.timers[0][0] <= now_ms:
            yield heapq.heappop(self.timers)

    def next_due_ms(self) -> int | None:
        """When the next timer is due."""
        return self.timers[0][0] if self.timers else None
