"""Cycles of calls in the core's state alone: who is stuck, and which call closed it."""

from __future__ import annotations

import pytest

from restate_runtime.journal.deadlock import Deadlock, find_deadlock, may_close
from restate_runtime.journal.entries import Attach, Run, Sleep, Target
from restate_runtime.journal.events import Existing, Suspend
from restate_runtime.journal.model import Invocation, Status
from restate_runtime.journal.waits import Rule, Wait, leaf

from .simulator import World
from .test_interventions import CART, OTHER, PLAIN, admit, call, issue

pytestmark = pytest.mark.rule("R18")


class Waits:
    """Who waits for what, in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waits: dict[int, Wait] = {}

    def on(self, invocation: Invocation, *refs: int | Wait, rule: Rule = Rule.ALL) -> None:
        nodes = [leaf(ref) if isinstance(ref, int) else ref for ref in refs]
        self.waits[invocation.seq] = nodes[0] if len(nodes) == 1 else Wait(rule, 0, nodes)

    def find(self, invocation: Invocation) -> Deadlock | None:
        found = find_deadlock(self.world.state, invocation, self.waits.get)
        assert found is None or may_close(self.world.state, invocation), "the cheap question comes first"
        return found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def waits(world: World) -> Waits:
    return Waits(world)


def test_a_call_of_the_own_key(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    inner = call(world, holder, 1, CART)
    assert waits.find(holder) is None, "it does not wait yet"
    waits.on(holder, 1)
    found = waits.find(holder)
    assert found is not None
    assert (found.caller, found.completion_id, found.callee) == (holder.seq, 1, inner.seq)


def test_a_cycle_through_calls_without_a_key_and_shared_ones(world: World, waits: Waits) -> None:
    first = admit(world, CART)
    shared = call(world, first, 1, Target("Level1", "Do", "key3", shared=True))
    plain = call(world, shared, 1, PLAIN)
    waits.on(first, 1)
    waits.on(shared, 1)
    assert waits.find(first) is None, "the last of them executes"
    last = call(world, plain, 1, CART)
    waits.on(plain, 1)
    for one in (first, shared, plain):  # whoever begins to wait last
        found = waits.find(one)
        assert found is not None
        assert (found.caller, found.callee) == (plain.seq, last.seq), "the call that came last is the closing one"
        assert "Level0/Do (inv_1" in found.message
        assert found.message.count("waits for its turn behind") == 1


def test_two_keys_crosswise(world: World, waits: Waits) -> None:
    first, second = admit(world, CART), admit(world, OTHER)
    call(world, first, 1, OTHER)
    waits.on(first, 1)
    assert waits.find(first) is None
    last = call(world, second, 1, CART)
    waits.on(second, 1)
    found = waits.find(second)
    assert found is not None
    assert (found.caller, found.callee) == (second.seq, last.seq)


def test_a_chain_without_a_cycle(world: World, waits: Waits) -> None:
    first, second = admit(world, CART), admit(world, OTHER)
    call(world, first, 1, OTHER)
    waits.on(first, 1)
    behind = call(world, admit(world, PLAIN), 1, CART)
    assert behind.status is Status.INBOXED
    assert waits.find(first) is None
    issue(world, second, Sleep(1, world.now + 1000))
    waits.on(second, 1)
    assert waits.find(second) is None


def test_behind_others_in_the_inbox(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    admit(world, CART)
    plain = call(world, holder, 1, PLAIN)
    waits.on(holder, 1)
    last = call(world, plain, 1, CART)
    waits.on(plain, 1)
    found = waits.find(plain)
    assert found is not None
    assert found.callee == last.seq


@pytest.mark.parametrize("rule", [Rule.ALL, Rule.ANY, Rule.EVERY, Rule.SUCCESS])
def test_of_several_calls_each_has_to_be_stuck(world: World, waits: Waits, rule: Rule) -> None:
    holder = admit(world, CART)
    call(world, holder, 1, CART)
    free = call(world, holder, 2, PLAIN)
    waits.on(holder, 1, 2, rule=rule)
    assert waits.find(holder) is None, "a failure of the other can end it, or its end shall be waited for"
    call(world, free, 1, CART)
    waits.on(free, 1)
    assert waits.find(holder) is not None


@pytest.mark.parametrize(
    ("rule", "goes_on"), [(Rule.ALL, False), (Rule.EVERY, False), (Rule.ANY, True), (Rule.SUCCESS, True), (Rule.TIMEOUT, True)]
)
def test_a_timer(world: World, waits: Waits, rule: Rule, goes_on: bool) -> None:
    holder = admit(world, CART)
    call(world, holder, 1, CART)
    issue(world, holder, Sleep(2, world.now + 1000))
    waits.on(holder, 1, 2, rule=rule)
    assert (waits.find(holder) is None) == goes_on


def test_nested_waits(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    call(world, holder, 1, CART)
    issue(world, holder, Sleep(2, world.now + 1000))
    issue(world, holder, Sleep(3, world.now + 1000))
    waits.on(holder, Wait(Rule.ANY, 0, [leaf(1), leaf(2)]), 3)
    assert waits.find(holder) is None
    waits.on(holder, Wait(Rule.ALL, 0, [leaf(1), leaf(2)]), leaf(1), rule=Rule.ANY)
    assert waits.find(holder) is not None


def test_an_awakeable_or_an_action_can_fail(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    call(world, holder, 1, CART)
    waits.on(holder, 1, -17)
    assert waits.find(holder) is None
    issue(world, holder, Run(2, "effect"))
    waits.on(holder, 1, 2)
    assert waits.find(holder) is None


def test_the_signal_that_cancels_is_in_every_wait_of_an_endpoint(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    call(world, holder, 1, CART)
    waits.on(holder, 1, -1, rule=Rule.ANY)
    assert waits.find(holder) is not None


@pytest.mark.parametrize("status", [Status.PAUSED, Status.BACKING_OFF, Status.READY, Status.SCHEDULED])
def test_those_that_can_go_on_or_be_helped(world: World, waits: Waits, status: Status) -> None:
    holder = admit(world, CART)
    middle = call(world, holder, 1, PLAIN)
    call(world, middle, 1, CART)
    waits.on(holder, 1)
    waits.on(middle, 1)
    assert waits.find(holder) is not None
    middle.status = status
    assert waits.find(holder) is None


def test_suspended_ones_are_asked_from_their_rows(world: World, waits: Waits) -> None:
    holder = admit(world, CART)
    middle = call(world, holder, 1, PLAIN)
    call(world, middle, 1, CART)
    for one in (middle, holder):
        world.send(Suspend(one.seq, one.token, leaf(1), one.notification_count))
    world.commit()
    assert holder.journal is None
    found = waits.find(holder)
    assert found is not None
    world.crash(frozenset(), unclean=False)
    found = Waits(world).find(world.state.invocations[holder.seq])
    assert found is not None, "and after a restart"


def test_attachments_alone_make_a_cycle(world: World, waits: Waits) -> None:
    parent = admit(world, PLAIN)
    child = call(world, parent, 1, PLAIN)
    issue(world, child, Attach(1, parent.id), Existing(parent.seq, parent.id))
    waits.on(parent, 1)
    waits.on(child, 1)
    found = waits.find(child)
    assert found is not None
    assert (found.caller, found.callee) == (child.seq, parent.seq), "the call leads to what is new, the attachment does not"
