"""The classes of google.protobuf, as protoc's own `--python_out` makes them."""

from __future__ import annotations

import keyword

from ..imports import ImportTable, Section
from ..model import File, Message
from ..naming import is_plain, module_name
from . import Alias, Reference

__all__ = ["ProtobufFlavour"]


class ProtobufFlavour:
    """`*_pb2` modules, imported absolutely, with the stubs of mypy-protobuf."""

    name = "protobuf"

    def reference(self, message: Message, imports: ImportTable) -> Reference:
        module = self._module(message.file, imports)
        if all(map(is_plain, message.path)) and not imports.is_dynamic(module):
            return Reference(".".join((module, *message.path)))
        name = imports.reserve("_".join(("message", *message.path)))
        # mypy-protobuf puts `_r_` before a class that is called like a keyword.
        stub = ".".join((module, *(f"_r_{part}" if keyword.iskeyword(part) else part for part in message.path)))
        dynamic = module
        for part in message.path:
            dynamic = f"{dynamic}.{part}" if not keyword.iskeyword(part) else f'getattr({dynamic}, "{part}")'
        static = "Any" if imports.is_dynamic(module) else stub
        return Reference(name, Alias(name, static, dynamic))

    def file_descriptor(self, file: File, imports: ImportTable) -> str:
        module = self._module(file.name, imports)
        if "DESCRIPTOR" not in file.definitions:
            return f"{module}.DESCRIPTOR"
        pool = imports.member("google.protobuf", "descriptor_pool", Section.THIRD_PARTY)
        return f'{pool}.Default().FindFileByName("{file.name}")'

    def _module(self, proto: str, imports: ImportTable) -> str:
        package, _, name = module_name(proto, "_pb2").rpartition(".")
        return imports.member(package, name, Section.THIRD_PARTY if proto.startswith("google/protobuf/") else Section.OWN)
