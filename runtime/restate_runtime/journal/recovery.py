"""A start: what was durable becomes the core's state, and goes on."""

from __future__ import annotations

from .effects import Effect
from .events import Recover
from .lifecycle import MISSING, again, lane_key, put, start
from .model import Invocation, Lane, State, Status, TimerKind

__all__ = ["recover"]


def recover(state: State, event: Recover, now: int, out: list[Effect]) -> None:
    """Takes in every invocation that is not completed and starts those that can go on."""
    state.next_seq = event.next_seq
    state.next_admission = event.next_admission
    for invocation in event.invocations:
        state.invocations[invocation.seq] = invocation
        state.by_id[invocation.id] = invocation.seq
    for invocation in event.invocations:
        if invocation.parent is not None:
            parent = state.invocations.get(invocation.parent[0])
            if parent is not None:
                parent.children[invocation.parent[1]] = invocation.seq
    for due_ms, seq, kind, completion_id in event.timers:
        state.add_timer(due_ms, kind, seq, completion_id)
        state.invocations[seq].timers += 1
    for seq, completion_id, action in event.actions:
        state.invocations[seq].actions[completion_id] = action
        state.add_timer(action.next_ms, TimerKind.ACTION, seq, completion_id)
    for seq, parent_seq, completion_id in event.subscribers:
        state.invocations[seq].subscribers.append((parent_seq, completion_id))
        attached = state.invocations.get(parent_seq)
        if attached is not None:
            attached.children[completion_id] = seq
    for lane, name, seq, completion_id in event.promise_waiters:
        state.add_promise_waiter(lane, name, state.invocations[seq], completion_id)
    in_order = sorted(event.invocations, key=lambda invocation: invocation.admission)
    _fill_lanes(state, in_order)
    for invocation in in_order:
        if event.unclean:
            _count_crash(state, invocation, event.executing, now, out)
    for invocation in in_order:
        _go_on(state, invocation, now, out)


def _fill_lanes(state: State, in_order: list[Invocation]) -> None:
    for invocation in in_order:
        key = lane_key(invocation.target)
        if key is None or invocation.status is Status.SCHEDULED:
            continue
        lane = state.lanes.get(key)
        if lane is None:
            lane = state.lanes[key] = Lane()
        if invocation.status is Status.INBOXED:
            lane.inbox.append(invocation.seq)
        else:
            lane.holder = invocation.seq


def _count_crash(state: State, invocation: Invocation, executing: frozenset[bytes], now: int, out: list[Effect]) -> None:
    # Whatever its row says: a handler that dies at once takes the record of its start along. `start` pauses it at the third.
    if invocation.id in executing:
        invocation.crashes += 1
        put(invocation, now, out)
    elif invocation.crashes:
        invocation.crashes = 0
        put(invocation, now, out)


def _go_on(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    match invocation.status:
        case Status.RUNNING:
            invocation.begun = True  # as far as anybody knows
            start(state, invocation, now, out)
        case Status.READY:
            start(state, invocation, now, out)
        case Status.SUSPENDED if invocation.wait is None:
            start(state, invocation, now, out)
        case Status.SCHEDULED:
            state.add_timer(invocation.due_ms, TimerKind.START, invocation.seq)
        case Status.BACKING_OFF if invocation.fault == MISSING:
            again(state, invocation, now, out)  # it may be hosted now
        case Status.BACKING_OFF:
            state.add_timer(invocation.retry_ms, TimerKind.RETRY, invocation.seq)
        case Status.SUSPENDED | Status.INBOXED | Status.PAUSED | Status.COMPLETED:
            pass
