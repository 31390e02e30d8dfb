"""Looks for cycles of awaited calls where one may have closed, and breaks or reports them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

from ..errors import Code
from ..journal.deadlock import WaitOf, find_deadlock, may_close
from ..journal.entries import Failure
from ..journal.events import Event, RefuseCall
from ..journal.model import Invocation, State, Status
from .options import OnDeadlock

__all__ = ["Deadlocks"]

_LOG = logging.getLogger("restate_runtime.engine")

# An invocation can wait for a hundred thousand results; each that comes in is a reason to look, and one look is enough for many.
_LOOK_AGAIN_S = 0.05


class Deadlocks:
    """The watch over one engine's calls.

    Args:
        state: of the core.
        step: gives the core an event.
        wait_of: what an attempt in memory waits for; `None` where it executes, or is about to.
        on_deadlock: what follows a cycle.
    """

    def __init__(self, state: State, step: Callable[[Event], None], wait_of: WaitOf, on_deadlock: OnDeadlock) -> None:
        self._state = state
        self._step = step
        self._wait_of = wait_of
        self._report_only = on_deadlock is OnDeadlock.REPORT
        self._reported: set[tuple[int, int]] = set()
        self._due: dict[int, asyncio.TimerHandle] = {}
        self._context = contextvars.copy_context()

    def waits(self, invocation: Invocation) -> None:
        """It has begun to wait: in memory, or suspended."""
        if may_close(self._state, invocation):
            self._look(invocation)

    def still_waits(self, seq: int) -> None:
        """A result came that does not end its wait, or it has to wait for its turn."""
        invocation = self._state.invocations.get(seq)
        if invocation is not None and seq not in self._due and may_close(self._state, invocation):
            loop = asyncio.get_running_loop()
            self._due[seq] = loop.call_later(_LOOK_AGAIN_S, self._look_again, seq, context=self._context)

    def recovered(self) -> None:
        """After a start: a cycle may have closed at the last moment of the process before, or while only reports were wanted."""
        holders = {lane.holder for lane in self._state.lanes.values() if lane.inbox}
        for invocation in list(self._state.invocations.values()):
            if invocation.status is Status.SUSPENDED and (invocation.subscribers or invocation.seq in holders):
                self._look(invocation)

    def close(self) -> None:
        """Looks no more."""
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()

    def _look_again(self, seq: int) -> None:
        del self._due[seq]
        invocation = self._state.invocations.get(seq)
        if invocation is not None:
            self._look(invocation)

    def _look(self, invocation: Invocation) -> None:
        found = find_deadlock(self._state, invocation, self._wait_of)
        if found is None:
            return
        if not self._report_only:
            self._step(RefuseCall(found.caller, found.completion_id, found.callee, Failure(Code.FAILED_PRECONDITION.value, found.message)))
        elif (found.caller, found.completion_id) not in self._reported:
            self._reported.add((found.caller, found.completion_id))
            _LOG.warning("a deadlock: %s", found.message)
