"""Single transitions of the core that went wrong once, or easily could: events in, effects out."""

from __future__ import annotations

import pytest

from restate_runtime.journal.core import step
from restate_runtime.journal.effects import Abandon, Load, PutNotification, Reply, StartAttempt
from restate_runtime.journal.entries import Call, Failure, Output, Run, SetState, Sleep, Success, Target
from restate_runtime.journal.events import Admit, AttemptFailed, Cancel, Evict, Issue, Kill, Resume, Settle, Suspend, Tick
from restate_runtime.journal.model import Invocation, Status
from restate_runtime.journal.waits import leaf
from restate_runtime.retry import RetryPolicy
from restate_runtime.serde import Value

from .simulator import World

DONE = Success(Value("json", b"1"))
CART = Target("Level1", "Do", "key1")
PLAIN = Target("Level0", "Do", None)


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


@pytest.mark.rule("R16")
def test_a_delayed_call_is_killed_while_nobody_holds_its_key() -> None:
    world = World()
    delayed = admit(world, CART, due_ms=5000, waiter=1)
    world.send(Kill(delayed.seq))
    world.drain()
    assert world.replies[1] == [Failure(10, "killed")]


@pytest.mark.rule("R16")
def test_a_delayed_call_is_killed_while_another_holds_its_key() -> None:
    world = World()
    holder = admit(world, CART)
    delayed = admit(world, CART, due_ms=5000)
    world.send(Kill(delayed.seq))
    assert world.state.lanes["Level1", "key1"].holder == holder.seq
    world.drain()


@pytest.mark.rule("R16")
def test_a_parent_is_killed_whose_calls_wait_for_the_same_key() -> None:
    """The second call gets its turn and loses it in one transition, before it is loaded."""
    world = World()
    parent = admit(world, PLAIN)
    first = call(world, parent, 1, CART)
    second = call(world, parent, 2, CART)
    world.commit()
    assert (first.status, second.status) == (Status.RUNNING, Status.INBOXED)
    assert second.journal is None
    world.send(Kill(parent.seq))
    assert not world.state.invocations
    assert not world.state.lanes
    world.drain()


def test_two_retries_due_at_once_start_one_attempt() -> None:
    world = World()
    failing = admit(world, CART)
    policy = RetryPolicy()
    world.send(AttemptFailed(failing.seq, failing.token, "first", policy))
    world.send(Resume(failing.seq))
    world.send(AttemptFailed(failing.seq, failing.token, "second", policy))
    world.commit()
    assert failing.journal is None
    world.tick(100, 0)
    assert (failing.status, world.state.live) == (Status.RUNNING, 1)
    world.drain()


@pytest.mark.rule("R13")
@pytest.mark.parametrize("parked", ["running", "scheduled", "inboxed", "suspended", "backing-off"])
def test_the_record_of_a_start_may_be_lost_with_the_process_that_it_kills(parked: str) -> None:
    """Each life starts the invocation, which takes the process down before the batch with its start is on disk."""
    world = World()
    invocation = admit(world, CART, due_ms=world.now + 10 if parked == "scheduled" else 0)
    ahead: Invocation | None = None
    match parked:
        case "inboxed":
            world = World()
            ahead = admit(world, CART)
            invocation = admit(world, CART)
        case "suspended":
            world.send(Issue(invocation.seq, invocation.token, Sleep(1, world.now + 10)))
            world.send(Suspend(invocation.seq, invocation.token, leaf(1)))
        case "backing-off":
            world.send(AttemptFailed(invocation.seq, invocation.token, "once", RetryPolicy()))
        case _:
            pass
    world.commit()
    assert invocation.status.value == parked
    seq, id = invocation.seq, invocation.id
    for life in range(1, 5):
        world.now += 20_000
        world.send(Tick())
        if ahead is not None:
            holder = world.state.invocations[ahead.seq]
            world.send(Issue(holder.seq, holder.token, Output(DONE)))
        now = world.state.invocations[seq]
        if life == 4:
            assert now.status is Status.PAUSED
            assert now.fault == "RT0303"
            assert "3 unclean exits" in now.failure
        else:
            assert now.status is Status.RUNNING
            world.crash(frozenset({id}))
    world.send(Cancel(seq))  # which does not run what takes the process down
    assert world.state.invocations[seq].status is Status.PAUSED
    world.send(Resume(seq))
    assert world.state.invocations[seq].status is Status.RUNNING
    world.drain()


@pytest.mark.rule("R13")
def test_unclean_exits_count_in_a_row() -> None:
    world = World()
    id, seq = (one := admit(world, PLAIN)).id, one.seq
    world.commit()
    for executing in (True, True, False, True, True, False, True, True):
        world.crash(frozenset({id}) if executing else frozenset())
        world.commit()
        assert world.state.invocations[seq].status is Status.RUNNING
    world.crash(frozenset({id}))
    assert world.state.invocations[seq].status is Status.PAUSED
    world.drain()


