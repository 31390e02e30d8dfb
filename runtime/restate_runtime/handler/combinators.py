"""Waiting for several durable futures; each decides by the order in which results were recorded, the same on every replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar, overload

from ..journal.nodes import All, First
from .futures import DurableFuture
from .scope import current_double, current_handler

__all__ = ["as_completed", "gather", "race", "select"]

_ASYNCIOS = {"gather": "gather", "race": "wait", "select": "wait", "as_completed": "as_completed"}

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


@overload
def gather(a: DurableFuture[T1], b: DurableFuture[T2], /) -> DurableFuture[tuple[T1, T2]]: ...
@overload
def gather(a: DurableFuture[T1], b: DurableFuture[T2], c: DurableFuture[T3], /) -> DurableFuture[tuple[T1, T2, T3]]: ...
@overload
def gather(
    a: DurableFuture[T1], b: DurableFuture[T2], c: DurableFuture[T3], d: DurableFuture[T4], /
) -> DurableFuture[tuple[T1, T2, T3, T4]]: ...
@overload
def gather(
    a: DurableFuture[T1], b: DurableFuture[T2], c: DurableFuture[T3], d: DurableFuture[T4], e: DurableFuture[T5], /
) -> DurableFuture[tuple[T1, T2, T3, T4, T5]]: ...
@overload
def gather(*futures: DurableFuture[T]) -> DurableFuture[tuple[T, ...]]: ...
def gather(*futures: DurableFuture[Any]) -> DurableFuture[Any]:
    """All results, in the order of the arguments.

    The first failure, in the order they were recorded, is raised; the others go on.
    """
    # Of nothing it is over at once, so that a list may be empty.
    invocation: Any = None if futures else current_handler.get() or current_double.get()
    if invocation is None:
        invocation = _invocation(futures, "gather")
    else:
        invocation.check_command()
    node = All([future._node for future in futures])

    def read() -> tuple[Any, ...]:
        for future in futures:
            if future._node is node.first_failure:
                future._read()
        return tuple(future._read() for future in futures)

    return DurableFuture(invocation, node, read)


def race(*futures: DurableFuture[T]) -> DurableFuture[T]:
    """The outcome, result or failure, of the first to finish; the others go on."""
    invocation = _invocation(futures, "race")
    node = First([future._node for future in futures])

    def read() -> T:
        winner = node.winner
        return next(future for future in futures if future._node is winner)._read()

    return DurableFuture(invocation, node, read)


def select(**futures: DurableFuture[T]) -> DurableFuture[tuple[str, T]]:
    """The first to finish, with the name that it was given; the others go on."""
    invocation = _invocation(tuple(futures.values()), "select")
    node = First([future._node for future in futures.values()])

    def read() -> tuple[str, T]:
        name, future = next((name, future) for name, future in futures.items() if future._node is node.winner)
        return name, future._read()

    return DurableFuture(invocation, node, read)


async def as_completed(*futures: DurableFuture[T]) -> AsyncIterator[DurableFuture[T]]:
    """The futures in the order they finish; await each for its outcome."""
    if not futures:
        return
    invocation = _invocation(futures, "as_completed")
    rest = list(futures)
    while rest:
        node = First([future._node for future in rest])
        await DurableFuture(invocation, node, lambda: None)
        finished = next(future for future in rest if future._node is node.winner)
        rest.remove(finished)
        yield finished


def _invocation(futures: tuple[DurableFuture[Any], ...], name: str) -> Any:
    if not futures:
        raise ValueError(f"{name} needs at least one durable future")
    for future in futures:
        if not isinstance(future, DurableFuture):
            inside = current_handler.get() or current_double.get()
            outside = "" if inside else f"; outside handlers use asyncio's {_ASYNCIOS[name]}"
            kind = type(future).__name__
            raise TypeError(f"{name} takes a handler's durable futures (calls, sleeps, runs, awakeables), not a {kind}{outside}")
    first = futures[0]._invocation
    if any(future._invocation is not first for future in futures):
        raise ValueError(f"{name} takes durable futures of one invocation")
    return first
