"""Message flavours: which library's classes generated modules speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..imports import ImportTable
from ..layout import Layout
from ..model import File, Message

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Alias", "Compiler", "Flavour", "FlavourError", "Reference", "Scope"]


class FlavourError(Exception):
    """The flavour cannot be used; the text says why, and what to do."""


class Alias(NamedTuple):
    """A name that a module gives to a class which Python cannot name directly.

    Attributes:
        name: the name in the module.
        static: the expression for type checkers; `None` where they cannot know the class.
        dynamic: the expression at run time.
    """

    name: str
    static: str | None
    dynamic: str


class Reference(NamedTuple):
    """How a module names a message class.

    Attributes:
        annotation: the expression for annotations.
        value: the expression for the class itself.
        alias: the name that these expressions need, if any.
    """

    annotation: str
    value: str
    alias: Alias | None = None


class Scope:
    """One generated module, as a flavour sees it.

    Attributes:
        imports: hands out names for what the module imports.
        layout: where modules are.
        modules: what the module calls those that it imports for messages, by their .proto files.
    """

    def __init__(self, imports: ImportTable, layout: Layout) -> None:
        self.imports = imports
        self.layout = layout
        self.modules: dict[str, str] = {}


class Compiler(NamedTuple):
    """The compiler of a flavour's own code, for `generate`.

    Attributes:
        name: of its plugin of protoc, `python_betterproto2`.
        module: whose `main` is that plugin.
        arguments: further arguments of protoc.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()


class Flavour(Protocol):
    """One message library.

    Attributes:
        name: what the flavour is called in `messages=`.
        in_package: its own code has to be inside a package: imports are relative unless the options say otherwise.
        carries_descriptors: its classes are tied to protobuf's descriptors; otherwise generated modules bring these along.
    """

    @property
    def name(self) -> str: ...

    @property
    def in_package(self) -> bool: ...

    @property
    def carries_descriptors(self) -> bool: ...

    def reference(self, message: Message, scope: Scope) -> Reference:
        """How to name that message's class; imports what it takes."""
        ...

    def file_descriptor(self, file: File, scope: Scope) -> str:
        """The expression for the descriptor of that .proto file, where the classes carry descriptors; imports what it takes."""
        ...

    def library(self, scope: Scope) -> str:
        """The expression for the runtime's `MessageLibrary`, where the classes carry no descriptors; imports what it takes."""
        ...

    def compiler(self, out: Path) -> Compiler | None:
        """The compiler of its code, for `generate`; `None` for protoc's own.

        Raises:
            FlavourError: it is not installed.
        """
        ...
