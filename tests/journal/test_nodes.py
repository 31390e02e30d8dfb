"""Combinators: the same decision whether the handler waited, or looked when everything had arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product

import pytest

from restate_runtime.journal.entries import Failure, Outcome, Success
from restate_runtime.journal.nodes import All, First, Leaf, Node, Timeout
from restate_runtime.journal.waits import settle
from restate_runtime.serde import Value

GOOD: Outcome = Success(Value("json", b"1"))
BAD: Outcome = Failure(13, "failed")

Build = Callable[[Sequence[Leaf]], Node]

SHAPES: dict[str, Build] = {
    "all": lambda leaves: All(leaves),
    "first": lambda leaves: First(leaves),
    "timeout": lambda leaves: Timeout([All(leaves[:2]), leaves[2]]),
    "first of all": lambda leaves: First([All(leaves[:2]), leaves[2]]),
    "all of first": lambda leaves: All([First(leaves[:2]), leaves[2]]),
    "the same one twice": lambda leaves: All([leaves[0], leaves[1], leaves[0]]),
    "one in two combinations": lambda leaves: All([First([leaves[0], leaves[1]]), First([leaves[1], leaves[2]])]),
    "timeout of timeout": lambda leaves: Timeout([Timeout([leaves[0], leaves[1]]), leaves[2]]),
}


def verdict(node: Node) -> tuple[object, ...]:
    """All that a handler can see of a settled node."""
    winner = getattr(node, "winner", None)
    failure = getattr(node, "first_failure", None)
    return node.index, node.failed, _place(node, winner), _place(node, failure)


def _place(node: Node, child: Node | None) -> object:
    children: Sequence[Node] = getattr(node, "children", ())
    return None if child is None else next(index for index, one in enumerate(children) if one is child)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_waiting_and_looking_afterwards_decide_alike(shape: str, order: tuple[int, ...]) -> None:
    for outcomes in product([GOOD, BAD], repeat=3):
        arrivals = {leaf: (index, outcomes[leaf]) for index, leaf in enumerate(order)}
        waited = [Leaf(ref) for ref in range(3)]
        first = SHAPES[shape](waited)
        for leaf in order:
            waited[leaf].settle(*arrivals[leaf])
        # On a replay any prefix may have arrived before the combination is made.
        for known in range(4):
            early = set(order[:known])
            leaves = [Leaf(ref, arrivals[ref] if ref in early else None) for ref in range(3)]
            again = SHAPES[shape](leaves)
            for leaf in order[known:]:
                leaves[leaf].settle(*arrivals[leaf])
            assert verdict(again) == verdict(first), (outcomes, known)


@pytest.mark.rule("R10")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_suspended_node_comes_back_exactly_when_it_is_settled(shape: str, order: tuple[int, ...]) -> None:
    for outcomes in product([GOOD, BAD], repeat=3):
        for known in range(3):
            leaves = [Leaf(ref) for ref in range(3)]
            node = SHAPES[shape](leaves)
            for index, leaf in enumerate(order[:known]):
                leaves[leaf].settle(index, outcomes[leaf])
            if node.index >= 0:
                continue
            wait = node.wait()
            over = False
            for index, leaf in enumerate(order[known:], known):
                over = over or settle(wait, leaf, isinstance(outcomes[leaf], Failure))
                leaves[leaf].settle(index, outcomes[leaf])
                assert over == (node.index >= 0), (outcomes, known, leaf)


def test_the_first_result_of_a_leaf_counts() -> None:
    leaf = Leaf(1)
    leaf.settle(3, GOOD)
    leaf.settle(4, BAD)
    assert (leaf.index, leaf.outcome, leaf.failed) == (3, GOOD, False)


def test_the_failure_that_was_recorded_first_is_the_one_of_all() -> None:
    leaves = [Leaf(1, (5, BAD)), Leaf(2, (2, BAD)), Leaf(3)]
    node = All(leaves)
    assert node.first_failure is leaves[1]
    assert node.index == 2


def test_a_timer_that_wins_a_timeout_is_a_failure() -> None:
    call, timer = Leaf(1), Leaf(2)
    node = Timeout([call, timer])
    timer.settle(0, GOOD)
    assert node.failed
    assert node.winner is timer


def test_nothing_to_wait_for_is_over_at_once() -> None:
    assert All([]).index == 0


def test_a_long_lived_child_does_not_collect_its_combinations() -> None:
    forever = Leaf(1)
    for ref in range(100):
        First([forever, Leaf(100 + ref, (ref, GOOD))])
    racing = [Leaf(ref) for ref in range(200, 300)]
    for index, leaf in enumerate(racing):
        First([forever, leaf])
        leaf.settle(index, GOOD)
    assert forever.parents == []
