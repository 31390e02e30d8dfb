"""Message flavours: which library's classes generated modules speak of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..imports import ImportTable
from ..model import File, Message

__all__ = ["Alias", "Flavour", "Reference"]


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that a module gives to a class which Python cannot name directly.

    Attributes:
        name: the name in the module.
        static: the expression for type checkers.
        dynamic: the expression at run time.
    """

    name: str
    static: str
    dynamic: str


@dataclass(frozen=True, slots=True)
class Reference:
    """How a module names a message class: an expression, and the alias that it needs, if any."""

    expression: str
    alias: Alias | None = None


class Flavour(Protocol):
    """One message library."""

    @property
    def name(self) -> str:
        """What the flavour is called."""
        ...

    def reference(self, message: Message, imports: ImportTable) -> Reference:
        """How to name that message's class; imports what it takes."""
        ...

    def file_descriptor(self, file: File, imports: ImportTable) -> str:
        """The expression for the descriptor of that .proto file; imports what it takes."""
        ...
