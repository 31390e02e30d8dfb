"""An invocation's way from admission to completion: its turn, its attempts, its end."""

from __future__ import annotations

from ..serde import Value
from .effects import (
    Deliver,
    Effect,
    ForgetRows,
    Load,
    Paused,
    Pressure,
    PutCommand,
    PutIdempotency,
    PutInvocation,
    PutKey,
    PutNotification,
    Reply,
    StartAttempt,
    StillWaits,
)
from .entries import CANCEL, Command, Completion, Failure, Input, Notification, Outcome, Output, Success, Target
from .events import Readdress
from .model import Invocation, Journal, Lane, LaneKey, State, Status, TimerKind
from .waits import settle

__all__ = [
    "MISSING",
    "NOTHING",
    "again",
    "append_command",
    "begin",
    "complete",
    "create",
    "enter",
    "lane_key",
    "leave_memory",
    "notify",
    "pause",
    "put",
    "readdress",
    "start",
    "state_key",
    "waits_for_turn",
]

CRASHES_BEFORE_PAUSE = 3
"""Unclean exits in a row at which an invocation's own code was executing (CONTRACT R13)."""

MISSING = "RT0304"
"""The fault of an invocation whose method nothing hosts."""

NOTHING = Success(Value("", b""))
"""The result of a sleep: that it is over."""


def lane_key(target: Target) -> LaneKey | None:
    """The lane that gives an invocation its turn; `None` where any number runs at once."""
    return None if target.key is None or target.shared else (target.service, target.key)


def state_key(target: Target) -> LaneKey | None:
    """The lane whose state an invocation reads; `None` where it has none."""
    return None if target.key is None else (target.service, target.key)


def create(
    state: State,
    out: list[Effect],
    now: int,
    *,
    id: bytes,
    target: Target,
    payload: bytes,
    headers: dict[str, str] | None,
    due_ms: int = 0,
    invoker: int = 0,
    parent: tuple[int, int] | None = None,
    waiter: object = None,
    idempotency_key: str | None = None,
    request_digest: bytes = b"",
    retention_ms: int = 0,
    refusal: Failure | None = None,
) -> Invocation:
    """A new invocation, in its inbox unless it is not yet due, or over where it was refused: then its idempotency key is not taken."""
    seq = state.next_seq
    state.next_seq = seq + 1
    first = Input(payload, headers or {})
    invocation = Invocation(
        seq,
        id,
        target,
        Status.SCHEDULED,
        now,
        due_ms=due_ms,
        journal=Journal([first], []),
        command_count=1,
        idempotency_key=idempotency_key if refusal is None else None,
        retention_ms=retention_ms,
        invoker=invoker,
        parent=parent,
    )
    if waiter is not None:
        invocation.waiters.append(waiter)
    state.invocations[seq] = invocation
    state.by_id[id] = seq
    out.append(PutCommand(seq, 0, first))
    if invocation.idempotency_key is not None:
        out.append(PutIdempotency(invocation, request_digest))
    if refusal is not None:
        complete(state, invocation, refusal, now, out)
    elif due_ms > now:
        state.add_timer(due_ms, TimerKind.START, seq)
        put(invocation, now, out)
    else:
        enter(state, invocation, now, out)
    return invocation