@pytest.mark.rule("R13")
def test_a_clean_stop_is_no_crash() -> None:
    world = World()
    id, seq = (one := admit(world, PLAIN)).id, one.seq
    world.commit()
    for _ in range(5):
        world.crash(frozenset({id}), unclean=False)
    assert world.state.invocations[seq].status is Status.RUNNING


@pytest.mark.rule("R21")
def test_a_delayed_call_enters_the_inbox_when_it_is_due() -> None:
    world = World()
    delayed = admit(world, CART, due_ms=world.now + 50)
    holder = admit(world, CART)
    world.tick(50, 0)
    later = admit(world, CART)
    assert [holder.admission, delayed.admission, later.admission] == [1, 2, 3]
    world.send(Issue(holder.seq, holder.token, Output(DONE)))
    assert (delayed.status, later.status) == (Status.RUNNING, Status.INBOXED)


def test_what_is_in_memory_and_what_is_not() -> None:
    """A parked journal leaves with the commit of its last record, and comes back with a load."""
    world = World()
    sleeper = admit(world, PLAIN)
    world.send(Issue(sleeper.seq, sleeper.token, Sleep(1, 5000)))
    world.send(Suspend(sleeper.seq, sleeper.token, leaf(1)))
    stale = [(sleeper.seq, sleeper.version - 1)]
    world.send(Evict(stale))
    assert sleeper.journal is not None, "a record of it is not on disk"
    world.commit()
    assert sleeper.journal is None
    world.tick(5000, 0)
    assert sleeper.status is Status.RUNNING
    assert sleeper.journal is not None


def test_a_result_that_arrives_while_it_suspends_brings_it_back() -> None:
    world = World()
    waiting = admit(world, PLAIN)
    world.send(Settle(waiting.seq, 17, DONE))
    token = waiting.token
    world.send(Suspend(waiting.seq, token, leaf(-17)))
    assert waiting.status is Status.RUNNING
    assert waiting.token == token + 1


def test_effects_come_in_the_order_in_which_they_count() -> None:
    """A call's result is recorded before its caller is told, and the next in the inbox starts after both."""
    world = World()
    parent = admit(world, PLAIN, waiter=1)
    child = call(world, parent, 1, CART)
    following = admit(world, CART)
    effects = step(world.state, Issue(child.seq, child.token, Output(DONE)), world.now)
    kinds = [type(effect).__name__ for effect in effects]
    assert kinds == ["PutCommand", "PutInvocation", "PutNotification", "Deliver", "PutInvocation", "StartAttempt"]
    notification = next(effect for effect in effects if isinstance(effect, PutNotification))
    started = next(effect for effect in effects if isinstance(effect, StartAttempt))
    assert (notification.seq, started.invocation.seq) == (parent.seq, following.seq)
    assert not any(isinstance(effect, (Reply, Abandon, Load)) for effect in effects)


def test_a_side_effect_starts_only_as_an_outer_effect() -> None:
    world = World()
    one = admit(world, PLAIN)
    world.send(Issue(one.seq, one.token, Run(1, "charge")))
    world.want_action(0, 0)
    assert not world.actions
    world.commit()
    assert list(world.actions) == [(one.seq, one.token, 1)]


LOOK = Target("Level1", "Look", "key1", shared=True)


def test_a_shared_invocation_runs_beside_the_holder_and_leaves_it_the_state() -> None:
    world = World()
    holder = admit(world, CART)
    looks = [admit(world, LOOK) for _ in range(3)]
    waiting = admit(world, CART)
    lane = world.state.lanes["Level1", "key1"]
    assert [one.status for one in (holder, *looks, waiting)] == [Status.RUNNING] * 4 + [Status.INBOXED]
    assert (lane.holder, list(lane.inbox), lane.readers) == (holder.seq, [waiting.seq], 3)
    world.send(Issue(holder.seq, holder.token, SetState("name", Value("json", b"1"))))
    assert lane.state == {"name": Value("json", b"1")}
    world.send(Issue(holder.seq, holder.token, Output(DONE)))
    assert lane.holder == waiting.seq
    world.send(Issue(waiting.seq, waiting.token, Output(DONE)))
    assert (lane.holder, lane.readers) == (0, 3)
    assert lane.state == {"name": Value("json", b"1")}
    world.drain()


def test_the_first_holder_after_readers_finds_the_state_that_they_read() -> None:
    world = World()
    look = admit(world, LOOK)
    read = world.state.lanes["Level1", "key1"].state
    holder = admit(world, CART)
    assert holder.status is Status.RUNNING
    assert world.state.lanes["Level1", "key1"].state is read
    world.send(Kill(look.seq))
    assert world.state.lanes["Level1", "key1"].readers == 0
    world.drain()


def test_state_leaves_memory_with_the_last_reader() -> None:
    world = World()
    looks = [admit(world, LOOK) for _ in range(2)]
    world.send(Suspend(looks[0].seq, looks[0].token, leaf(-17)))
    assert world.state.lanes["Level1", "key1"].readers == 1
    world.send(AttemptFailed(looks[1].seq, looks[1].token, "OSError", RetryPolicy()))
    assert not world.state.lanes
    world.drain()
