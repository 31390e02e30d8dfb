"""The classes of betterproto 2.0.0b7 and of betterproto2: dataclasses, all of a package in one module."""

from __future__ import annotations

import importlib
import importlib.util
import keyword
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from ..imports import Section
from ..model import File, Message
from ..naming import is_plain
from . import Alias, Compiler, FlavourError, Reference, Scope

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Betterproto2Flavour", "BetterprotoFlavour"]


class BetterprotoFlavour:
    """betterproto 2.0.0b7, which brings the classes of `google.protobuf` along."""

    name = "betterproto"
    in_package = True
    carries_descriptors = False

    def reference(self, message: Message, scope: Scope) -> Reference:
        module, section = self._module(message, scope)
        name = self._class_name("_".join(message.path))
        if all(is_plain(part) for part in filter(None, [*module.split("."), name])):
            expression = scope.imports.member(module, name, section)
            return Reference(expression, expression)
        package, dot, last = module.rpartition(".")
        holder = scope.imports.member(package + dot if not package.strip(".") else package, last, section)
        alias = scope.imports.reserve(f"Message_{name}")
        value = f'getattr({holder}, "{name}")' if keyword.iskeyword(name) else f"{holder}.{name}"
        return Reference(alias, alias, Alias(alias, None, value))

    def file_descriptor(self, file: File, scope: Scope) -> str:
        raise NotImplementedError("its classes carry no descriptors")

    def library(self, scope: Scope) -> str:
        return f'"{self.name}"'

    def compiler(self, out: Path) -> Compiler | None:
        self._need("betterproto.plugin", "betterproto")
        # betterproto's compiler formats its code with black, and comes as an extra of its own.
        self._need("black", "betterproto")
        return Compiler("python_betterproto", "betterproto.plugin")

    def _module(self, message: Message, scope: Scope) -> tuple[str, Section]:
        if message.file.startswith("google/protobuf/") and message.file not in scope.layout.options.modules:
            return "betterproto.lib.google.protobuf", Section.THIRD_PARTY
        return scope.layout.locate(message.file, _package(message))

    @cached_property
    def _class_name(self) -> Callable[[str], str]:
        """The library's own rule for names."""
        self._need("betterproto", "betterproto")
        rule: Callable[[str], str] = importlib.import_module("betterproto.casing").pascal_case
        return rule

    def _need(self, module: str, extra: str) -> None:
        try:
            found = importlib.util.find_spec(module) is not None
        except ImportError:
            found = False
        if not found:
            raise FlavourError(f"messages={self.name} needs {module.partition('.')[0]}: pip install 'protoc-gen-restate[{extra}]'")


class Betterproto2Flavour(BetterprotoFlavour):
    """betterproto2, which generates the classes of `google.protobuf` too."""

    name = "betterproto2"

    def compiler(self, out: Path) -> Compiler | None:
        self._need("betterproto2_compiler", "betterproto2")
        return Compiler("python_betterproto2", "betterproto2_compiler.plugin")

    def _module(self, message: Message, scope: Scope) -> tuple[str, Section]:
        return scope.layout.locate(message.file, _package(message))

    @cached_property
    def _class_name(self) -> Callable[[str], str]:
        self._need("betterproto2_compiler", "betterproto2")
        rule: Callable[[str], str] = importlib.import_module("betterproto2_compiler.casing").pascal_case
        return rule


def _package(message: Message) -> str:
    return message.full_name.removesuffix(".".join(message.path)).rstrip(".")
