"""Cancel, kill, pause and refusal in the core alone: events in, effects out."""

from __future__ import annotations

from typing import Any

import pytest

from restate_runtime.journal.core import step
from restate_runtime.journal.effects import Abandon, Deliver, DropSubscriber, PutInvocation, PutNotification, StartAttempt, StillWaits
from restate_runtime.journal.entries import (
    CANCEL,
    CANCEL_INDEX,
    CANCELLED,
    VOID,
    Attach,
    Call,
    Failure,
    OneWayCall,
    Output,
    Run,
    SendSignal,
    Signal,
    Sleep,
    Target,
)
from restate_runtime.journal.events import (
    ActionEnded,
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
    PauseRequested,
    RefuseCall,
    Resume,
    ServicesChanged,
    Suspend,
    Tick,
)
from restate_runtime.journal.model import Invocation, Status
from restate_runtime.journal.waits import Rule, Wait, leaf
from restate_runtime.retry import RetryPolicy

from .simulator import OUTCOMES, World

CART = Target("Level1", "Do", "key1")
OTHER = Target("Level1", "Do", "key2")
PLAIN = Target("Level0", "Do", None)
POLICY = RetryPolicy(max_attempts=2)


def admit(world: World, target: Target, *, due_ms: int = 0, waiter: int | None = None) -> Invocation:
    id = world.new_id()
    world.admitted.add(id)
    if waiter is not None:
        world.waiting[waiter] = id
    world.send(Admit(id, target, b"", {}, due_ms, waiter))
    return world.state.invocations[world.state.by_id[id]]


def call(world: World, caller: Invocation, completion_id: int, target: Target) -> Invocation:
    id = world.new_id()
    world.admitted.add(id)
    world.send(Issue(caller.seq, caller.token, Call(completion_id, target, b"", id)))
    return world.state.invocations[world.state.by_id[id]]


def issue(world: World, caller: Invocation, command: Any, existing: Existing | None = None) -> None:
    world.send(Issue(caller.seq, caller.token, command, existing))


def effects(world: World, event: Event) -> list[Any]:
    """What one event has as effects, where nothing has to be loaded."""
    return step(world.state, event, world.now)


def suspend(world: World, invocation: Invocation, wait: Wait) -> None:
    world.send(Suspend(invocation.seq, invocation.token, wait, invocation.notification_count))
    assert invocation.status is Status.SUSPENDED


# --- cancel


@pytest.mark.rule("R15")
def test_a_cancellation_is_a_notification_like_any_other() -> None:
    world = World()
    running = admit(world, CART)
    found = effects(world, Cancel(running.seq))
    assert found == [PutInvocation(running), PutNotification(running.seq, 0, Signal(CANCEL_INDEX, CANCELLED)), Deliver(running.seq, CANCEL)]
    assert effects(world, Cancel(running.seq)) == [], "until it has been seen, another one adds nothing"
    assert effects(world, CancelTaken(running.seq, running.token)) == [PutInvocation(running)]
    assert len(effects(world, Cancel(running.seq))) == 3
    assert running.journal is not None
    assert running.journal.cancels == [0, 1]


@pytest.mark.rule("R15")
@pytest.mark.parametrize("rule", [Rule.ALL, Rule.ANY, Rule.TIMEOUT, Rule.EVERY, Rule.SUCCESS, None])
def test_every_wait_ends_with_it(rule: Rule | None) -> None:
    world = World()
    waiting = admit(world, CART)
    for completion_id in (1, 2):
        issue(world, waiting, Sleep(completion_id, world.now + 1_000_000))
    suspend(world, waiting, leaf(1) if rule is None else Wait(rule, 0, [leaf(1), leaf(2)]))
    world.commit()
    assert waiting.journal is None
    world.send(Cancel(waiting.seq))
    assert waiting.status is Status.RUNNING
    assert waiting.journal is not None
    assert waiting.journal.cancels == [0]


@pytest.mark.rule("R15")
def test_one_that_came_before_the_suspension_brings_it_back() -> None:
    world = World()
    waiting = admit(world, CART)
    issue(world, waiting, Sleep(1, world.now + 1_000_000))
    told = waiting.notification_count
    world.send(Cancel(waiting.seq))
    world.send(Suspend(waiting.seq, waiting.token, leaf(1), told))
    assert waiting.status is Status.RUNNING
    world.send(Suspend(waiting.seq, waiting.token, leaf(1), waiting.notification_count))
    assert not waiting.live, "it has been seen now"
    assert not waiting.cancelling


