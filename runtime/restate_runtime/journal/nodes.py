"""What a handler can wait for: single results and combinations of them, settled by the order in which results became durable.

A node's `index` is the position of the notification that settled it. It is the same on every replay, whatever has arrived by the
time the handler looks, so combinators decide the same way each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .entries import Failure, Outcome, Ref
from .waits import Rule, Wait, leaf

__all__ = ["All", "First", "Leaf", "Node", "Timeout"]

UNSETTLED = -1


class Node:
    """Something that is settled once."""

    __slots__ = ("awaited", "failed", "index", "parents")

    def __init__(self) -> None:
        self.awaited = False
        self.index = UNSETTLED
        self.failed = False
        self.parents: list[Combination] = []

    def _settled(self, index: int, failed: bool) -> None:
        self.index = index
        self.failed = failed
        parents, self.parents = self.parents, []
        for parent in parents:
            parent.child_settled(self)

    def mark_awaited(self) -> None:
        """The handler awaits it, and with it everything below."""
        self.awaited = True

    def leaves(self) -> Iterator[Leaf]:
        """The single results below it."""
        raise NotImplementedError

    def wait(self) -> Wait:
        """The tree that the core keeps while the invocation is suspended on this node."""
        raise NotImplementedError


class Leaf(Node):
    """One result: of a call, a sleep, a side effect, an awakeable."""

    __slots__ = ("outcome", "ref")

    def __init__(self, ref: Ref, arrival: tuple[int, Outcome] | None = None) -> None:
        super().__init__()
        self.ref = ref
        self.outcome: Outcome | None = None
        if arrival is not None:
            self.settle(*arrival)

    def settle(self, index: int, outcome: Outcome) -> None:
        """The result arrived; only the first one counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._settled(index, isinstance(outcome, Failure))

    def leaves(self) -> Iterator[Leaf]:
        yield self

    def wait(self) -> Wait:
        return leaf(self.ref)


class Combination(Node):
    """Settled by the nodes below it."""

    __slots__ = ("children",)

    def __init__(self, children: Sequence[Node]) -> None:
        super().__init__()
        self.children = tuple(children)
        self._look_back()
        if self.index == UNSETTLED:
            for child in dict.fromkeys(self.children):  # one that is given twice counts once
                if child.index == UNSETTLED:
                    child.parents.append(self)

    def _look_back(self) -> None:
        """Settles it from what is settled already."""
        raise NotImplementedError

    def child_settled(self, child: Node) -> None:
        """A node below was settled after this one was made."""
        raise NotImplementedError

    def mark_awaited(self) -> None:
        self.awaited = True
        for child in self.children:
            if not child.awaited:
                child.mark_awaited()

    def leaves(self) -> Iterator[Leaf]:
        for child in self.children:
            yield from child.leaves()

    def _over(self, index: int, failed: bool) -> None:
        # A long-lived child must not collect the combinations that it once was in.
        for child in self.children:
            if child.index == UNSETTLED and self in child.parents:
                child.parents.remove(self)
        self._settled(index, failed)


class All(Combination):
    """Settled when all are, or when one fails: then with the failure that was recorded first."""

    __slots__ = ("first_failure", "open")

    def __init__(self, children: Sequence[Node]) -> None:
        self.first_failure: Node | None = None
        self.open = 0
        super().__init__(children)

    def _look_back(self) -> None:
        failures = [child for child in self.children if child.index != UNSETTLED and child.failed]
        self.open = sum(child.index == UNSETTLED for child in set(self.children))
        if failures:
            self.first_failure = min(failures, key=lambda child: child.index)
            self._over(self.first_failure.index, True)
        elif not self.open:
            self._over(max((child.index for child in self.children), default=0), False)

    def child_settled(self, child: Node) -> None:
        if self.index != UNSETTLED:
            return
        self.open -= 1
        if child.failed:
            self.first_failure = child
            self._over(child.index, True)
        elif not self.open:
            self._over(child.index, False)

    def wait(self) -> Wait:
        return Wait(Rule.ALL, 0, [child.wait() for child in self.children if child.index == UNSETTLED])


class First(Combination):
    """Settled by the first of them."""

    __slots__ = ()

    @property
    def winner(self) -> Node:
        """Which of them; the first in order where one notification settled several, whichever of them was told first."""
        return next(child for child in self.children if child.index == self.index)

    def _fails(self, winner: Node) -> bool:
        return winner.failed

    def _look_back(self) -> None:
        settled = [child for child in self.children if child.index != UNSETTLED]
        if settled:
            self._win(min(settled, key=lambda child: child.index))

    def child_settled(self, child: Node) -> None:
        if self.index == UNSETTLED:
            self._win(child)

    def _win(self, winner: Node) -> None:
        self._over(winner.index, self._fails(winner))

    def wait(self) -> Wait:
        return Wait(Rule.ANY, 0, [child.wait() for child in self.children])


class Timeout(First):
    """The first of what is awaited and a timer; the timer's victory is a failure."""

    __slots__ = ()

    def _fails(self, winner: Node) -> bool:
        return winner.failed or winner is self.children[1]

    def wait(self) -> Wait:
        return Wait(Rule.TIMEOUT, 0, [child.wait() for child in self.children])
