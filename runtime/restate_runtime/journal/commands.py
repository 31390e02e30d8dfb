"""What follows when a handler asks for something new."""

from __future__ import annotations

import msgspec

from ..serde import Value
from .effects import ClearStates, Effect, PutState, PutSubscriber, PutTimer
from .entries import (
    VOID,
    Attach,
    Call,
    ClearAllState,
    ClearState,
    CompleteAwakeable,
    CompletePromise,
    Completion,
    GetInvocationOutput,
    GetLazyState,
    GetLazyStateKeys,
    GetPromise,
    GetState,
    GetStateKeys,
    Input,
    OneWayCall,
    Outcome,
    Output,
    PeekPromise,
    Run,
    SendSignal,
    SetState,
    Signal,
    Sleep,
    Success,
)
from .events import Existing, Issue
from .interventions import cancel, gives_up, share
from .lifecycle import NOTHING, append_command, complete, create, lane_key, notify, state_key
from .model import Invocation, LaneKey, State, TimerKind
from .promises import complete_promise, get_promise

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
        case Sleep() if command.due_ms <= now:
            # A function of AWS Lambda says what it asked when it has ended: what was due meanwhile comes before what follows.
            _answer(state, invocation, command.completion_id, NOTHING, now, out)
        case Sleep():
            invocation.timers += 1
            state.add_timer(command.due_ms, TimerKind.SLEEP, invocation.seq, command.completion_id)
            out.append(PutTimer(invocation.seq, command.completion_id, command.due_ms))
        case GetLazyState():
            value = _read_state(state, invocation).get(command.name)
            _answer(state, invocation, command.completion_id, VOID if value is None else Success(value), now, out)
        case GetLazyStateKeys():
            names = Value("json", msgspec.json.encode(sorted(_read_state(state, invocation))))
            _answer(state, invocation, command.completion_id, Success(names), now, out)
        case GetPromise():
            get_promise(state, invocation, command, event.existing, now, out)
        case PeekPromise():
            peeked = None if event.existing is None else event.existing.outcome
            _answer(state, invocation, command.completion_id, peeked or VOID, now, out)
        case CompletePromise():
            complete_promise(state, invocation, command, event.existing, now, out)
        case Call():
            _answer_id(state, invocation, command, now, out)
            if event.existing is not None:
                _subscribe(state, invocation, command.completion_id, event.existing, now, out)
            else:
                callee = _create(state, event, command, command.completion_id, now, out)
                if callee.seq in state.invocations:
                    invocation.children[command.completion_id] = callee.seq
        case OneWayCall():
            _answer_id(state, invocation, command, now, out)
            if event.existing is None:
                _create(state, event, command, None, now, out)
            elif event.existing.outcome is None:
                share(state.invocations[event.existing.seq], now, out)
        case Attach():
            if event.existing is not None:
                _subscribe(state, invocation, command.completion_id, event.existing, now, out)
        case GetInvocationOutput():
            output = None if event.existing is None else event.existing.outcome
            _answer(state, invocation, command.completion_id, output or VOID, now, out)
        case CompleteAwakeable():
            owner = state.find(command.invocation)
            if owner is not None:
                notify(state, owner, Signal(command.index, command.outcome), now, out)
        case SendSignal(index=1, name=""):
            owner = state.find(command.invocation)
            if owner is not None and (not command.awaited or gives_up(state, owner, invocation)):
                cancel(state, owner, now, out)
        case SendSignal():
            owner = state.find(command.invocation)
            if owner is not None:
                notify(state, owner, Signal(command.index, command.outcome, command.name), now, out)
        case Input():
            raise AssertionError("the input is recorded at admission")


def _lane_state(state: State, invocation: Invocation) -> tuple[LaneKey, dict[str, Value]]:
    key = lane_key(invocation.target)
    values = None if key is None else state.lanes[key].state
    if key is None or values is None:
        raise AssertionError("state of an invocation without a key, or out of memory")
    return key, values


def _read_state(state: State, invocation: Invocation) -> dict[str, Value]:
    key = state_key(invocation.target)
    return (None if key is None else state.lanes[key].state) or {}


def _answer(state: State, invocation: Invocation, completion_id: int, outcome: Outcome, now: int, out: list[Effect]) -> None:
    notify(state, invocation, Completion(completion_id, outcome), now, out)


def _answer_id(state: State, invocation: Invocation, command: Call | OneWayCall, now: int, out: list[Effect]) -> None:
    """The id of the callee is known as soon as the call is recorded; an in-process handler does not ask."""
    if command.id_completion_id:
        _answer(state, invocation, command.id_completion_id, Success(Value("", command.callee)), now, out)


def _create(state: State, event: Issue, command: Call | OneWayCall, awaited: int | None, now: int, out: list[Effect]) -> Invocation:
    return create(
        state,
        out,
        now,
        id=command.callee,
        target=command.target,
        payload=command.payload if event.payload is None else event.payload,
        headers=command.headers,
        due_ms=command.due_ms if isinstance(command, OneWayCall) else 0,
        invoker=event.seq,
        parent=None if awaited is None else (event.seq, awaited),
        idempotency_key=command.idempotency_key if event.idempotency_key is None else event.idempotency_key,
        request_digest=event.request_digest,
        retention_ms=event.retention_ms,
        refusal=event.refusal,
    )


def _subscribe(state: State, invocation: Invocation, completion_id: int, existing: Existing, now: int, out: list[Effect]) -> None:
    if existing.outcome is not None:
        notify(state, invocation, Completion(completion_id, existing.outcome), now, out)
        return
    callee = state.invocations[existing.seq]
    callee.subscribers.append((invocation.seq, completion_id))
    invocation.children[completion_id] = callee.seq
    out.append(PutSubscriber(callee.seq, invocation.seq, completion_id))