@pytest.mark.rule("R15")
@pytest.mark.parametrize("status", ["scheduled", "inboxed", "ready", "never reached"])
def test_what_has_not_begun_ends_at_once(status: str) -> None:
    world = World()
    parent = admit(world, PLAIN)
    if status == "scheduled":
        id = world.new_id()
        world.admitted.add(id)
        issue(world, parent, OneWayCall(CART, b"", id, world.now + 5000))
        new = world.state.invocations[world.state.by_id[id]]
    else:
        if status == "inboxed":
            admit(world, CART)
        if status == "ready":
            for key in ("x", "y", "z"):
                admit(world, Target("Level1", "Do", key))
        new = call(world, parent, 1, CART)
        if status == "never reached":
            world.send(HandlerMissing(new.seq, new.token, "nothing hosts it", POLICY))
    behind = admit(world, CART) if status in ("ready", "never reached") else None
    world.send(Cancel(new.seq))
    assert new.status is Status.COMPLETED
    assert new.outcome_failure == CANCELLED
    if status != "scheduled":
        assert parent.journal is not None
        assert parent.journal.arrivals[1] == (0, CANCELLED), "the caller gets it"
    if behind is not None:
        assert world.state.lanes["Level1", "key1"].holder == behind.seq
    world.drain()


@pytest.mark.rule("R15")
@pytest.mark.parametrize("seen", [True, False])
def test_what_turns_out_not_to_have_begun_ends(seen: bool) -> None:
    """It was on its way to an endpoint that cannot be reached."""
    world = World()
    new = admit(world, CART)
    world.send(Cancel(new.seq))
    assert new.status is Status.RUNNING
    if seen:
        world.send(CancelTaken(new.seq, new.token))
    world.send(AttemptFailed(new.seq, new.token, "nobody there", POLICY, began=False))
    assert new.status is Status.COMPLETED
    assert new.outcome_failure == CANCELLED


@pytest.mark.rule("R15")
def test_one_that_has_begun_goes_on_with_its_compensation() -> None:
    world = World()
    begun = admit(world, CART)
    issue(world, begun, Sleep(1, world.now + 1_000_000))
    world.send(AttemptFailed(begun.seq, begun.token, "lost", POLICY))
    world.send(Cancel(begun.seq))
    world.send(AttemptFailed(begun.seq, begun.token, "nobody there", POLICY, began=False))
    assert begun.status is not Status.COMPLETED


@pytest.mark.rule("R15")
def test_one_that_backs_off_tries_again_at_once() -> None:
    world = World()
    failing = admit(world, CART)
    world.send(AttemptFailed(failing.seq, failing.token, "no luck", POLICY))
    found = effects(world, Cancel(failing.seq))
    assert [type(effect) for effect in found if type(effect) is StartAttempt] == [StartAttempt]
    assert failing.attempt == 2


@pytest.mark.rule("R15")
@pytest.mark.parametrize("others", ["nobody", "outside", "attached", "attached and gone"])
@pytest.mark.parametrize("awaited", [True, False])
def test_a_call_goes_on_where_others_wait_for_it_unless_it_is_meant_itself(others: str, awaited: bool) -> None:
    world = World()
    caller = admit(world, PLAIN)
    callee = call(world, caller, 1, CART)
    attached = admit(world, PLAIN)
    match others:
        case "outside":
            world.waiting[1] = callee.id
            world.send(AttachWaiter(callee.seq, 1))
        case "attached" | "attached and gone":
            issue(world, attached, Attach(1, callee.id), Existing(callee.seq, callee.id))
            if others == "attached and gone":
                world.send(Kill(attached.seq))
        case _:
            pass
    issue(world, caller, SendSignal(callee.id, CANCEL_INDEX, VOID, awaited=awaited))
    assert callee.cancelling == (not awaited or others in ("nobody", "attached and gone"))
    world.drain()


@pytest.mark.rule("R15")
def test_a_running_action_is_not_interrupted() -> None:
    world = World()
    acting = admit(world, CART)
    issue(world, acting, Run(1, "effect"))
    world.send(ActionWanted(acting.seq, acting.token, 1))
    world.send(Cancel(acting.seq))
    found = effects(world, ActionEnded(acting.seq, acting.token, 1, OUTCOMES[0]))
    assert Deliver(acting.seq, 1) in found, "its result is recorded all the same"
    assert acting.journal is not None
    assert acting.journal.arrivals[1] == (1, OUTCOMES[0])


# --- kill


@pytest.mark.rule("R16")
def test_the_calls_below_end_first_and_nobody_of_them_is_told() -> None:
    world = World()
    root = admit(world, PLAIN, waiter=1)
    child = call(world, root, 1, CART)
    grandchild = call(world, child, 1, Target("Level2", "Do", "key1"))
    found = effects(world, Kill(root.seq))
    assert [effect.seq for effect in found if isinstance(effect, Abandon)] == [grandchild.seq, child.seq, root.seq]
    assert not [effect for effect in found if isinstance(effect, (PutNotification, Deliver))]
    assert not world.state.lanes
    assert not world.state.live