def enter(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """Takes its place in the inbox of its key; the admission number is that place."""
    invocation.admission = state.next_admission
    state.next_admission += 1
    key = lane_key(invocation.target)
    if key is not None:
        lane = state.lanes.get(key)
        if lane is None:
            lane = state.lanes[key] = Lane()
        if lane.holder:
            lane.inbox.append(invocation.seq)
            invocation.status = Status.INBOXED
            put(invocation, now, out)
            return
        lane.holder = invocation.seq
    start(state, invocation, now, out)


def waits_for_turn(invocation: Invocation, out: list[Effect]) -> None:
    """It came to an inbox later than those who wait for it began to wait: a cycle of calls may close here."""
    if invocation.status is Status.INBOXED and (invocation.subscribers or invocation.parent is not None):
        out.append(StillWaits(invocation.seq))


def start(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """Brings an attempt into memory, now or when there is room."""
    if invocation.crashes >= CRASHES_BEFORE_PAUSE:
        error = f"it was executing at {invocation.crashes} unclean exits of the process in a row"
        pause(state, invocation, "RT0303", error, now, out)
        return
    if state.live >= state.max_live:
        invocation.status = Status.READY
        state.ready.append(invocation.seq)
        put(invocation, now, out)
        out.append(Pressure())
        return
    state.live += 1
    invocation.live = True
    invocation.wait = None
    key = state_key(invocation.target)
    missing_state = key is not None and _use(state, key, invocation).state is None
    if invocation.journal is None or missing_state:
        out.append(Load(invocation.seq, invocation.journal is None, key if missing_state else None))
        return
    begin(invocation, now, out)


def _use(state: State, key: LaneKey, invocation: Invocation) -> Lane:
    """The lane of an attempt that comes into memory; a shared one keeps its state there as long."""
    lane = state.lanes.get(key)
    if lane is None:
        lane = state.lanes[key] = Lane()
    if invocation.target.shared:
        lane.readers += 1
    return lane


def _stop_reading(state: State, invocation: Invocation) -> None:
    key = state_key(invocation.target)
    if key is not None and invocation.target.shared:
        lane = state.lanes[key]
        lane.readers -= 1
        if not lane.holder and not lane.readers:
            del state.lanes[key]


def begin(invocation: Invocation, now: int, out: list[Effect]) -> None:
    """The attempt starts; everything that it needs is in memory."""
    invocation.token += 1
    invocation.status = Status.RUNNING
    if not invocation.started_ms:
        invocation.started_ms = now
    put(invocation, now, out)
    out.append(StartAttempt(invocation))


def append_command(invocation: Invocation, command: Command, out: list[Effect]) -> None:
    """The next command of the journal."""
    out.append(PutCommand(invocation.seq, invocation.command_count, command))
    invocation.command_count += 1
    invocation.version += 1
    if invocation.journal is not None:
        invocation.journal.commands.append(command)


def notify(state: State, invocation: Invocation, notification: Notification, now: int, out: list[Effect]) -> None:
    """The next notification of the journal; a handler that waits for it goes on."""
    index = invocation.notification_count
    out.append(PutNotification(invocation.seq, index, notification))
    invocation.notification_count = index + 1
    invocation.version += 1
    ref = notification.ref
    journal = invocation.journal
    if journal is not None:
        journal.notifications.append(notification)
        # The first one counts: an awakeable can be settled from two sides at once.
        journal.arrivals.setdefault(ref, (index, notification.outcome))
        if ref == CANCEL:
            journal.cancels.append(index)
    if invocation.live:
        out.append(Deliver(invocation.seq, ref))
    elif invocation.status is Status.SUSPENDED:
        if ref == CANCEL or invocation.wait is None or settle(invocation.wait, ref, isinstance(notification.outcome, Failure)):
            start(state, invocation, now, out)
        else:
            out.append(StillWaits(invocation.seq))


def complete(state: State, invocation: Invocation, outcome: Outcome, now: int, out: list[Effect], at: str = "") -> None:
    """The end: result to whoever waits, turn to the next in the inbox."""
    append_command(invocation, Output(outcome, at), out)
    was_live = invocation.live
    scheduled = invocation.status is Status.SCHEDULED
    invocation.live = False
    if was_live:
        _stop_reading(state, invocation)
    invocation.status = Status.COMPLETED
    invocation.completed_ms = now
    invocation.outcome_failure = outcome if isinstance(outcome, Failure) else None
    put(invocation, now, out)
    if invocation.timers or invocation.actions or invocation.subscribers or invocation.promises:
        out.append(ForgetRows(invocation.seq))
    del state.invocations[invocation.seq]
    del state.by_id[invocation.id]
    if scheduled or invocation.timers:
        state.forget_timers(scheduled + invocation.timers)
    if invocation.promises:
        state.forget_promise_waiter(invocation)
    if invocation.parent is not None:
        _answer(state, invocation, invocation.parent, outcome, now, out)
    for subscriber in invocation.subscribers:
        _answer(state, invocation, subscriber, outcome, now, out)
    for waiter in invocation.waiters:
        out.append(Reply(waiter, outcome))
    key = lane_key(invocation.target)
    if key is not None:
        _release(state, key, invocation.seq, now, out)
    if was_live:
        _room(state, now, out)


def _answer(state: State, callee: Invocation, caller: tuple[int, int], outcome: Outcome, now: int, out: list[Effect]) -> None:
    seq, completion_id = caller
    invocation = state.invocations.get(seq)
    if invocation is not None:
        invocation.children.pop(completion_id, None)
        notify(state, invocation, Completion(completion_id, outcome), now, out)


def _release(state: State, key: LaneKey, seq: int, now: int, out: list[Effect]) -> None:
    lane = state.lanes.get(key)
    if lane is None or lane.holder != seq:
        return  # killed before its turn: in the inbox it is passed over when that comes
    while lane.inbox:
        following = state.invocations.get(lane.inbox.popleft())
        if following is not None:
            lane.holder = following.seq
            start(state, following, now, out)
            return
    lane.holder = 0
    if not lane.readers:
        del state.lanes[key]


def leave_memory(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """The attempt in memory is over, the invocation is not; the caller says what it is now."""
    if invocation.live:
        invocation.live = False
        _stop_reading(state, invocation)
        _room(state, now, out)


def _room(state: State, now: int, out: list[Effect]) -> None:
    state.live -= 1
    _admit_ready(state, now, out)


def _admit_ready(state: State, now: int, out: list[Effect]) -> None:
    while state.ready and state.live < state.max_live:
        invocation = state.invocations.get(state.ready.popleft())
        if invocation is not None and invocation.status is Status.READY:
            start(state, invocation, now, out)


def readdress(state: State, invocation: Invocation, event: Readdress, now: int, out: list[Effect]) -> None:
    """It goes to the inbox of another key, before anything of it has run."""
    before = lane_key(invocation.target)
    leave_memory(state, invocation, now, out)
    target = invocation.target
    invocation.target = Target(target.service, target.method, event.key, target.shared)
    invocation.idempotency_key = event.idempotency_key
    out.append(PutKey(invocation.seq, event.key, event.idempotency_key))
    if event.request_digest is not None:
        out.append(PutIdempotency(invocation, event.request_digest))
    enter(state, invocation, now, out)
    waits_for_turn(invocation, out)
    if before is not None:
        _release(state, before, invocation.seq, now, out)


def pause(state: State, invocation: Invocation, fault: str, error: str, now: int, out: list[Effect]) -> None:
    """It keeps its turn and waits for somebody to resume or kill it."""
    invocation.status = Status.PAUSED
    invocation.fault = fault
    invocation.failure = error
    put(invocation, now, out)
    if fault:
        out.append(Paused(invocation))
    leave_memory(state, invocation, now, out)


def again(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """The next attempt of one that backs off."""
    invocation.attempt += 1
    invocation.fault = ""
    start(state, invocation, now, out)


def put(invocation: Invocation, now: int, out: list[Effect]) -> None:
    invocation.modified_ms = now
    invocation.version += 1
    out.append(PutInvocation(invocation))
