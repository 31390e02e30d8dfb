"""What generation is made of: our own rules and flavours, and those of plugins where the options ask for any.

Without plugins nothing of pluggy is loaded: starting up is most of the time that a run takes.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from . import lint
from .faults import ExtensionFault
from .messages import Flavour
from .model import Contract, Finding
from .options import OptionError, Options

if TYPE_CHECKING:
    from pathlib import Path

    import pluggy

    from .hooks import OutputFile

__all__ = ["Extensions"]

T = TypeVar("T")

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
        for name in self._names():
            for changed in self._call(name, "change", contract=contract, options=self._options):
                contract = _wanted(changed, Contract, name, "change")
        return contract

    def check(self, contract: Contract) -> list[Finding]:
        """Every finding, of our rules and of the plugins'."""
        found = self._each("check", contract=contract, options=self._options)
        return [*lint.check(contract), *(_wanted(finding, Finding, name, "check") for name, finding in found)]

    def files(self, contract: Contract, render: Callable[..., str], taken: Iterable[str]) -> list[OutputFile]:
        """The files of plugins, beside those whose names are taken.

        Raises:
            ExtensionFault: a plugin fails, or gives a file that is there already.
        """
        if self._manager is None:
            return []
        from .hooks import OutputFile

        files = []
        names = set(taken)
        for name, item in self._each("files", contract=contract, options=self._options, render=render):
            file = _wanted(item, OutputFile, name, "files")
            if not file.insertion_point and file.name in names:
                raise ExtensionFault(f"the plugin '{name}' gives {file.name}, which is there already", "RST010")
            names.add(file.name)
            files.append(file)
        return files

    @cached_property
    def template_folders(self) -> list[Path]:
        """Folders with templates that come before ours."""
        folders = [] if self._options.templates is None else [self._options.templates]
        if self._manager is None:
            return folders
        from pathlib import Path

        return [*folders, *(Path(folder) for _, folder in self._each("template_folders"))]

    def _names(self) -> list[str]:
        """The plugins in the order of the options."""
        return [] if self._manager is None else [name for name, _ in self._manager.list_name_plugin()]

    def _each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """What the plugins list, with the name of each one's."""
        found: list[tuple[str, Any]] = []
        for name in self._names():
            with _blaming(name, hook):
                found += [(name, item) for items in self._call(name, hook, **arguments) for item in items]
        return found

    def _call(self, name: str, hook: str, **arguments: Any) -> list[Any]:
        """What one plugin answers; nothing where it has no such hook."""
        assert self._manager is not None
        others = self._manager.get_plugins() - {self._manager.get_plugin(name)}
        with _blaming(name, hook):
            return list(self._manager.subset_hook_caller(hook, others)(**arguments))

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
            for _, found in self._each("message_flavours"):
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
            reason = " ".join(str(error).split())
            raise OptionError(f"the plugin '{name}' does not load: {type(error).__name__}: {reason}") from None


@contextlib.contextmanager
def _blaming(plugin: str, hook: str) -> Iterator[None]:
    """Says whose fault it is."""
    try:
        yield
    except ExtensionFault:
        raise
    except Exception as error:
        import traceback  # not for those without plugins
        from pathlib import Path

        frame = traceback.extract_tb(error.__traceback__)[-1]
        here = Path(frame.filename).parent == Path(__file__).parent
        place = "" if here else f" ({Path(frame.filename).name}:{frame.lineno})"
        message = f"the plugin '{plugin}' fails in its hook '{hook}': {type(error).__name__}: {error}{place}"
        raise ExtensionFault(message, "RST010") from None


def _wanted(item: Any, kind: type[T], plugin: str, hook: str) -> T:
    if isinstance(item, kind):
        return item
    given, wanted = (f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}" for name in (type(item).__name__, kind.__name__))
    raise ExtensionFault(f"the plugin '{plugin}' gives {given} in its hook '{hook}', where {wanted} is wanted", "RST010")


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
