"""What a suspended invocation waits for: when it is over."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from restate_runtime.journal.waits import Rule, Wait, decode_wait, encode_wait, leaf, settle


def all_of(*below: Wait) -> Wait:
    return Wait(Rule.ALL, 0, list(below))


def any_of(*below: Wait) -> Wait:
    return Wait(Rule.ANY, 0, list(below))


OK, FAILED = False, True

CASES: list[tuple[str, Callable[[], Wait], list[tuple[int, bool]], int | None]] = [
    # name, tree, arrivals in order, index of the arrival that ends the wait (None: it goes on)
    ("its own result", lambda: leaf(1), [(1, OK)], 0),
    ("its own failure", lambda: leaf(1), [(1, FAILED)], 0),
    ("another result", lambda: leaf(1), [(2, OK)], None),
    ("a signal", lambda: leaf(-17), [(17, OK), (-17, OK)], 1),
    ("all: the last", lambda: all_of(leaf(1), leaf(2)), [(2, OK), (1, OK)], 1),
    ("all: not the first", lambda: all_of(leaf(1), leaf(2)), [(1, OK)], None),
    ("all: a failure at once", lambda: all_of(leaf(1), leaf(2), leaf(3)), [(1, OK), (3, FAILED)], 1),
    ("all: the same result twice", lambda: all_of(leaf(1), leaf(1)), [(1, OK)], 0),
    ("all: a repeated arrival does not count for another", lambda: all_of(leaf(1), leaf(2)), [(1, OK), (1, OK)], None),
    ("any: the first", lambda: any_of(leaf(1), leaf(2)), [(2, OK)], 0),
    ("any: the first failure", lambda: any_of(leaf(1), leaf(2)), [(2, FAILED)], 0),
    ("any: none of them", lambda: any_of(leaf(1), leaf(2)), [(3, OK)], None),
    ("all of any", lambda: all_of(any_of(leaf(1), leaf(2)), leaf(3)), [(2, OK), (1, OK), (3, OK)], 2),
    ("all of any: its failure ends it", lambda: all_of(any_of(leaf(1), leaf(2)), leaf(3)), [(2, FAILED)], 0),
    ("all of any: a late failure does not", lambda: all_of(any_of(leaf(1), leaf(2)), leaf(3)), [(2, OK), (1, FAILED)], None),
    ("any of all", lambda: any_of(all_of(leaf(1), leaf(2)), leaf(3)), [(1, OK), (2, OK)], 1),
    ("any of all: half of it", lambda: any_of(all_of(leaf(1), leaf(2)), leaf(3)), [(1, OK)], None),
    ("any of all: its failure", lambda: any_of(all_of(leaf(1), leaf(2)), leaf(3)), [(1, FAILED)], 0),
    ("all of nothing left", lambda: all_of(all_of(), leaf(1)), [(1, OK)], 0),
]


@pytest.mark.parametrize(("tree", "arrivals", "over_at"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "from its row"])
def test_when_a_wait_is_over(tree: Callable[[], Wait], arrivals: list[tuple[int, bool]], over_at: int | None, stored: bool) -> None:
    wait = decode_wait(encode_wait(tree())) if stored else tree()
    over = [settle(wait, ref, failed) for ref, failed in arrivals]
    assert over.index(True) == over_at if over_at is not None else not any(over)


def test_every_leaf_of_the_tree() -> None:
    assert sorted(all_of(leaf(3), any_of(leaf(-17), leaf(2)), leaf(1)).leaves()) == [-17, 1, 2, 3]


def test_a_settled_part_leaves_the_tree() -> None:
    wait = all_of(any_of(leaf(1), leaf(2)), leaf(3))
    assert not settle(wait, 1, OK)
    assert list(wait.leaves()) == [3]


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])))
def test_all_is_over_with_the_last_in_any_order(order: tuple[int, ...]) -> None:
    wait = all_of(leaf(1), leaf(2), leaf(3))
    assert [settle(wait, ref, OK) for ref in order] == [False, False, True]
