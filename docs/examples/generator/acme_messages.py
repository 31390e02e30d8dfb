"""A message flavour as a plugin: classes that somebody's own library, acme, has for the messages of each package.

    --restate_opt=messages=acme

At generation `AcmeFlavour` says how a class is named; at run time `LIBRARY` says how it is encoded. Both are in one module here, which
the entry point `acme = "acme_messages"` of the group `protoc_gen_restate` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protoc_gen_restate.hooks import hookimpl
from protoc_gen_restate.imports import Section
from protoc_gen_restate.messages import Compiler, Flavour, Reference, Scope
from protoc_gen_restate.model import File, Message
from restate_runtime import MessageLibrary


class AcmeMessage:
    """The library itself: every message is a class with one text, field 1."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other.text == self.text

    def dump(self) -> bytes:
        data = self.text.encode()
        return b"\x0a" + bytes([len(data)]) + data if data else b""

    @classmethod
    def load(cls, data: bytes) -> AcmeMessage:
        return cls(data[2:].decode())


def decode(type_: type[Any], data: bytes) -> Any:
    return type_.load(data)


LIBRARY = MessageLibrary("acme", AcmeMessage, AcmeMessage.dump, decode, lambda type_: getattr(type_, "FULL_NAME", None))


class AcmeFlavour:
    name = "acme"
    in_package = False
    carries_descriptors = False

    def reference(self, message: Message, scope: Scope) -> Reference:
        package = message.full_name.removesuffix("." + ".".join(message.path))
        module, section = scope.layout.locate(message.file, f"{package}.messages")
        expression = scope.imports.member(module, "_".join(message.path), section)
        return Reference(expression, expression)

    def file_descriptor(self, file: File, scope: Scope) -> str:
        raise NotImplementedError("acme's classes carry no descriptors")

    def library(self, scope: Scope) -> str:
        return scope.imports.member("acme_messages", "LIBRARY", Section.THIRD_PARTY)

    def compiler(self, out: Path) -> Compiler | None:
        return None


@hookimpl
def message_flavours() -> Sequence[Flavour]:
    return [AcmeFlavour()]
