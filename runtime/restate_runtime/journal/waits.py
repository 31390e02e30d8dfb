"""What a suspended invocation waits for: a tree of results, with its own rule for when it is over.

The core keeps the tree so that a suspended invocation comes back once, when its await can go on, and not at every result.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from .entries import Ref

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
    EVERY = 4
    """When all below it are over, failed or not."""
    SUCCESS = 5
    """When one below it succeeded, or all of them failed."""


_COMBINATIONS = frozenset({Rule.ALL, Rule.ANY, Rule.EVERY, Rule.SUCCESS})


class Wait(msgspec.Struct, array_like=True):
    """One node.

    Attributes:
        rule: when it is over.
        ref: the result of a leaf.
        below: the nodes below, but for leaves of combinations.
        refs: those leaves, in a set: an invocation can wait for a hundred thousand results, and each must cost the same.
    """

    rule: Rule
    ref: Ref = 0
    below: list[Wait] = []
    refs: set[Ref] = set()

    def __post_init__(self) -> None:
        if self.rule in _COMBINATIONS:
            self.refs |= {node.ref for node in self.below if node.rule is Rule.LEAF}
            self.below = [node for node in self.below if node.rule is not Rule.LEAF]

    def leaves(self) -> Iterator[Ref]:
        """The results that count."""
        if self.rule is Rule.LEAF:
            yield self.ref
        yield from self.refs
        for node in self.below:
            yield from node.leaves()


def leaf(ref: Ref) -> Wait:
    """A wait for one result."""
    return Wait(Rule.LEAF, ref)


def settle(wait: Wait, ref: Ref, failed: bool) -> bool:
    """Takes a result into the tree; whether the wait is over now. What is over leaves the tree.

    Args:
        wait: changed in place.
        ref: the result that arrived.
        failed: whether it is a failure.
    """
    return _settle(wait, ref, failed) is not None


def _settle(node: Wait, ref: Ref, failed: bool) -> bool | None:
    """`None` while the node is not over, else whether it failed."""
    match node.rule:
        case Rule.LEAF:
            return failed if node.ref == ref else None
        case Rule.TIMEOUT:
            results = [_settle(child, ref, failed) for child in node.below]
            return True if results[1] is not None and results[0] is None else results[0]
        case Rule.ANY | Rule.ALL | Rule.EVERY | Rule.SUCCESS:
            return _settle_combination(node, ref, failed)


def _settle_combination(node: Wait, ref: Ref, failed: bool) -> bool | None:
    results = [failed] if ref in node.refs else []
    node.refs.discard(ref)
    rest = []
    for child in node.below:
        result = _settle(child, ref, failed)
        if result is None:
            rest.append(child)
        else:
            results.append(result)
    node.below = rest
    whole = not node.refs and not node.below
    match node.rule:
        case Rule.ALL if any(results):
            return True
        case Rule.ANY:
            return any(results) if results else None
        case Rule.SUCCESS if not all(results):
            return False
        case Rule.SUCCESS:
            return True if whole else None
        case _:
            return False if whole else None


encode_wait = msgspec.msgpack.Encoder().encode
decode_wait = msgspec.msgpack.Decoder(Wait).decode
