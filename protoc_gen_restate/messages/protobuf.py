"""The classes of google.protobuf, as protoc's own `--python_out` makes them."""

from __future__ import annotations

import keyword

from ..imports import ImportTable, Section
from ..model import File, Message
from ..naming import is_plain, module_name
from . import Alias, Reference

__all__ = ["ProtobufFlavour"]

_DESCRIPTOR = "DESCRIPTOR"


class ProtobufFlavour:
    """`*_pb2` modules, imported absolutely, with the stubs of mypy-protobuf."""

    name = "protobuf"

    def reference(self, message: Message, imports: ImportTable) -> Reference:
        module = self._module(message.file, imports)
        # Stubs say that `DESCRIPTOR` is the file's, also where a message takes the name.
        unknown = imports.is_dynamic(module) or message.path[0] == _DESCRIPTOR
        if all(map(is_plain, message.path)) and not unknown:
            expression = ".".join((module, *message.path))
            return Reference(expression, expression)
        name = imports.reserve("_".join(("message", *message.path)))
        value = module
        for part in message.path:
            value = f'getattr({value}, "{part}")' if keyword.iskeyword(part) or part == _DESCRIPTOR else f"{value}.{part}"
        if unknown:
            return Reference(name, value, Alias(name, None, value))
        # mypy-protobuf puts `_r_` before a class that is called like a keyword.
        stub = ".".join((module, *(f"_r_{part}" if keyword.iskeyword(part) else part for part in message.path)))
        return Reference(name, name, Alias(name, stub, value))

    def file_descriptor(self, file: File, imports: ImportTable) -> str:
        module = self._module(file.name, imports)
        if _DESCRIPTOR not in file.definitions:
            return f"{module}.{_DESCRIPTOR}"
        pool = imports.member("google.protobuf", "descriptor_pool", Section.THIRD_PARTY)
        return f'{pool}.Default().FindFileByName("{file.name}")'

    def _module(self, proto: str, imports: ImportTable) -> str:
        package, _, name = module_name(proto, "_pb2").rpartition(".")
        return imports.member(package, name, Section.THIRD_PARTY if proto.startswith("google/protobuf/") else Section.OWN)
