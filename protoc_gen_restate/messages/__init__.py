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
        static: the expression for type checkers; `None` where they cannot know the class.
        dynamic: the expression at run time.
    """

    name: str
    static: str | None
    dynamic: str


@dataclass(frozen=True, slots=True)
class Reference:
    """How a module names a message class.

    Attributes:
        annotation: the expression for annotations.
        value: the expression for the class itself.
        alias: the name that these expressions need, if any.
    """

    annotation: str
    value: str
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
