"""What a suspended invocation waits for: a tree of results, with its own rule for when it is over.

The core keeps the tree so that a suspended invocation comes back once, when its await can go on, and not at every result.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

__all__ = ["Rule", "Wait", "decode_wait", "encode_wait", "leaf", "settle"]


class Rule(enum.IntEnum):
    """When a node of the tree is over."""

    LEAF = 0
    """When its result arrives."""
    ALL = 1
    """When all below it are over, or one of them failed."""
    ANY = 2
    """When one below it is over."""
    TIMEOUT = 3
    """When one of two is over; the second is a timer, whose end is a failure."""


class Wait(msgspec.Struct, array_like=True):
    """One node; `ref` counts for leaves alone."""

    rule: Rule
    ref: int = 0
    below: list[Wait] = []

    def leaves(self) -> Iterator[int]:
        """The results that count, in the order of the tree."""
        if self.rule is Rule.LEAF:
            yield self.ref
        for node in self.below:
            yield from node.leaves()


def leaf(ref: int) -> Wait:
    """A wait for one result."""
    return Wait(Rule.LEAF, ref)


def settle(wait: Wait, ref: int, failed: bool) -> bool:
    """Takes a result into the tree; whether the wait is over now. What is over leaves the tree.

    Args:
        wait: changed in place.
        ref: the result that arrived.
        failed: whether it is a failure.
    """
    return _settle(wait, ref, failed) is not None


def _settle(node: Wait, ref: int, failed: bool) -> bool | None:
    """`None` while the node is not over, else whether it failed."""
    if node.rule is Rule.LEAF:
        return failed if node.ref == ref else None
    rest = []
    outcome: bool | None = None
    for position, child in enumerate(node.below):
        result = _settle(child, ref, failed)
        if result is None:
            rest.append(child)
        elif node.rule is Rule.TIMEOUT:
            outcome = result or position == 1
        elif node.rule is Rule.ANY or result:
            outcome = result
    node.below = rest
    if outcome is None and not rest:
        return False
    return outcome


encode_wait = msgspec.msgpack.Encoder().encode
decode_wait = msgspec.msgpack.Decoder(Wait).decode
