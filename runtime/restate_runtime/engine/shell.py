"""The shell around the core: gives it events and time, and carries out what it wants, in order.

Records go to the committer; inner effects happen at once; outer effects are handed to the committer and leave when it says so.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ..errors import RuntimeFault
from ..identifiers import invocation_id
from ..journal.core import step
from ..journal.effects import (
    Abandon,
    ClearStates,
    Deliver,
    ForgetKey,
    Load,
    Paused,
    Pressure,
    PutState,
    Reply,
    StartAction,
    StartAttempt,
    StillWaits,
)
from ..journal.entries import Command, Notification, Outcome, Ref, Target
from ..journal.events import Event, Evict, Existing, Forget, Loaded, Pause
from ..journal.model import Invocation, LaneKey, State
from ..serde import Value
from .alarm import Alarm
from .committer import Committer
from .idempotency import WORKFLOW_RUN, Scope
from .registry import HostedService
from .storage.batch import Batch
from .storage.reader import Idempotent, Reader
from .storage.rows import invocation_from_row, invocation_row

__all__ = ["Attempts", "Shell"]

_LOG = logging.getLogger("restate_runtime.engine")
_CACHED_LANES = 20_000
_CACHED_LANE_BYTES = 64 * 1024
_CACHED_BYTES = 64 * 1024 * 1024


class Attempts(Protocol):
    """Where attempts live: the driver."""

    def start(self, invocation: Invocation) -> None: ...
    def deliver(self, seq: int, ref: Ref) -> None: ...
    def abandon(self, seq: int) -> None: ...
    def still_waits(self, seq: int) -> None: ...
    def relieve(self) -> None: ...
    def start_action(self, seq: int, token: int, completion_id: int) -> None: ...


def _report(paused: Invocation) -> None:
    target, id = paused.target, invocation_id(paused.id)
    what = f"{paused.failure} [{paused.fault}]; `restate-runtime invocations resume {id}` lets it go on"
    _LOG.warning("[%s/%s] %s is paused: %s", target.service, target.method, id, what)


class StateCache:
    """State of lanes that nobody holds at the moment, and of all lanes whose writes are not on disk yet.

    The dictionaries are the core's own, which it changes in place, so that the cache is never behind.
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[LaneKey, tuple[dict[str, Value], int]] = OrderedDict()
        self._bytes: dict[LaneKey, int] = {}
        self._total = 0
        self._changed: set[LaneKey] = set()

    def get(self, lane: LaneKey) -> dict[str, Value] | None:
        """The lane's state, where it is here."""
        entry = self._lanes.get(lane)
        if entry is None:
            return None
        self._lanes.move_to_end(lane)
        return entry[0]

    def put(self, lane: LaneKey, values: dict[str, Value], batch: int) -> None:
        """Keeps the lane's state at least until that batch is durable."""
        self._lanes[lane] = (values, batch)
        self._lanes.move_to_end(lane)
        self._changed.add(lane)

    def trim(self, durable: int) -> None:
        """Drops the lanes longest unused, where they are on disk, until the others are within bounds."""
        for lane in self._changed:
            size = size_of(self._lanes[lane][0])
            self._total += size - self._bytes.get(lane, 0)
            self._bytes[lane] = size
        self._changed.clear()
        while len(self._lanes) > _CACHED_LANES or self._total > _CACHED_BYTES:
            lane, (_, batch) = next(iter(self._lanes.items()))
            if batch > durable:
                return
            del self._lanes[lane]
            self._total -= self._bytes.pop(lane)


def size_of(values: dict[str, Value]) -> int:
    """Bytes of a lane's state, without what Python needs to hold them."""
    return sum(len(value.data) for value in values.values())


