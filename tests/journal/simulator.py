"""Drives the core alone: random events for random invocations, on a disk made of the effects that were recorded.

A move is three numbers; what they mean depends on where the world stands, so that every list of moves is a valid run and a failing one
shrinks. Calls go to a higher level only, which rules deadlocks out: whatever does not end in `drain` is a fault of the core.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from restate_runtime.journal.core import step
from restate_runtime.journal.effects import (
    Abandon,
    Deliver,
    Effect,
    Load,
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
    CANCEL_INDEX,
    VOID,
    Attach,
    Call,
    ClearAllState,
    ClearState,
    Command,
    CompleteAwakeable,
    CompletePromise,
    Failure,
    GetInvocationOutput,
    GetLazyState,
    GetLazyStateKeys,
    GetPromise,
    OneWayCall,
    Outcome,
    Output,
    PeekPromise,
    Ref,
    Run,
    SendSignal,
    SetState,
    Sleep,
    Success,
    Target,
)
from restate_runtime.journal.events import (
    ActionEnded,
    ActionFailed,
    ActionWanted,
    Admit,
    AttachWaiter,
    AttemptFailed,
    Cancel,
    CancelTaken,
    Event,
    Evict,
    Existing,
    HandlerMissing,
    Issue,
    Kill,
    Loaded,
    Pause,
    PauseRequested,
    RefuseCall,
    Resume,
    ServicesChanged,
    Settle,
    Suspend,
    Tick,
)
from restate_runtime.journal.lifecycle import lane_key, state_key
from restate_runtime.journal.model import Invocation, State, Status
from restate_runtime.journal.waits import Rule, Wait, leaf
from restate_runtime.retry import OnExhausted, RetryPolicy
from restate_runtime.serde import Value

from .disk import Disk, row_of

LEVELS = 4
MAX_LIVE = 4
AWAKEABLE = 17
POLICIES = [RetryPolicy(max_attempts=3), RetryPolicy(max_attempts=2, on_exhausted=OnExhausted.FAIL), RetryPolicy()]
OUTCOMES: list[Outcome] = [Success(Value("json", b"1")), Failure(13, "failed")]

Move = tuple[int, int, int]


@dataclass
class World:
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
                    case StillWaits():
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
                    case _ if type(effect).__name__ != "Pressure":
                        records.append(effect)
                    case _:
                        pass
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

    # --- moves

    def play(self, moves: Sequence[Move]) -> None:
        for kind, a, b in moves:
            _MOVES[kind % len(_MOVES)](self, a, b)

    def new_id(self) -> bytes:
        self.ids += 1
        return self.ids.to_bytes(16, "big")

    def target(self, level: int, a: int) -> Target | None:
        """One of the targets above a level: two thirds of them keyed, and some of those shared."""
        if level + 1 >= LEVELS:
            return None
        above = level + 1 + a % (LEVELS - level - 1)
        kind = a // LEVELS % 3
        return Target(f"Level{above}", "Do", None if kind == 0 else f"key{kind}", kind > 0 and a // LEVELS // 3 % 3 == 2)

    def attempt(self, a: int) -> Invocation | None:
        """One of the invocations whose handler is in memory."""
        return self.state.invocations[sorted(self.attempts)[a % len(self.attempts)]] if self.attempts else None

    def any_invocation(self, a: int) -> Invocation | None:
        return self.state.invocations[sorted(self.state.invocations)[a % len(self.state.invocations)]] if self.state.invocations else None

    def admit(self, a: int, b: int) -> None:
        target = self.target(-1, a)
        assert target is not None
        id = self.new_id()
        waiter = None
        if b % 2:
            self.waiters += 1
            waiter = self.waiters
            self.waiting[waiter] = id
        self.admitted.add(id)
        self.send(Admit(id, target, b"", {}, self.now + b if b % 3 == 0 else 0, waiter))

    def attach(self, a: int, _: int) -> None:
        invocation = self.any_invocation(a)
        if invocation is not None:
            self.waiters += 1
            self.waiting[self.waiters] = invocation.id
            self.send(AttachWaiter(invocation.seq, self.waiters))

    def issue(self, a: int, b: int) -> None:
        """A handler asks for something."""
        invocation = self.attempt(a)
        if invocation is None:
            return
        # A call takes two: its result, and the id of what it called.
        completion = 1 + 2 * sum(hasattr(command, "completion_id") for command in _commands(invocation))
        command = self._command(invocation, completion, b)
        if command is None:
            return
        existing = None
        if isinstance(command, (Call, OneWayCall)):
            self.admitted.add(command.callee)
        if isinstance(command, (GetPromise, PeekPromise, CompletePromise)):
            key = state_key(invocation.target)
            assert key is not None
            settled = self._on_disk().promises.get((key, command.name))
            existing = None if settled is None else Existing(0, b"", settled)
        if isinstance(command, (Attach, GetInvocationOutput)):
            owner = self.state.find(command.invocation)
            existing = Existing(0, command.invocation, OUTCOMES[b % 2]) if owner is None else Existing(owner.seq, owner.id)
        self.send(Issue(invocation.seq, invocation.token, command, existing))

    def _command(self, invocation: Invocation, completion: int, b: int) -> Command | None:
        level = int(invocation.target.service.removeprefix("Level"))
        kind, b = b % 14, b // 14
        match kind:
            case 0 | 1:
                target = self.target(level, b)
                return None if target is None else Call(completion, target, b"", self.new_id(), id_completion_id=kind * (completion + 1))
            case 2:
                target = self.target(level, b)
                return None if target is None else OneWayCall(target, b"", self.new_id(), self.now + b if b % 2 else 0)
            case 3:
                return Sleep(completion, self.now + b)
            case 4:
                return Run(completion, "effect")
            case 5:
                above = [one for one in self.state.invocations.values() if one.target.service > invocation.target.service]
                other = above[b % len(above)].id if above else self.new_id()
                return Attach(completion, other)
            case 6:
                other_invocation = self.any_invocation(b)
                assert other_invocation is not None
                if b % 3:
                    return CompleteAwakeable(other_invocation.id, AWAKEABLE + b % 2, OUTCOMES[b % 2])
                return SendSignal(other_invocation.id, 0, OUTCOMES[b % 2], f"signal{b % 2}")
            case 13:
                other_invocation = self.any_invocation(b)
                assert other_invocation is not None
                return SendSignal(other_invocation.id, CANCEL_INDEX, VOID, awaited=b % 3 > 0)
            case 7:
                other_invocation = self.any_invocation(b)
                return None if other_invocation is None else GetInvocationOutput(completion, other_invocation.id)
            case 8 if invocation.target.key is not None:
                return GetLazyState(completion, f"name{b % 3}") if b % 2 else GetLazyStateKeys(completion)
            case 9 if invocation.target.key is not None:
                return GetPromise(completion, f"promise{b % 2}") if b % 3 else PeekPromise(completion, f"promise{b % 2}")
            case 10 if invocation.target.key is not None:
                return CompletePromise(completion, f"promise{b % 2}", OUTCOMES[b % 2])
            case _ if invocation.target.key is None or invocation.target.shared:
                return None
            case 11:
                return SetState(f"name{b % 3}", Value("json", str(b).encode()))
            case _:
                return ClearState(f"name{b % 3}") if b % 2 else ClearAllState()

    def finish(self, a: int, b: int) -> None:
        invocation = self.attempt(a)
        if invocation is not None:
            self.send(Issue(invocation.seq, invocation.token, Output(OUTCOMES[b % 2])))

    def fail(self, a: int, b: int) -> None:
        invocation = self.attempt(a)
        if invocation is not None:
            self.send(AttemptFailed(invocation.seq, invocation.token, "ValueError", POLICIES[b % 3]))

    def suspend(self, a: int, b: int) -> None:
        """A handler waits for some of its results and leaves memory."""
        invocation = self.attempt(a)
        if invocation is None or any(action[0] == invocation.seq for action in self.actions):
            return
        refs = [ref for ref in self._refs(invocation) if invocation.journal is not None and ref not in invocation.journal.arrivals]
        if not refs:
            return
        some = refs[b % len(refs) :]
        rule = (Rule.ANY, Rule.ALL, Rule.EVERY, Rule.SUCCESS)[b % 4]
        if rule is not Rule.ANY:  # nobody may ever send what is not sure to come
            some = [ref for ref in some if not isinstance(ref, str) and ref not in self._promised(invocation)]
        wait = leaf(some[0]) if len(some) == 1 else Wait(rule, 0, [leaf(ref) for ref in some])
        # A driver that told its handler of some results only: what came after them counts.
        taken = invocation.journal is not None and invocation.journal.cancels and not invocation.cancelling
        told = invocation.notification_count if b % 3 == 0 or taken else 0
        self.send(Suspend(invocation.seq, invocation.token, wait, told))

    def _refs(self, invocation: Invocation) -> list[Ref]:
        awaited = (Call, Sleep, Attach, GetPromise)
        completions: list[Ref] = [command.completion_id for command in _commands(invocation) if isinstance(command, awaited)]
        return [*completions, "signal0", -AWAKEABLE]

    def _promised(self, invocation: Invocation) -> set[int]:
        return {command.completion_id for command in _commands(invocation) if isinstance(command, GetPromise)}

    def pause(self, a: int, _: int) -> None:
        invocation = self.attempt(a)
        if invocation is not None:
            self.send(Pause(invocation.seq, invocation.token, "RT0301", "differs"))

    def want_action(self, a: int, _: int) -> None:
        invocation = self.attempt(a)
        if invocation is None or invocation.journal is None:
            return
        for command in invocation.journal.commands:
            if isinstance(command, Run) and command.completion_id not in invocation.journal.arrivals:
                self.send(ActionWanted(invocation.seq, invocation.token, command.completion_id))
                return

    def end_action(self, a: int, b: int) -> None:
        if not self.actions:
            return
        seq, token, completion_id = sorted(self.actions)[a % len(self.actions)]
        del self.actions[seq, token, completion_id]
        if b % 3:
            self.send(ActionFailed(seq, token, completion_id, "effect", "OSError", self.now, POLICIES[b % 3]))
        else:
            self.send(ActionEnded(seq, token, completion_id, OUTCOMES[b % 2]))

    def settle(self, a: int, b: int) -> None:
        invocation = self.any_invocation(a)
        if invocation is not None:
            self.send(Settle(invocation.seq, AWAKEABLE, OUTCOMES[b % 2]))

    def kill(self, a: int, _: int) -> None:
        invocation = self.any_invocation(a)
        if invocation is not None:
            self.send(Kill(invocation.seq))

    def cancel(self, a: int, _: int) -> None:
        invocation = self.any_invocation(a)
        if invocation is not None:
            new = invocation.status in (Status.SCHEDULED, Status.INBOXED) or (
                invocation.status is Status.READY and not invocation.started_ms
            )
            arrived = invocation.notification_count
            self.send(Cancel(invocation.seq))
            if new:
                assert invocation.status is Status.COMPLETED, "what has not begun ends at once"
            elif invocation.status is not Status.COMPLETED:
                assert invocation.cancelling
                assert invocation.notification_count - arrived in (0, 1), "one at a time"
                assert invocation.status not in (Status.SUSPENDED, Status.BACKING_OFF), "it comes to see it"

    def take_cancel(self, a: int, _: int) -> None:
        invocation = self.attempt(a)
        if invocation is not None and invocation.cancelling:
            self.send(CancelTaken(invocation.seq, invocation.token))

    def pause_by_hand(self, a: int, _: int) -> None:
        invocation = self.any_invocation(a)
        if invocation is not None:
            before = invocation.status
            self.send(PauseRequested(invocation.seq))
            waits = before in (Status.SCHEDULED, Status.INBOXED)
            assert invocation.status is (before if waits else Status.PAUSED)

    def miss(self, a: int, b: int) -> None:
        invocation = self.attempt(a)
        if invocation is not None:
            self.send(HandlerMissing(invocation.seq, invocation.token, "nothing hosts it", POLICIES[b % 3]))
            assert invocation.status is Status.BACKING_OFF

    def host(self, _: int, __: int) -> None:
        self.send(ServicesChanged())
        assert not any(one.fault and one.status is Status.BACKING_OFF for one in self.state.invocations.values())

    def refuse(self, a: int, _: int) -> None:
        """A call that somebody waits for closes a cycle."""
        calls = [(one.seq, *call) for one in self.state.invocations.values() for call in sorted(one.children.items())]
        if calls:
            seq, completion_id, callee = calls[a % len(calls)]
            self.send(RefuseCall(seq, completion_id, callee, Failure(9, "a cycle")))
            invocation = self.state.invocations[seq]
            assert completion_id not in invocation.children

    def resume(self, a: int, _: int) -> None:
        stuck = [one for one in self.state.invocations.values() if one.status in (Status.PAUSED, Status.BACKING_OFF)]
        if stuck:
            self.send(Resume(stuck[a % len(stuck)].seq))

    def tick(self, a: int, _: int) -> None:
        self.now += a
        self.send(Tick())

    def stale(self, a: int, b: int) -> None:
        """Events of an attempt that is over change nothing."""
        invocation = self.any_invocation(a)
        if invocation is None:
            return
        before = self.summary()
        token = invocation.token - 1 if invocation.live else invocation.token
        late: list[Event] = [
            Issue(invocation.seq, token, Output(OUTCOMES[0])),
            Suspend(invocation.seq, token, leaf(1)),
            ActionEnded(invocation.seq, token, 1, OUTCOMES[0]),
            AttemptFailed(invocation.seq, token, "late", POLICIES[0]),
            Pause(invocation.seq, token, "RT0301", "late"),
            HandlerMissing(invocation.seq, token, "late", POLICIES[0]),
            CancelTaken(invocation.seq, token),
            Issue(self.state.next_seq + 5, 1, Output(OUTCOMES[0])),
        ]
        self.send(late[b % len(late)])
        assert self.summary() == before

    def commit_move(self, _: int, __: int) -> None:
        self.commit()

    def crash_move(self, a: int, b: int) -> None:
        ids = [self.state.invocations[seq].id for seq in sorted(self.attempts)]
        executing = frozenset(ids[: a % (len(ids) + 1)])
        self.crash(executing, unclean=b % 4 != 0)

    def restart(self, _: int, __: int) -> None:
        """A clean restart finds the state that was left."""
        self.commit()
        before = self.summary()
        self.crash(frozenset(), unclean=False)
        assert _without_waits(self.summary()) == _without_waits(before)

    # --- the end

    def drain(self) -> None:
        """Everybody is patient and does the least that is expected of them: everything ends."""
        for _ in range(400):
            self.commit()
            if not self.state.invocations:
                break
            self.actions.clear()
            for seq in list(self.attempts):
                if seq in self.attempts:
                    invocation = self.state.invocations[seq]
                    self.send(Issue(seq, invocation.token, Output(OUTCOMES[0])))
            for invocation in list(self.state.invocations.values()):
                if invocation.seq not in self.state.invocations:
                    continue
                if invocation.status is Status.PAUSED:
                    self.send(Resume(invocation.seq))
                elif invocation.status is Status.SUSPENDED:
                    self.send(Settle(invocation.seq, AWAKEABLE, OUTCOMES[0]))
                    if invocation.status is Status.SUSPENDED and self._may_never_come(invocation):
                        self.send(Cancel(invocation.seq))
            self.tick(20_000, 0)
        self.commit()
        assert not self.state.invocations, "everything ends"
        assert not self.state.lanes
        assert not self.state.live
        assert {row.id for row in self.disk.rows.values() if row.status is Status.COMPLETED} == self.admitted
        for log in self.disk.commands.values():
            assert [isinstance(command, Output) for command in log] == [False] * (len(log) - 1) + [True], "one end, at the end"
        for waiter, id in self.waiting.items():
            assert self.replies.get(waiter) == [self._outcome(id)], "exactly one reply, and the recorded one"

    def _may_never_come(self, invocation: Invocation) -> bool:
        """Whether it waits only for signals and promises, which nobody need send."""
        promises = {command.completion_id for command in self.disk.commands[invocation.seq] if isinstance(command, GetPromise)}
        return invocation.wait is not None and all(isinstance(ref, str) or ref in promises for ref in invocation.wait.leaves())

    def _outcome(self, id: bytes) -> Outcome:
        seq = next(seq for seq, row in self.disk.rows.items() if row.id == id)
        last = self.disk.commands[seq][-1]
        assert isinstance(last, Output)
        return last.outcome


def _commands(invocation: Invocation) -> Iterator[Command]:
    if invocation.journal is not None:
        yield from invocation.journal.commands


def _without_waits(summary: dict[str, object]) -> dict[str, object]:
    """A tree that something arrived for is not kept in the row: the attempt looks again, and suspends again where it must."""
    invocations = summary["invocations"]
    assert isinstance(invocations, dict)
    plain = {}
    for seq, values in invocations.items():
        *before, wait, failure = values
        if before[2] is Status.BACKING_OFF and failure[1]:  # what hosts it may be there now: it is tried again at once
            before[2], before[7], before[9], failure = Status.READY, before[7] + 1, 0, (failure[0], "")
        status = Status.READY if before[2] is Status.SUSPENDED else before[2]
        plain[seq] = (*before[:2], status, *before[3:], None if status is Status.READY else wait, failure)
    return summary | {"invocations": plain}


_MOVES = [
    World.admit,
    World.admit,
    World.attach,
    World.issue,
    World.issue,
    World.issue,
    World.issue,
    World.finish,
    World.fail,
    World.suspend,
    World.suspend,
    World.pause,
    World.want_action,
    World.end_action,
    World.settle,
    World.kill,
    World.cancel,
    World.cancel,
    World.take_cancel,
    World.pause_by_hand,
    World.miss,
    World.host,
    World.refuse,
    World.resume,
    World.tick,
    World.stale,
    World.commit_move,
    World.commit_move,
    World.crash_move,
    World.restart,
]

MOVE_COUNT = len(_MOVES)
