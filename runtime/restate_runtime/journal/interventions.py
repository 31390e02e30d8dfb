"""What others do to an invocation: cancel, kill, pause; and a call that is refused while its caller waits for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..errors import Code
from .effects import Abandon, DropSubscriber, Effect, PutSubscriber
from .entries import CANCEL_INDEX, CANCELLED, Completion, Failure, Signal
from .events import RefuseCall
from .lifecycle import again, complete, notify, pause, put, start
from .model import Invocation, State, Status

__all__ = ["cancel", "gives_up", "kill", "never_reached", "pause_requested", "refuse_call", "share"]


def cancel(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """The end for one that has not begun; for others a notification, which their current or next await raises."""
    if _is_new(invocation):
        complete(state, invocation, CANCELLED, now, out)
        return
    if not invocation.cancelling:
        invocation.cancelling = True
        put(invocation, now, out)
        notify(state, invocation, Signal(CANCEL_INDEX, CANCELLED), now, out)
    match invocation.status:
        case Status.BACKING_OFF:
            again(state, invocation, now, out)  # else it would see it late
        case Status.PAUSED:  # as Restate does it; what made it pause does so again
            invocation.fault = ""
            start(state, invocation, now, out)
        case _:
            pass


def _is_new(invocation: Invocation) -> bool:
    match invocation.status:
        case Status.SCHEDULED | Status.INBOXED:
            return True
        case Status.READY:
            return not invocation.started_ms
        case Status.BACKING_OFF:
            return never_reached(invocation)
        case _:
            return False


def never_reached(invocation: Invocation) -> bool:
    """Whether no attempt of one that is between two of them came to its handler."""
    return not (invocation.attempt or invocation.begun or invocation.protocol) and invocation.command_count == 1


def gives_up(state: State, callee: Invocation, caller: Invocation) -> bool:
    """The caller's await of a call was cancelled; whether the call is cancelled with it.

    The caller may still await the call once more, so it stays among those that are told of the result. What nobody else waits for goes
    along, and so does what two callers share who are cancelled one after the other.
    """
    callee.given_up |= {place for place in _waiting(callee) if place[0] == caller.seq}
    return not others_wait(state, callee, caller)


def others_wait(state: State, callee: Invocation, caller: Invocation) -> bool:
    """Whether a call does not depend on this caller alone: others wait for it, or it was begun in the background or from outside."""
    return _is_free(callee) or any(seq != caller.seq for seq, _ in _depends_on(state, callee))


def _is_free(callee: Invocation) -> bool:
    return callee.parent is None or bool(callee.waiters)


def _depends_on(state: State, callee: Invocation) -> Iterator[tuple[int, int]]:
    """Those for whom it runs: whose await was not cancelled."""
    return (place for place in _waiting(callee) if place[0] in state.invocations and place not in callee.given_up)


def _waiting(callee: Invocation) -> list[tuple[int, int]]:
    return callee.subscribers if callee.parent is None else [callee.parent, *callee.subscribers]


def share(callee: Invocation, now: int, out: list[Effect]) -> None:
    """The same call was made in the background or from outside: its caller is one of those who wait for it, and no more than that."""
    if callee.parent is None:
        return
    place, callee.parent = callee.parent, None
    callee.subscribers.append(place)
    out.append(PutSubscriber(callee.seq, *place))
    put(callee, now, out)


def kill(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """The end for it and the awaited calls below it, leaves first; for those that others wait for as well it is not."""
    condemned = [invocation]
    known = {invocation.seq}
    left: dict[int, int] = {}  # for how many others a call runs: it is looked at once, and counted down, whoever shares it
    for one in condemned:  # grows while it is walked: the calls below those that are in it
        for completion_id, seq in one.children.items():
            child = state.invocations.get(seq)
            if child is None or seq in known or _is_free(child):
                continue
            if seq not in left:
                left[seq] = sum(1 for _ in _depends_on(state, child))
            left[seq] -= (one.seq, completion_id) not in child.given_up
            if left[seq] <= 0 and _is_below(child, known):
                known.add(seq)
                condemned.append(child)
    for one in reversed(condemned):
        if one is not invocation:
            _forget_callers(one, out)
        if one.live:
            out.append(Abandon(one.seq))
        complete(state, one, Failure(Code.ABORTED.value, "killed"), now, out)


def _is_below(callee: Invocation, callers: Collection[int]) -> bool:
    """Whether it is a call of theirs, or shared by one; else they only attached to it."""
    return callee.idempotency_key is not None or (callee.parent is not None and callee.parent[0] in callers)


def _forget_callers(callee: Invocation, out: list[Effect]) -> None:
    """Nobody is told who is about to end as well."""
    callee.parent = None
    out.extend(DropSubscriber(callee.seq, *place) for place in callee.subscribers)
    callee.subscribers = []


def pause_requested(state: State, invocation: Invocation, now: int, out: list[Effect]) -> None:
    """It leaves memory and keeps its turn; nothing happens to one that has not begun, or is paused."""
    match invocation.status:
        case Status.RUNNING:
            invocation.begun = True
            out.append(Abandon(invocation.seq))
        case Status.BACKING_OFF:
            invocation.attempt += 1  # the one that failed is over
        case Status.READY | Status.SUSPENDED:
            pass
        case _:
            return
    invocation.wait = None
    pause(state, invocation, "", "paused by request", now, out)


def refuse_call(state: State, event: RefuseCall, now: int, out: list[Effect]) -> None:
    """The caller goes on with a failure. A call that has not begun ends with it, unless others wait for it as well."""
    caller = state.invocations.get(event.caller)
    callee = state.invocations.get(event.callee)
    if caller is None or callee is None or caller.children.get(event.completion_id) != event.callee:
        return
    place = (event.caller, event.completion_id)
    if callee.parent == place and callee.status is Status.INBOXED and not others_wait(state, callee, caller):
        complete(state, callee, event.failure, now, out)
        return
    del caller.children[event.completion_id]
    if callee.parent == place:
        callee.parent = None
        put(callee, now, out)
    else:
        callee.subscribers.remove(place)
        out.append(DropSubscriber(callee.seq, *place))
    notify(state, caller, Completion(event.completion_id, event.failure), now, out)