@pytest.mark.rule("R16")
def test_their_keys_are_free_for_whoever_is_next() -> None:
    world = World()
    root = admit(world, PLAIN)
    call(world, root, 1, CART)
    behind = admit(world, CART)
    world.send(Kill(root.seq))
    assert behind.status is Status.RUNNING
    world.drain()


# --- pause


@pytest.mark.rule("R20")
def test_a_pause_keeps_the_turn_and_records_what_comes() -> None:
    world = World()
    waiting = admit(world, CART)
    behind = admit(world, CART)
    issue(world, waiting, Sleep(1, world.now + 10))
    suspend(world, waiting, leaf(1))
    world.send(PauseRequested(waiting.seq))
    world.tick(1000, 0)
    assert (waiting.status, behind.status, waiting.notification_count) == (Status.PAUSED, Status.INBOXED, 1)
    world.send(Resume(waiting.seq))
    assert (waiting.status, waiting.attempt) == (Status.RUNNING, 1)
    world.drain()


@pytest.mark.rule("R20")
def test_an_attempt_in_memory_is_abandoned() -> None:
    world = World()
    running = admit(world, CART)
    token = running.token
    found = effects(world, PauseRequested(running.seq))
    assert Abandon(running.seq) in found
    assert effects(world, Issue(running.seq, token, Output(OUTCOMES[0]))) == [], "what it still does counts no more"
    assert effects(world, PauseRequested(running.seq)) == []


# --- missing handlers


@pytest.mark.rule("R19")
def test_a_missing_handler_is_no_attempt_and_exhausts_nothing() -> None:
    world = World()
    missing = admit(world, CART)
    delays = []
    for _ in range(10):
        assert (missing.status, missing.attempt) == (Status.RUNNING, 1)
        world.send(HandlerMissing(missing.seq, missing.token, "nothing hosts it", POLICY))
        assert (missing.status, missing.failures, missing.fault) == (Status.BACKING_OFF, 0, "RT0304")
        delays.append(missing.retry_ms - world.now)
        world.tick(delays[-1], 0)
    assert delays == [50, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    world.send(HandlerMissing(missing.seq, missing.token, "nothing hosts it", POLICY))
    world.send(ServicesChanged())
    assert (missing.status, missing.attempt, missing.fault) == (Status.RUNNING, 1, "")
    world.drain()


@pytest.mark.rule("R19")
def test_a_start_looks_at_once() -> None:
    world = World()
    missing = admit(world, CART)
    world.send(HandlerMissing(missing.seq, missing.token, "nothing hosts it", POLICY))
    world.commit()
    world.crash(frozenset())
    assert world.state.invocations[missing.seq].status is Status.RUNNING
    world.drain()


# --- refusal


@pytest.mark.rule("R18")
def test_a_refused_call_ends_before_it_begins() -> None:
    world = World()
    holder = admit(world, CART)
    refused = call(world, holder, 1, CART)
    failure = Failure(9, "a cycle")
    world.send(RefuseCall(holder.seq, 1, refused.seq, failure))
    assert refused.status is Status.COMPLETED
    assert holder.journal is not None
    assert holder.journal.arrivals[1] == (0, failure)
    world.drain()


@pytest.mark.rule("R18")
def test_a_refused_attachment_leaves_what_it_attached_to_alone() -> None:
    world = World()
    holder = admit(world, CART)
    id = world.new_id()
    world.admitted.add(id)
    issue(world, holder, OneWayCall(CART, b"", id))
    background = world.state.invocations[world.state.by_id[id]]
    issue(world, holder, Attach(1, id), Existing(background.seq, id))
    found = effects(world, RefuseCall(holder.seq, 1, background.seq, Failure(9, "a cycle")))
    assert DropSubscriber(background.seq, holder.seq, 1) in found
    assert (background.status, background.subscribers, holder.children) == (Status.INBOXED, [], {})


@pytest.mark.rule("R18")
def test_a_result_that_does_not_end_a_wait_is_a_reason_to_look() -> None:
    world = World()
    waiting = admit(world, CART)
    for completion_id in (1, 2):
        issue(world, waiting, Sleep(completion_id, world.now + 10 * completion_id))
    suspend(world, waiting, Wait(Rule.ALL, 0, [leaf(1), leaf(2)]))
    world.now += 10
    assert StillWaits(waiting.seq) in effects(world, Tick())
    world.now += 10
    assert StillWaits(waiting.seq) not in effects(world, Tick())
