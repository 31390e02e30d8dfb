"""Declared state: what `ctx.state` of a generated context is made of."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Generic, TypeVar, cast

from ..descriptors import StateDescriptor
from .context import SharedContext, StatefulContext

__all__ = ["ReadOnlyStateValue", "State", "StateValue"]

T = TypeVar("T")


class State:
    """The base of generated `...State` classes, which have one property for each declared state."""

    # Every other name may be a state's.
    __slots__ = ("__context",)

    def __init__(self, context: SharedContext) -> None:
        self.__context = context

    def __restate_context__(self) -> SharedContext:
        return self.__context


class ReadOnlyStateValue(Generic[T]):
    """One declared state, as shared handlers see it."""

    __slots__ = ("_context", "_descriptor")

    def __init__(self, state: State, descriptor: StateDescriptor[T]) -> None:
        self._context = state.__restate_context__()
        self._descriptor = descriptor

    def get(self) -> Awaitable[T | None]:
        """The value, or `None` where there is none.

        Raises:
            SerdeError: what is stored is of another type.
        """
        return self._context.get(self._descriptor.name, self._descriptor.type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._descriptor.name}>"


class StateValue(ReadOnlyStateValue[T]):
    """One declared state."""

    __slots__ = ("_writer",)

    def __init__(self, state: State, descriptor: StateDescriptor[T]) -> None:
        super().__init__(state, descriptor)
        self._writer = cast(StatefulContext, self._context)

    def set(self, value: T) -> None:
        """Sets the value.

        Raises:
            TypeError: it is not of the declared type.
        """
        wanted = self._descriptor.type
        if not _fits(value, wanted):
            raise TypeError(f"state '{self._descriptor.name}' is declared as {wanted.__name__}, not {type(value).__name__}")
        if wanted is int and not -(2**63) <= cast(int, value) < 2**63:
            raise TypeError(f"state '{self._descriptor.name}' is declared as int64, which cannot hold {value}")
        self._writer.set(self._descriptor.name, self._as_float(value) if wanted is float else value)

    def _as_float(self, value: Any) -> float:
        try:
            return float(value)
        except OverflowError:
            raise TypeError(f"state '{self._descriptor.name}' is declared as double, which cannot hold so large a number") from None

    def clear(self) -> None:
        """Removes the value."""
        self._writer.clear(self._descriptor.name)


def _fits(value: object, wanted: type[Any]) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)
