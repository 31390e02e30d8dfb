"""Durable futures: what a handler awaits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import Code, DeadlineExceeded, TerminalError
from ..journal.entries import Failure, Outcome, Success
from ..journal.nodes import Leaf, Node, Timeout
from ..serde import SerdeError, Value, decode, restore

if TYPE_CHECKING:
    import asyncio

    from .invocation import Invocation

__all__ = ["Awakeable", "Call", "DurableFuture", "Ready", "terminal_error_of", "value_of"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def terminal_error_of(failure: Failure) -> TerminalError:
    """The exception for a recorded failure."""
    return TerminalError(failure.message, Code(failure.code))


def value_of(outcome: Outcome | None) -> Value:
    """The value of a result.

    Raises:
        TerminalError: it is a failure.
    """
    if isinstance(outcome, Failure):
        raise terminal_error_of(outcome)
    assert isinstance(outcome, Success)
    return outcome.value


class DurableFuture(Generic[T_co]):
    """The result of something recorded in the journal; await it any number of times, alone or in a combinator.

    Only the handler's own task may await it.
    """

    __slots__ = ("_invocation", "_node", "_read")

    def __init__(self, invocation: Invocation, node: Node, read: Callable[[], T_co]) -> None:
        self._invocation = invocation
        self._node = node
        self._read = read

    def __await__(self) -> Generator[Any, None, T_co]:
        invocation = self._invocation
        # asyncio.wait_for awaits in the handler's own task from Python 3.12 on, where only its frame gives it away.
        invocation.check_await(sys._getframe(1))
        node = self._node
        if not node.awaited:
            node.mark_awaited()
        if node.index < 0 or invocation.dead:
            yield from invocation.wait(node)
        invocation.consumed(node)
        return self._read()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: await it in the handler, or combine it with gather, race, select, as_completed or or_timeout>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # What asyncio.wait and others look for in a future of theirs.
            raise AttributeError(f"no attribute '{name}' in {self!r}")

    def or_timeout(self, duration: timedelta) -> DurableFuture[T_co]:
        """The same result, bounded in time; what is awaited goes on after the bound.

        Raises:
            DeadlineExceeded: at the await, the time is over.
        """
        timer = self._invocation.sleep(duration)._node
        node = Timeout((self._node, timer))

        def read() -> T_co:
            if node.winner is timer:
                raise DeadlineExceeded(f"not finished within {duration}")
            return self._read()

        return DurableFuture(self._invocation, node, read)


if TYPE_CHECKING:
    # A client does not know where it is used, so a call is typed as what it is on either side.
    class Call(DurableFuture[T], asyncio.Future[T]):  # type: ignore[misc]  # no class can really be both
        """An awaited call: it has begun, `await` it for the response."""

else:

    class Call(DurableFuture[T_co]):
        """An awaited call: it has begun, `await` it for the response.

        In a handler it is a durable future, for `gather`, `race`, `select`, `as_completed` and `or_timeout`. Outside handlers it is an
        `asyncio.Future`, on which all of asyncio works: `asyncio.gather`, `wait_for`, `wait`, `add_done_callback`, `cancel`.
        """

        __slots__ = ()


class Awakeable(DurableFuture[T]):
    """A promise that anyone who holds the `id` can settle."""

    __slots__ = ("id",)

    def __init__(self, invocation: Invocation, leaf: Leaf, type_: Any, id: str) -> None:
        self.id = id

        def read() -> T:
            value = value_of(leaf.outcome)
            try:
                return restore(value) if type_ is None else decode(value, type_)  # type: ignore[no-any-return]
            except SerdeError as error:
                raise TerminalError(f"the payload of awakeable {id} does not fit: {error}", Code.INVALID_ARGUMENT) from None

        super().__init__(invocation, leaf, read)


class Ready(Generic[T_co]):
    """Something that was read at once, in the shape of an await."""

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._value
        yield
