"""Drives the core alone: random events for random invocations, on a disk made of the effects that were recorded.

A move is three numbers; what they mean depends on where the world stands, so that every list of moves is a valid run and a failing one
shrinks. Calls go to a higher level only, which rules deadlocks out: whatever does not end in `drain` is a fault of the core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    Existing,
    HandlerMissing,
    Issue,
    Kill,
    Pause,
    PauseRequested,
    RefuseCall,
    Resume,
    ServicesChanged,
    Settle,
    Suspend,
    Tick,
)
from restate_runtime.journal.lifecycle import state_key
from restate_runtime.journal.model import Invocation, Status
from restate_runtime.journal.waits import Rule, Wait, leaf
from restate_runtime.retry import OnExhausted, RetryPolicy
from restate_runtime.serde import Value

from .shell import Shell

LEVELS = 4
AWAKEABLE = 17
POLICIES = [RetryPolicy(max_attempts=3), RetryPolicy(max_attempts=2, on_exhausted=OnExhausted.FAIL), RetryPolicy()]
OUTCOMES: list[Outcome] = [Success(Value("json", b"1")), Failure(13, "failed")]

Move = tuple[int, int, int]


@dataclass
class World(Shell):
    """The moves: what everybody around the core can do."""

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
