"""The classes of google.protobuf, as protoc's own `--python_out` makes them."""

from __future__ import annotations

import functools
import keyword
from typing import TYPE_CHECKING

from google.protobuf.message import Message as ProtobufMessage

from ..imports import Section
from ..model import File, Message
from ..naming import is_plain, module_name
from ..shipped import SHIPPED
from . import Alias, Compiler, Reference, Scope

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ProtobufFlavour"]

_DESCRIPTOR = "DESCRIPTOR"
# What every message has, as stubs see it, also where a nested message takes the name.
_METHODS = frozenset(name for name in vars(ProtobufMessage) if name[0] != "_")


class ProtobufFlavour:
    """`*_pb2` modules, imported absolutely, with the stubs of mypy-protobuf."""

    name = "protobuf"
    in_package = False
    carries_descriptors = True

    def reference(self, message: Message, scope: Scope) -> Reference:
        module = self._module(message.file, scope)
        hidden = any(map(_is_hidden, message.path)) or not _METHODS.isdisjoint(message.path[1:])
        unknown = hidden or scope.imports.is_dynamic(module)
        if all(map(is_plain, message.path)) and not unknown:
            expression = ".".join((module, *message.path))
            return Reference(expression, expression)
        name = scope.imports.reserve("_".join(("Message", *message.path)))
        value = self._past_hidden(module, message, scope) if hidden else functools.reduce(_attribute, message.path, module)
        if unknown:
            return Reference(name, value, Alias(name, None, value))
        # mypy-protobuf puts `_r_` before a class that is called like a keyword.
        stub = ".".join((module, *(f"_r_{part}" if keyword.iskeyword(part) else part for part in message.path)))
        return Reference(name, name, Alias(name, stub, value))

    def _past_hidden(self, module: str, message: Message, scope: Scope) -> str:
        """The class by way of its descriptor; stubs say that `DESCRIPTOR` is the file's, also where a message takes the name."""
        top, *nested = message.path
        value = f'vars({module})["{top}"]'
        if not nested:
            return value
        factory = scope.imports.member("google.protobuf", "message_factory", Section.THIRD_PARTY)
        steps = "".join(f'.nested_types_by_name["{part}"]' for part in nested)
        return f"{factory}.GetMessageClass({value}.{_DESCRIPTOR}{steps})"

    def file_descriptor(self, file: File, scope: Scope) -> str:
        module = self._module(file.name, scope)
        if _DESCRIPTOR not in file.definitions:
            return f"{module}.{_DESCRIPTOR}"
        way = f'"{file.types[0]}"].{_DESCRIPTOR}' if file.types else f'"{_DESCRIPTOR}"]'  # an extension, which is a descriptor itself
        return f"vars({module})[{way}.file"

    def _module(self, proto: str, scope: Scope) -> str:
        if proto not in scope.modules:
            scope.modules[proto] = self._imported(proto, scope)
        return scope.modules[proto]

    def _imported(self, proto: str, scope: Scope) -> str:
        module = module_name(proto, "_pb2")
        if proto.startswith("google/protobuf/") and proto not in scope.layout.options.modules:
            place, section = module, Section.THIRD_PARTY
        elif proto in SHIPPED and proto not in scope.layout.options.modules:
            place, section = module, Section.OWN  # in this package, wherever the output is
        else:
            place, section = scope.layout.locate(proto, module)
        package, dot, name = place.rpartition(".")
        # A relative one keeps its dots: `.cart_pb2` is `from . import cart_pb2`.
        return scope.imports.member(package + dot if not package.strip(".") else package, name, section)

    def library(self, scope: Scope) -> str:
        raise NotImplementedError("its classes carry descriptors")

    def compiler(self, out: Path) -> Compiler | None:
        return None


def _is_hidden(part: str) -> bool:
    """As an attribute of a module or class, it would be Python's or protobuf's own: `__class__`, `DESCRIPTOR`, the number of a field."""
    return part == _DESCRIPTOR or part.endswith("_FIELD_NUMBER") or (part.startswith("__") and part.endswith("__"))


def _attribute(owner: str, part: str) -> str:
    return f'getattr({owner}, "{part}")' if keyword.iskeyword(part) else f"{owner}.{part}"