class Shell:
    """One engine's core with all that it acts on."""

    def __init__(self, state: State, reader: Reader, now_ms: Callable[[], int]) -> None:
        self.state = state
        self.now_ms = now_ms
        self._reader = reader
        self._cache = StateCache()
        self._events: deque[Event] = deque()
        self._busy = False
        self.committer: Committer
        self.attempts: Attempts
        self.reply: Callable[[object, Outcome], None]
        self.alarm: Alarm

    def step(self, event: Event) -> None:
        """One event, and those that follow from it."""
        if self._busy:
            self._events.append(event)
            return
        self._busy = True
        try:
            self._step(event)
            while self._events:
                self._step(self._events.popleft())
        finally:
            self._busy = False
        due_ms = self.state.next_due_ms()
        if due_ms != self.alarm.due_ms:
            self.alarm.set(due_ms)

    def _step(self, event: Event) -> None:
        committer = self.committer
        outer: list[Callable[[], None]] = []
        recorded, loads = self._carry_out(event, outer)
        # What is loaded belongs to the same transition: without it an invocation has its first command, and no row.
        while loads:
            load = loads.pop(0)
            if load.seq in self.state.invocations:  # else killed in the same transition
                more_recorded, more_loads = self._carry_out(self._load(load), outer)
                recorded = recorded or more_recorded
                loads += more_loads
        if recorded:
            committer.end_transition()
        for leave in outer:
            committer.when_durable(leave)

    def _carry_out(self, event: Event, outer: list[Callable[[], None]]) -> tuple[bool, list[Load]]:
        """Steps the core; whether it recorded something, and what it wants to load. What leaves the engine goes to `outer`."""
        batch = self.committer.filling
        attempts = self.attempts
        recorded = False
        loads: list[Load] = []
        for effect in step(self.state, event, self.now_ms()):
            if batch.add(effect):
                recorded = True
                if type(effect) is PutState or type(effect) is ClearStates:
                    self._keep_state(effect.lane, batch)
                elif type(effect) is ForgetKey:
                    lane = self.state.lanes.get(effect.lane)
                    # On disk there still is some: what is read of it in the meantime is empty.
                    self._cache.put(effect.lane, {} if lane is None or lane.state is None else lane.state, batch.number)
                continue
            match effect:
                case StartAttempt():
                    attempts.start(effect.invocation)
                case Deliver():
                    attempts.deliver(effect.seq, effect.ref)
                case Reply():
                    outer.append(partial(self.reply, effect.waiter, effect.outcome))
                case StartAction():
                    outer.append(partial(attempts.start_action, effect.seq, effect.token, effect.completion_id))
                case Load():
                    loads.append(effect)
                case Paused():
                    _report(effect.invocation)
                case Abandon():
                    attempts.abandon(effect.seq)
                case StillWaits():
                    attempts.still_waits(effect.seq)
                case Pressure():
                    attempts.relieve()
                case _:
                    raise AssertionError(f"unknown effect {effect}")
        return recorded, loads

    def _keep_state(self, lane: LaneKey, batch: Batch) -> None:
        values = self.state.lanes[lane].state
        if values is not None:
            self._cache.put(lane, values, batch.number)

    def durable(self, batch: Batch) -> None:
        """The batch is on disk: what is parked can leave memory."""
        self._cache.trim(batch.number)
        if batch.parked:
            self.step(Evict(list(batch.parked.items())))

    # --- reads, through what is not on disk yet

    def _load(self, load: Load) -> Event:
        invocation = self.state.invocations[load.seq]
        try:
            commands = notifications = None
            if load.journal:
                commands, notifications = self._journal(invocation)
            state = None if load.lane is None else self._lane_state(load.lane)
        except RuntimeFault as fault:
            return Pause(load.seq, invocation.token, fault.code, fault.message)
        return Loaded(load.seq, commands, notifications, state)

    def _journal(self, invocation: Invocation) -> tuple[list[Command], list[Notification]]:
        waiting = [batch.notifications.get(invocation.seq, []) for batch in reversed(self.committer.pending())]
        not_on_disk = sum(len(entries) for entries in waiting)
        commands, notifications = self._reader.journal(
            invocation.seq, invocation.command_count, invocation.notification_count - not_on_disk
        )
        # A commit may be over on disk before its end is known here.
        del notifications[invocation.notification_count - not_on_disk :]
        for entries in waiting:
            notifications.extend(entries)
        return commands, notifications

    def _lane_state(self, lane: LaneKey) -> dict[str, Value]:
        values = self._cache.get(lane)
        if values is None:
            values = self._reader.state(lane)
            if size_of(values) <= _CACHED_LANE_BYTES:
                self._cache.put(lane, values, self.committer.last_durable)
        return values

    def find(self, invocation_id: bytes) -> Invocation | None:
        """An invocation that may be completed.

        Raises:
            RuntimeFault: RT0204, its row is damaged.
        """
        live = self.state.find(invocation_id)
        if live is not None:
            return live
        for batch in self.committer.pending():
            completed = batch.completed.get(invocation_id)
            if completed is not None:
                return invocation_from_row(invocation_row(completed))
        return self._reader.find(invocation_id)

    def outcome(self, invocation: Invocation) -> Outcome | None:
        """The outcome of a completed invocation."""
        for batch in self.committer.pending():
            if invocation.seq in batch.outcomes:
                return batch.outcomes[invocation.seq]
        return self._reader.outcome(invocation.seq)

    def existing(self, invocation_id: bytes) -> Existing | None:
        """An invocation as the core takes it, live or completed."""
        live = self.state.find(invocation_id)
        if live is not None:
            return Existing(live.seq, live.id)
        with self._reader.snapshot():
            known = self.find(invocation_id)
            return None if known is None else Existing(known.seq, known.id, self.outcome(known))

    def signal(self, invocation: Invocation, ref: Ref) -> Outcome | None:
        """How an awakeable was settled, where it was."""
        if invocation.journal is not None:
            arrival = invocation.journal.arrivals.get(ref)
            return None if arrival is None else arrival[1]
        on_disk = self._reader.signal(invocation.seq, ref)
        if on_disk is not None:
            return on_disk
        for batch in reversed(self.committer.pending()):
            for notification in batch.notifications.get(invocation.seq, ()):
                if notification.ref == ref:
                    return notification.outcome
        return None

    def promise(self, lane: LaneKey, name: str) -> Outcome | None:
        """How a named promise of a key was settled, where it was."""
        for batch in self.committer.pending():
            outcome = batch.promises.get((*lane, name))
            if outcome is not None or lane in batch.forgotten:
                return outcome
        return self._reader.promise(lane, name)

    def forget(self, seqs: Sequence[int]) -> None:
        """Completed invocations that are on disk go; with the run of a workflow its state and promises, unless another one has begun."""
        going = {seq for batch in self.committer.pending() for seq in batch.purged}
        seqs = [seq for seq in seqs if seq not in going]
        self.step(Forget(seqs, self._reader.workflows(seqs)))

    def earlier_run(self, target: Target) -> Existing | None:
        """The run of a workflow that another one would repeat. Where that is forgotten, it makes way: nothing of it is left to the next."""
        scope = (target.service, target.method, target.key or "", WORKFLOW_RUN)
        with self._reader.snapshot():
            known = self._known_as(scope)
            if known is None or not known.expired:
                return None if known is None else self.existing(known.id)
        if not any(known.seq in batch.purged for batch in self.committer.pending()):
            self.step(Forget([known.seq], [(target.service, target.key or "")]))
        return None

    def contract_row(self, service: HostedService) -> tuple[str, str, str, bytes, int] | None:
        """How the contract of a service that came is kept; `None` where it is as it was."""
        return self._reader.contract_row(service)

    def idempotent(self, scope: Scope) -> tuple[Existing, bytes] | None:
        """What an idempotency key leads to, with the digest of its request."""
        with self._reader.snapshot():
            known = self._known_as(scope)
            if known is None or known.expired:
                return None
            found = self.existing(known.id)
            return None if found is None else (found, known.digest)

    def _known_as(self, scope: Scope) -> Idempotent | None:
        for batch in self.committer.pending():
            pending = batch.idempotency.get(scope)
            if pending is not None:
                seq, id, digest = pending
                owner = self.find(id)
                return None if owner is None else Idempotent(seq, id, digest, owner.forgotten(self.now_ms()))
        return self._reader.idempotent(scope, self.now_ms())
