"""What generation is made of: our own rules and flavours, and those of plugins where the options ask for any.

Without plugins nothing of pluggy is loaded: starting up is most of the time that a run takes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import lint
from .messages import Flavour
from .model import Contract, Finding
from .options import OptionError, Options

if TYPE_CHECKING:
    from pathlib import Path

    import pluggy

    from .hooks import OutputFile

__all__ = ["Extensions"]

_BUILT_IN = {
    "protobuf": ("protobuf", "ProtobufFlavour"),
    "betterproto": ("betterproto", "BetterprotoFlavour"),
    "betterproto2": ("betterproto", "Betterproto2Flavour"),
}


class Extensions:
    """The plugins that the options name.

    Raises:
        OptionError: one of them is not installed, or does not load; or nothing knows the flavour.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._manager: pluggy.PluginManager | None = None
        self.flavour = self._flavour()
        for name in options.plugins:
            self._register(name)

    def change(self, contract: Contract) -> Contract:
        """What the plugins make of the contract, one after the other."""
        if self._manager is not None:
            plugins = self._manager.get_plugins()
            for plugin in self._sorted(plugins):
                hook = self._manager.subset_hook_caller("change", plugins - {plugin})
                for changed in hook(contract=contract, options=self._options):
                    contract = changed
        return contract

    def check(self, contract: Contract) -> list[Finding]:
        """Every finding, of our rules and of the plugins'."""
        return [*lint.check(contract), *self._each("check", contract=contract, options=self._options)]

    def files(self, contract: Contract, render: Callable[..., str]) -> list[OutputFile]:
        """The files of plugins."""
        return list(self._each("files", contract=contract, options=self._options, render=render))

    @cached_property
    def template_folders(self) -> list[Path]:
        """Folders with templates that come before ours."""
        folders = [] if self._options.templates is None else [self._options.templates]
        if self._manager is None:
            return folders
        from pathlib import Path

        return [*folders, *map(Path, self._each("template_folders"))]

    def _each(self, hook: str, **arguments: Any) -> Iterable[Any]:
        if self._manager is None:
            return []
        # The last registered comes first in pluggy.
        return [item for items in reversed(getattr(self._manager.hook, hook)(**arguments)) for item in items]

    def _sorted(self, plugins: set[Any]) -> list[Any]:
        assert self._manager is not None
        return [plugin for _, plugin in self._manager.list_name_plugin() if plugin in plugins]

    def _flavour(self) -> Flavour:
        name = self._options.messages
        if name in _BUILT_IN:
            module, class_name = _BUILT_IN[name]
            flavour: Flavour = getattr(importlib.import_module(f"{__package__}.messages.{module}"), class_name)()
            return flavour
        for plugin in [name, *self._options.plugins]:
            if plugin == name and not _entry_points(name):
                continue
            self._register(plugin)
            for found in self._each("message_flavours"):
                if found.name == name:
                    return found  # type: ignore[no-any-return]
        import difflib

        near = difflib.get_close_matches(name, _BUILT_IN, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise OptionError(f"option 'messages' is {', '.join(_BUILT_IN)}, or what a plugin brings, not '{name}'{hint}")

    def _register(self, name: str) -> None:
        if self._manager is None:
            import pluggy

            from .hooks import GROUP, Specification

            self._manager = pluggy.PluginManager(GROUP)
            self._manager.add_hookspecs(Specification)
        if self._manager.has_plugin(name):
            return
        try:
            plugin = _load(name)
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except OptionError:
            raise
        except Exception as error:
            raise OptionError(f"the plugin '{name}' does not load: {type(error).__name__}: {error}") from None


def _entry_points(name: str) -> list[Any]:
    from importlib import metadata  # a tenth of a run's time

    return list(metadata.entry_points(group="protoc_gen_restate", name=name))


def _load(name: str) -> Any:
    for found in _entry_points(name):
        return found.load()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise OptionError(f"there is no plugin '{name}': neither an entry point of the group protoc_gen_restate nor a module") from None
