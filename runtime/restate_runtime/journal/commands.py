"""What follows when a handler asks for something new."""

from __future__ import annotations

from ..serde import Value
from .effects import ClearStates, Effect, PutState, PutSubscriber, PutTimer
from .entries import (
    Attach,
    Call,
    ClearAllState,
    ClearState,
    CompleteAwakeable,
    Completion,
    GetState,
    GetStateKeys,
    Input,
    OneWayCall,
    Output,
    Run,
    SetState,
    Signal,
    Sleep,
)
from .events import Existing, Issue
from .lifecycle import append_command, complete, create, lane_key, notify
from .model import Invocation, LaneKey, State, TimerKind

__all__ = ["issue"]


def issue(state: State, event: Issue, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """Records the command and lets it take effect, in one step."""
    command = event.command
    if isinstance(command, Output):
        complete(state, invocation, command.outcome, now, out, command.at)
        return
    append_command(invocation, command, out)
    match command:
        case GetState() | GetStateKeys() | Run():
            pass  # read from what is in memory; a side effect begins with ActionWanted
        case SetState():
            lane, values = _lane_state(state, invocation)
            values[command.name] = command.value
            out.append(PutState(lane, command.name, command.value))
        case ClearState():
            lane, values = _lane_state(state, invocation)
            if values.pop(command.name, None) is not None:
                out.append(PutState(lane, command.name, None))
        case ClearAllState():
            lane, values = _lane_state(state, invocation)
            values.clear()
            out.append(ClearStates(lane))
        case Sleep():
            invocation.timers += 1
            state.add_timer(command.due_ms, TimerKind.SLEEP, invocation.seq, command.completion_id)
            out.append(PutTimer(invocation.seq, command.completion_id, command.due_ms))
        case Call():
            if event.existing is not None:
                _subscribe(state, invocation, command.completion_id, event.existing, now, out)
            else:
                callee = _create(state, event, command, command.completion_id, now, out)
                if callee.seq in state.invocations:
                    invocation.children.add(callee.seq)
        case OneWayCall():
            if event.existing is None:
                _create(state, event, command, None, now, out)
        case Attach():
            if event.existing is not None:
                _subscribe(state, invocation, command.completion_id, event.existing, now, out)
        case CompleteAwakeable():
            owner = state.find(command.invocation)
            if owner is not None:
                notify(state, owner, Signal(command.index, command.outcome), now, out)
        case Input():
            raise AssertionError("the input is recorded at admission")


def _lane_state(state: State, invocation: Invocation) -> tuple[LaneKey, dict[str, Value]]:
    key = lane_key(invocation.target)
    values = None if key is None else state.lanes[key].state
    if key is None or values is None:
        raise AssertionError("state of an invocation without a key, or out of memory")
    return key, values


def _create(state: State, event: Issue, command: Call | OneWayCall, awaited: int | None, now: int, out: list[Effect]) -> Invocation:
    return create(
        state,
        out,
        now,
        id=command.callee,
        target=command.target,
        payload=command.payload,
        headers=command.headers,
        due_ms=command.due_ms if isinstance(command, OneWayCall) else 0,
        invoker=event.seq,
        parent=None if awaited is None else (event.seq, awaited),
        idempotency_key=command.idempotency_key,
        request_digest=event.request_digest,
        retention_ms=event.retention_ms,
    )


def _subscribe(state: State, invocation: Invocation, completion_id: int, existing: Existing, now: int, out: list[Effect]) -> None:
    if existing.outcome is not None:
        notify(state, invocation, Completion(completion_id, existing.outcome), now, out)
        return
    callee = state.invocations[existing.seq]
    callee.subscribers.append((invocation.seq, completion_id))
    out.append(PutSubscriber(callee.seq, invocation.seq, completion_id))
