"""A core alone, on a disk made of the effects that were recorded, with what has to hold after every event."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field

from restate_runtime.journal.core import step
from restate_runtime.journal.effects import (
    Abandon,
    Deliver,
    Effect,
    Load,
    Paused,
    Pressure,
    PutAction,
    PutCommand,
    PutInvocation,
    PutNotification,
    PutTimer,
    Reply,
    StartAction,
    StartAttempt,
    StillWaits,
)
from restate_runtime.journal.entries import (
    Outcome,
    Output,
)
from restate_runtime.journal.events import (
    Event,
    Evict,
    Loaded,
)
from restate_runtime.journal.lifecycle import lane_key, state_key
from restate_runtime.journal.model import Invocation, State, Status

from .disk import Disk, row_of

MAX_LIVE = 4


@dataclass
class Shell:
    """A core, the disk below it, and everybody around it."""

    state: State = field(default_factory=lambda: State(MAX_LIVE))
    now: int = 1000
    disk: Disk = field(default_factory=Disk)
    written: list[tuple[list[Effect], int, int]] = field(default_factory=list)
    held: list[Reply | StartAction] = field(default_factory=list)
    parked: dict[int, int] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    actions: dict[tuple[int, int, int], None] = field(default_factory=dict)
    waiting: dict[int, bytes] = field(default_factory=dict)
    replies: dict[int, list[Outcome]] = field(default_factory=dict)
    admitted: set[bytes] = field(default_factory=set)
    ids: int = 0
    waiters: int = 0

    # --- the shell

    def send(self, event: Event) -> None:
        """One event with what follows from it; every invariant holds afterwards."""
        events = [event]
        while events:
            effects = step(self.state, events.pop(0), self.now)
            records: list[Effect] = []
            over: set[int] = set()
            loads: list[Load] = []
            for effect in effects:
                self._check_not_over(effect, over)
                match effect:
                    case StartAttempt():
                        self.attempts[effect.invocation.seq] = effect.invocation.token
                    case Abandon():
                        self.attempts.pop(effect.seq, None)
                    case Deliver():
                        assert effect.seq in self.state.invocations
                    case StillWaits() | Pressure() | Paused():
                        pass
                    case Load():
                        loads.append(effect)
                    case Reply() | StartAction():
                        self.held.append(effect)
                    case PutInvocation():
                        records.append(PutInvocation(row_of(effect.invocation)))
                        if effect.invocation.status in (Status.RUNNING, Status.COMPLETED):
                            self.parked.pop(effect.invocation.seq, None)
                        else:
                            self.parked[effect.invocation.seq] = effect.invocation.version
                    case _:
                        records.append(effect)
                if isinstance(effect, PutCommand) and isinstance(effect.command, Output):
                    over.add(effect.seq)
            self.attempts = {seq: token for seq, token in self.attempts.items() if self._is_live(seq)}
            if records:
                self.written.append((copy.deepcopy(records), self.state.next_seq, self.state.next_admission))
            events += [self._load(load) for load in loads if load.seq in self.state.invocations]
        self.check()

    def _is_live(self, seq: int) -> bool:
        invocation = self.state.invocations.get(seq)
        return invocation is not None and invocation.live

    def _check_not_over(self, effect: Effect, over: set[int]) -> None:
        match effect:
            case PutCommand() | PutNotification() | Deliver() | Load() | StartAction() | PutTimer() | PutAction() | Abandon():
                assert effect.seq not in over, f"{effect} after the end"
            case StartAttempt():
                assert effect.invocation.seq not in over, "an attempt after the end"
            case _:
                pass

    def _on_disk(self) -> Disk:
        """What will be on disk."""
        disk = copy.deepcopy(self.disk)
        for records, _, _ in self.written:
            disk.write(records)
        return disk

    def _load(self, load: Load) -> Loaded:
        disk = self._on_disk()
        commands = list(disk.commands[load.seq]) if load.journal else None
        notifications = list(disk.notifications.get(load.seq, [])) if load.journal else None
        state = None if load.lane is None else dict(disk.state.get(load.lane, {}))
        return Loaded(load.seq, commands, notifications, state)

    def commit(self) -> None:
        """Everything so far is on disk; what waited for it leaves."""
        for records, next_seq, next_admission in self.written:
            self.disk.write(records)
            self.disk.next_seq, self.disk.next_admission = next_seq, next_admission
        self.written.clear()
        held, self.held = self.held, []
        for effect in held:
            match effect:
                case Reply(waiter=int() as waiter):
                    self.replies.setdefault(waiter, []).append(effect.outcome)
                case StartAction() if self.attempts.get(effect.seq) == effect.token:
                    self.actions[effect.seq, effect.token, effect.completion_id] = None
        parked, self.parked = self.parked, {}
        self.send(Evict(list(parked.items())))

    def crash(self, executing: frozenset[bytes], *, unclean: bool = True) -> None:
        """The process ends with what is on disk; callers outside are gone with it."""
        self.written.clear()
        self.held.clear()
        self.parked.clear()
        self.attempts.clear()
        self.actions.clear()
        self.waiting.clear()
        self.state = State(MAX_LIVE)
        self.admitted = {row.id for row in self.disk.rows.values()}
        self.send(copy.deepcopy(self.disk.recovered(executing, unclean)))
        if executing:
            self.commit()  # a count of crashes is on disk before the next one can happen

    # --- what always holds

    def check(self) -> None:
        state = self.state
        assert sum(invocation.live for invocation in state.invocations.values()) == state.live <= state.max_live
        assert state.by_id == {invocation.id: seq for seq, invocation in state.invocations.items()}
        inboxes: dict[tuple[str, str], list[int]] = {}
        for key, lane in state.lanes.items():
            readers = [one for one in state.invocations.values() if one.live and one.target.shared and state_key(one.target) == key]
            assert lane.readers == len(readers)
            assert lane.holder in state.invocations or (not lane.holder and not lane.inbox and readers), "a lane has a holder, or readers"
            inboxes[key] = [seq for seq in lane.inbox if seq in state.invocations]
            order = [state.invocations[seq].admission for seq in (lane.holder, *inboxes[key]) if seq]
            assert order == sorted(set(order)), "first in, first out"
        for invocation in state.invocations.values():
            self._check_invocation(invocation, inboxes)
        if state.live < state.max_live:
            assert not any(invocation.status is Status.READY for invocation in state.invocations.values()), "room for nobody"

    def _check_invocation(self, invocation: Invocation, inboxes: dict[tuple[str, str], list[int]]) -> None:
        key = lane_key(invocation.target)
        assert invocation.status is not Status.COMPLETED
        assert invocation.live == (invocation.status is Status.RUNNING)
        assert invocation.live == (invocation.seq in self.attempts), "an attempt runs exactly where the core says so"
        if key is not None and invocation.status is Status.INBOXED:
            assert invocation.seq in inboxes[key]
        elif key is not None and invocation.status is not Status.SCHEDULED:
            assert self.state.lanes[key].holder == invocation.seq, "one at a time"
        for completion_id, seq in invocation.children.items():
            callee = self.state.invocations[seq]
            place = (invocation.seq, completion_id)
            assert callee.parent == place or place in callee.subscribers, "who waits is told"
        assert invocation.attempt > 0 or invocation.status is Status.BACKING_OFF
        if invocation.live:
            assert invocation.journal is not None
            assert len(invocation.journal.commands) == invocation.command_count
            assert len(invocation.journal.notifications) == invocation.notification_count
            read = state_key(invocation.target)
            assert read is None or self.state.lanes[read].state is not None

    def summary(self) -> dict[str, object]:
        """The state without what differs between lives of the process: attempts in memory, counters of versions, waiters."""
        invocations = {}
        for seq, invocation in self.state.invocations.items():
            status = invocation.status
            wait = invocation.wait
            if status in (Status.RUNNING, Status.READY):
                status, wait = Status.READY, None  # which of them are in memory is a matter of room
            invocations[seq] = (
                invocation.id,
                invocation.target,
                status,
                invocation.admission,
                invocation.due_ms,
                invocation.command_count,
                invocation.notification_count,
                invocation.attempt,
                invocation.failures,
                invocation.retry_ms if status is Status.BACKING_OFF else 0,
                (invocation.invoker, invocation.parent),
                sorted(invocation.subscribers),
                sorted(set(invocation.children.values()) & self.state.invocations.keys()),
                {key: dataclasses.astuple(action) for key, action in invocation.actions.items()},
                invocation.timers,
                None if wait is None else sorted(wait.leaves(), key=str),
                (invocation.failure, invocation.fault),
            )
        return {
            "invocations": invocations,
            "lanes": {
                key: (lane.holder, [seq for seq in lane.inbox if seq in invocations])
                for key, lane in self.state.lanes.items()
                if lane.holder  # who reads is a matter of room too
            },
            "next": (self.state.next_seq, self.state.next_admission),
        }
