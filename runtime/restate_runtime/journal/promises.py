"""Named promises of a key: settled once, waited for by any number of its invocations."""

from __future__ import annotations

from ..errors import Code
from .effects import Effect, PutPromise, PutPromiseWaiter
from .entries import VOID, CompletePromise, Completion, Failure, GetPromise
from .events import Existing
from .lifecycle import notify, state_key
from .model import Invocation, LaneKey, State

__all__ = ["complete_promise", "get_promise"]


def _lane(invocation: Invocation) -> LaneKey:
    key = state_key(invocation.target)
    if key is None:
        raise AssertionError("a promise of an invocation without a key")
    return key


def get_promise(state: State, invocation: Invocation, command: GetPromise, known: Existing | None, now: int, out: list[Effect]) -> None:
    """Answers with the promise's outcome, now or once it is settled."""
    if known is not None and known.outcome is not None:
        notify(state, invocation, Completion(command.completion_id, known.outcome), now, out)
        return
    lane = _lane(invocation)
    state.add_promise_waiter(lane, command.name, invocation, command.completion_id)
    out.append(PutPromiseWaiter(lane, command.name, invocation.seq, command.completion_id))


def complete_promise(
    state: State, invocation: Invocation, command: CompletePromise, known: Existing | None, now: int, out: list[Effect]
) -> None:
    """Settles the promise, unless it is; everybody who waits for it goes on."""
    lane = _lane(invocation)
    if known is not None and known.outcome is not None:
        failure = Failure(Code.ALREADY_EXISTS.value, f"the promise '{command.name}' was settled before")
        notify(state, invocation, Completion(command.completion_id, failure), now, out)
        return
    out.append(PutPromise(lane, command.name, command.outcome))
    for waiting, completion_id in state.take_promise_waiters(lane, command.name):
        notify(state, waiting, Completion(completion_id, command.outcome), now, out)
    notify(state, invocation, Completion(command.completion_id, VOID), now, out)
