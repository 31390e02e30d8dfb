"""Cycles of awaited calls in which nothing but the cycle itself can make progress.

An invocation that waits depends on the calls that it waits for, and one in an inbox on who holds its key. As long as one of those that it
depends on can go on by itself (it executes, it is due, it tries again, a timer or an awakeable ends its wait, somebody can resume it),
it can too: a result, or a failure, comes along. Where none can, each waits for the next for ever.

Nothing is kept for this: the question is asked where somebody begins to wait, and only if others wait behind it (`may_close`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..identifiers import invocation_id
from .entries import CANCEL, Ref, Sleep
from .lifecycle import lane_key
from .model import Invocation, State, Status
from .waits import Wait, decode_wait, encode_wait, settle

__all__ = ["Deadlock", "find_deadlock", "may_close"]

WaitOf = Callable[[int], Wait | None]
"""What an attempt in memory waits for, by its invocation's number; `None` where it executes."""


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A cycle, and the call that closed it.

    Attributes:
        caller, completion_id: who waits for the closing call, and where.
        callee: what it called, or attached to.
        message: the cycle, for people.
    """

    caller: int
    completion_id: int
    callee: int
    message: str


@dataclass(frozen=True, slots=True)
class _Edge:
    """One waits for another: for its result, or (without a completion id) for its turn."""

    waiting: Invocation
    other: Invocation
    completion_id: int


def may_close(state: State, invocation: Invocation) -> bool:
    """Whether a cycle can close where this invocation begins to wait: somebody waits for its turn behind it, or behind one that waits for
    it, or is attached to one of them."""
    following: Invocation | None = invocation
    while following is not None:
        if following.subscribers:
            return True
        key = lane_key(following.target)
        if key is not None:
            lane = state.lanes.get(key)
            if lane is not None and lane.inbox and lane.holder == following.seq:
                return True
        following = None if following.parent is None else state.invocations.get(following.parent[0])
    return False


def find_deadlock(state: State, invocation: Invocation, wait_of: WaitOf) -> Deadlock | None:
    """The cycle that this invocation's wait closes; `None` where something can go on.

    Args:
        invocation: it waits.
        wait_of: what those in memory wait for.
    """
    stuck: dict[int, _Edge] = {}
    reached = {invocation.seq}
    open_: deque[Invocation] = deque([invocation])
    while open_:
        one = open_.popleft()
        edges = _depends_on(state, one, wait_of)
        if edges is None:
            return None
        for edge in edges:
            stuck.setdefault(one.seq, edge)
            if edge.other.seq not in reached:
                reached.add(edge.other.seq)
                open_.append(edge.other)
        if one.seq not in stuck:
            return None
    return _describe(_cycle(stuck, invocation.seq))


def _depends_on(state: State, one: Invocation, wait_of: WaitOf) -> Iterator[_Edge] | None:
    """Whom it waits for; `None` where it can go on without them."""
    match one.status:
        case Status.INBOXED:
            key = lane_key(one.target)
            lane = None if key is None else state.lanes.get(key)
            holder = None if lane is None else state.invocations.get(lane.holder)
            return None if holder is None else iter((_Edge(one, holder, 0),))
        case Status.SUSPENDED:
            wait = one.wait
        case Status.RUNNING:
            wait = wait_of(one.seq)
        case _:
            return None
    if wait is None or _ends_by_itself(one, wait):
        return None
    return _calls(state, one, wait)


def _calls(state: State, one: Invocation, wait: Wait) -> Iterator[_Edge]:
    for ref in wait.leaves():
        callee = state.invocations.get(one.children.get(ref, 0)) if isinstance(ref, int) else None
        if callee is not None and isinstance(ref, int):
            yield _Edge(one, callee, ref)


def _ends_by_itself(one: Invocation, wait: Wait) -> bool:
    """Whether something other than a call can end the wait. All but a timer can fail, and a failure ends most waits."""
    others = {ref for ref in wait.leaves() if ref not in one.children and ref != CANCEL}
    if not others:
        return False
    timers = set() if one.journal is None else {command.completion_id for command in one.journal.commands if isinstance(command, Sleep)}
    return not others <= timers or _over_with(wait, others)


def _over_with(wait: Wait, refs: set[Ref]) -> bool:
    """Whether the wait is over when these results have come, each a success."""
    rest = decode_wait(encode_wait(wait))
    return any(settle(rest, ref, False) for ref in refs)


def _cycle(stuck: dict[int, _Edge], start: int) -> list[_Edge]:
    """The cycle that those who wait run into."""
    path: list[_Edge] = []
    position: dict[int, int] = {}
    seq = start
    while seq not in position:
        position[seq] = len(path)
        path.append(stuck[seq])
        seq = stuck[seq].other.seq
    return path[position[seq] :]


def _describe(cycle: list[_Edge]) -> Deadlock:
    calls = [number for number, edge in enumerate(cycle) if edge.completion_id]
    # The call that came last; in a cycle without a key it is one that attached, as a call alone leads to what is new.
    inboxed = [number for number in calls if cycle[number].other.status is Status.INBOXED]
    attached = [number for number in calls if not _made_by(cycle[number])]
    last = max(inboxed or attached or calls, key=lambda number: cycle[number].other.seq)
    edge = cycle[last]
    steps = ", which ".join(_step(following) for following in [*cycle[last:], *cycle[:last]])
    message = f"this call closes a cycle in which each waits for the next, and none can go on: {_name(edge.waiting)} {steps}"
    return Deadlock(edge.waiting.seq, edge.completion_id, edge.other.seq, message)


def _made_by(edge: _Edge) -> bool:
    return edge.other.parent == (edge.waiting.seq, edge.completion_id)


def _step(edge: _Edge) -> str:
    return f"waits for {_name(edge.other)}" if edge.completion_id else f"waits for its turn behind {_name(edge.other)}"


def _name(invocation: Invocation) -> str:
    return f"{invocation.target} ({invocation_id(invocation.id)})"
