"""The hooks of generation: message flavours and rules come in through them, our own too."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from .messages import Flavour
from .model import Contract, Finding

__all__ = ["hookimpl", "hookspec", "manager"]

_PROJECT = "protoc_gen_restate"
hookspec = pluggy.HookspecMarker(_PROJECT)
hookimpl = pluggy.HookimplMarker(_PROJECT)


class Specification:
    """What a plugin may implement."""

    @hookspec
    def message_flavours(self) -> Sequence[Flavour]:  # type: ignore[empty-body]
        """Message libraries that generated modules can speak of."""

    @hookspec
    def check(self, contract: Contract) -> Sequence[Finding]:  # type: ignore[empty-body]
        """Further rules that a contract violates."""


class BuiltIn:
    """Our own implementations."""

    @hookimpl
    def message_flavours(self) -> Sequence[Flavour]:
        from .messages.protobuf import ProtobufFlavour

        return [ProtobufFlavour()]

    @hookimpl
    def check(self, contract: Contract) -> Sequence[Finding]:
        from . import lint

        return lint.check(contract)


def manager() -> pluggy.PluginManager:
    """A manager with our own hooks."""
    plugins = pluggy.PluginManager(_PROJECT)
    plugins.add_hookspecs(Specification)
    plugins.register(BuiltIn())
    return plugins
