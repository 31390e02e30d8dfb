"""From the model to the text of a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from .compiled.module import module
from .messages import Flavour
from .model import File
from .naming import output_name
from .options import OptionError, Options
from .pages import ModulePage, Pages

if TYPE_CHECKING:
    from pathlib import Path

    import jinja2

__all__ = ["Renderer"]


class Renderer:
    """Renders modules for one message flavour.

    Our templates are compiled. Jinja is loaded where a folder replaces one of them, or a plugin renders templates of its own.

    Args:
        options: the plugin's.
        flavour: the message library.
        descriptors: gives the serialized descriptors that the module of a file brings along.
        folders: templates that come before ours.
    """

    def __init__(self, options: Options, flavour: Flavour, descriptors: Callable[[str], bytes], folders: Sequence[Path] = ()) -> None:
        self._suffix = options.suffix
        self._pages = Pages(options, flavour, descriptors)
        self._folders = folders
        self._replaces_ours = options.templates is not None and not options.plugins  # those have templates of their own

    def module(self, file: File) -> tuple[str, str]:
        """Name and text of the module for a file with annotated services."""
        return output_name(file.name, self._suffix), self._text(self._pages.module(file)).rstrip("\n") + "\n"

    def render(self, template: str, /, **values: object) -> str:
        """The text that a template gives, for plugins."""
        from .templating import rendered

        return rendered(self._environment, template, values)

    @cached_property
    def _text(self) -> Callable[[ModulePage], str]:
        if not self._folders:
            return module
        from .templating import TEMPLATES, rendered

        names = sorted(path.name for path in TEMPLATES.iterdir())
        if not any((folder / name).is_file() for folder in self._folders for name in names):
            if self._replaces_ours:
                raise OptionError(f"option 'templates' has no effect: in {self._folders[0]} there is none of {', '.join(names)}")
            return module
        return lambda page: rendered(self._environment, "module.py.j2", {"page": page})

    @cached_property
    def _environment(self) -> jinja2.Environment:
        from .templating import environment_of

        return environment_of(self._folders)
