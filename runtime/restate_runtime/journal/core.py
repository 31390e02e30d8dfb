"""The engine's side of the journal: `step(state, event, now) -> effects`.

The state may change in place; nothing else does. Time comes in as `now`, in milliseconds since 1970, ids come in with events. All
invocations share one state, and every event is one transition: its records belong in one commit.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from ..errors import Code
from ..retry import OnExhausted
from .commands import issue
from .effects import DropAction, DropTimer, Effect, ForgetKey, Purge, PutAction, StartAction
from .entries import CANCEL, CANCELLED, Completion, Failure, Signal
from .events import (
    ActionEnded,
    ActionFailed,
    ActionWanted,
    Admit,
    AttachWaiter,
    AttemptFailed,
    Cancel,
    CancelTaken,
    DetachWaiter,
    Event,
    Evict,
    Forget,
    HandlerMissing,
    Issue,
    Kill,
    Loaded,
    Pause,
    PauseRequested,
    Pin,
    Readdress,
    Recover,
    RefuseCall,
    Resume,
    ServicesChanged,
    Settle,
    Share,
    Suspend,
    Tick,
)
from .interventions import cancel, kill, never_reached, pause_requested, refuse_call, share
from .lifecycle import (
    MISSING,
    NOTHING,
    again,
    begin,
    complete,
    create,
    enter,
    leave_memory,
    notify,
    pause,
    put,
    readdress,
    start,
    state_key,
    waits_for_turn,
)
from .model import PARKED, Action, Invocation, Journal, State, Status, TimerKind
from .recovery import recover
from .waits import settle

__all__ = ["step"]


def step(state: State, event: Event, now: int) -> list[Effect]:
    """One transition.

    Args:
        state: changed in place.
        event: what happened. Events of an attempt that is over, or of an invocation that is completed, change nothing.
        now: milliseconds since 1970.
    """
    out: list[Effect] = []
    match event:
        case Issue():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                issue(state, event, invocation, now, out)
        case Admit():
            create(
                state,
                out,
                now,
                id=event.id,
                target=event.target,
                payload=event.payload,
                headers=event.headers,
                due_ms=event.due_ms,
                waiter=event.waiter,
                idempotency_key=event.idempotency_key,
                request_digest=event.request_digest,
                retention_ms=event.retention_ms,
            )
        case Loaded():
            _loaded(state, event, now, out)
        case ActionWanted():
            _action_wanted(state, event, now, out)
        case ActionEnded():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                _end_action(invocation, event.completion_id, out)
                notify(state, invocation, Completion(event.completion_id, event.outcome), now, out)
        case ActionFailed():
            _action_failed(state, event, now, out)
        case AttemptFailed():
            _attempt_failed(state, event, now, out)
        case Suspend():
            _suspend(state, event, now, out)
        case Evict():
            _evict(state, event)
        case Tick():
            _tick(state, now, out)
        case AttachWaiter():
            state.invocations[event.seq].waiters.append(event.waiter)
        case DetachWaiter():
            waited = state.find(event.id)
            if waited is not None and event.waiter in waited.waiters:
                waited.waiters.remove(event.waiter)
        case Share():
            share(state.invocations[event.seq], now, out)
        case Settle():
            notify(state, state.invocations[event.seq], Signal(event.index, event.outcome), now, out)
        case Pause():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                pause(state, invocation, event.fault, event.error, now, out)
        case Pin():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                invocation.deployment = event.deployment
                invocation.protocol = event.protocol
                put(invocation, now, out)
        case HandlerMissing():
            _handler_missing(state, event, now, out)
        case Readdress():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                readdress(state, invocation, event, now, out)
        case Forget():
            _forget(state, event, out)
        case Cancel():
            cancel(state, state.invocations[event.seq], now, out)
        case CancelTaken():
            invocation = _current(state, event.seq, event.token)
            if invocation is not None:
                invocation.cancelling = False
                put(invocation, now, out)  # after a crash, too, another one counts
        case Kill():
            kill(state, state.invocations[event.seq], now, out)
        case PauseRequested():
            pause_requested(state, state.invocations[event.seq], now, out)
        case RefuseCall():
            refuse_call(state, event, now, out)
        case ServicesChanged():
            for waiting in list(state.invocations.values()):
                if waiting.status is Status.BACKING_OFF and waiting.fault == MISSING:
                    again(state, waiting, now, out)
        case Resume():
            _resume(state, state.invocations[event.seq], now, out)
        case Recover():
            recover(state, event, now, out)
    return out


def _current(state: State, seq: int, token: int) -> Invocation | None:
    invocation = state.invocations.get(seq)
    return invocation if invocation is not None and invocation.live and invocation.token == token else None


def _loaded(state: State, event: Loaded, now: int, out: list[Effect]) -> None:
    invocation = state.invocations.get(event.seq)
    if invocation is None:
        return  # killed since
    if event.commands is not None and event.notifications is not None:
        invocation.journal = Journal(event.commands, event.notifications)
    key = state_key(invocation.target)
    if key is not None and event.state is not None:
        lane = state.lanes.get(key)
        if lane is not None and lane.state is None:  # else somebody else's load brought it, and it may have changed since
            lane.state = event.state
    if invocation.live:
        begin(invocation, now, out)


def _evict(state: State, event: Evict) -> None:
    for seq, version in event.versions:
        invocation = state.invocations.get(seq)
        if invocation is not None and invocation.version == version and not invocation.live and invocation.status in PARKED:
            invocation.journal = None


def _forget(state: State, event: Forget, out: list[Effect]) -> None:
    for key in event.workflows:
        lane = state.lanes.get(key)
        if lane is not None and lane.state is not None:
            lane.state.clear()  # of handlers that only read
        out.append(ForgetKey(key))
    out.extend(Purge(seq) for seq in event.seqs)


def _suspend(state: State, event: Suspend, now: int, out: list[Effect]) -> None:
    invocation = _current(state, event.seq, event.token)
    if invocation is None or invocation.journal is None:
        return
    over = False
    seen = invocation.notification_count
    leaves = set(event.wait.leaves())
    for index, arrived in enumerate(islice(invocation.journal.notifications, event.told, None), event.told):
        if arrived.ref == CANCEL or (arrived.ref in leaves and settle(event.wait, arrived.ref, isinstance(arrived.outcome, Failure))):
            over = True
            seen = index  # the handler was not told of it
            break
    for completion_id, action in invocation.actions.items():
        # Its timer may have gone off already, for an execution that the suspension now comes before.
        state.add_timer(action.next_ms, TimerKind.ACTION, invocation.seq, completion_id)
    invocation.status = Status.SUSPENDED
    invocation.begun = True
    invocation.wait = event.wait
    invocation.seen = seen
    put(invocation, now, out)
    leave_memory(state, invocation, now, out)
    if over:
        start(state, invocation, now, out)
    else:
        invocation.cancelling = False  # it knew of every cancellation when it went to wait


def _attempt_failed(state: State, event: AttemptFailed, now: int, out: list[Effect]) -> None:
    invocation = _current(state, event.seq, event.token)
    if invocation is None:
        return
    invocation.failure = event.error
    invocation.seen = -1
    delay = event.delay_ms
    if event.began:
        _count_retry(invocation, now)
    else:
        invocation.attempt -= 1  # its next one is still this one
        if never_reached(invocation) and invocation.journal is not None and CANCEL in invocation.journal.arrivals:
            complete(state, invocation, CANCELLED, now, out)
            return
    if delay is None:
        invocation.failures += 1
        delay = event.policy.delay_ms(invocation.failures, now - invocation.started_ms)
    if delay is not None:
        _back_off(state, invocation, delay, now, out)
    elif event.policy.on_exhausted is OnExhausted.FAIL:
        complete(state, invocation, Failure(Code.INTERNAL.value, event.error), now, out)
    else:
        error = f"all {invocation.failures} attempts failed; the last with: {event.error}"
        pause(state, invocation, "RT0302", error, now, out)


def _back_off(state: State, invocation: Invocation, delay_ms: int, now: int, out: list[Effect]) -> None:
    invocation.status = Status.BACKING_OFF
    invocation.retry_ms = now + delay_ms
    state.add_timer(invocation.retry_ms, TimerKind.RETRY, invocation.seq)
    put(invocation, now, out)
    leave_memory(state, invocation, now, out)


def _handler_missing(state: State, event: HandlerMissing, now: int, out: list[Effect]) -> None:
    invocation = _current(state, event.seq, event.token)
    if invocation is None:
        return
    invocation.attempt -= 1  # its next one is still this one
    invocation.missing += 1
    invocation.failure = event.error
    invocation.fault = MISSING
    delay_ms = replace(event.policy, max_attempts=None, max_duration=None).delay_ms(invocation.missing, 0)
    assert delay_ms is not None
    _back_off(state, invocation, delay_ms, now, out)


def _count_retry(invocation: Invocation, now: int) -> None:
    length = invocation.command_count + invocation.notification_count
    if not invocation.retries or length != invocation.retries_length:
        invocation.retries = 0
        invocation.retries_ms = now
        invocation.retries_length = length
    invocation.retries += 1


def _action_wanted(state: State, event: ActionWanted, now: int, out: list[Effect]) -> None:
    invocation = _current(state, event.seq, event.token)
    if invocation is None:
        return
    action = invocation.actions.get(event.completion_id)
    if action is not None and action.next_ms > now:
        state.add_timer(action.next_ms, TimerKind.ACTION, event.seq, event.completion_id)
    else:
        out.append(StartAction(event.seq, event.token, event.completion_id))


def _action_failed(state: State, event: ActionFailed, now: int, out: list[Effect]) -> None:
    invocation = _current(state, event.seq, event.token)
    if invocation is None:
        return
    before = invocation.actions.get(event.completion_id)
    failures = 1 if before is None else before.failures + 1
    first_ms = event.began_ms if before is None else before.first_ms
    delay = event.policy.delay_ms(failures, now - first_ms)
    if delay is None:
        _end_action(invocation, event.completion_id, out)
        message = f"the side effect '{event.name}' failed {failures} times; the last with: {event.error}"
        notify(state, invocation, Completion(event.completion_id, Failure(Code.INTERNAL.value, message)), now, out)
        return
    action = Action(failures, first_ms, now + delay, event.error)
    invocation.actions[event.completion_id] = action
    out.append(PutAction(event.seq, event.completion_id, action))
    invocation.version += 1
    state.add_timer(action.next_ms, TimerKind.ACTION, event.seq, event.completion_id)


def _end_action(invocation: Invocation, completion_id: int, out: list[Effect]) -> None:
    if invocation.actions.pop(completion_id, None) is not None:
        out.append(DropAction(invocation.seq, completion_id))


def _tick(state: State, now: int, out: list[Effect]) -> None:
    for due_ms, seq, kind, completion_id in state.due(now):
        invocation = state.invocations.get(seq)
        if invocation is None:
            continue
        match kind:
            case TimerKind.START if invocation.status is Status.SCHEDULED:
                enter(state, invocation, now, out)
                waits_for_turn(invocation, out)
            case TimerKind.SLEEP:
                invocation.timers -= 1
                out.append(DropTimer(seq, completion_id))
                notify(state, invocation, Completion(completion_id, NOTHING), now, out)
            case TimerKind.RETRY if invocation.status is Status.BACKING_OFF and invocation.retry_ms == due_ms and not invocation.live:
                again(state, invocation, now, out)
            case TimerKind.ACTION:
                _action_due(state, invocation, completion_id, now, out)
            case _:
                pass  # stale: it was resumed or killed since


def _action_due(state: State, invocation: Invocation, completion_id: int, now: int, out: list[Effect]) -> None:
    action = invocation.actions.get(completion_id)
    if action is None or action.next_ms > now:
        return
    if invocation.live:
        out.append(StartAction(invocation.seq, invocation.token, completion_id))
    elif invocation.status is Status.SUSPENDED:
        start(state, invocation, now, out)


def _resume(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    invocation.failures = 0
    invocation.crashes = 0
    if invocation.status is Status.BACKING_OFF:
        again(state, invocation, now, out)
        return
    invocation.fault = ""
    start(state, invocation, now, out)
