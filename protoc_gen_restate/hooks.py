"""The hooks of generation, for installed plugins.

A plugin is a module, or an object that an entry point of the group `protoc_gen_restate` names, with functions that are called like
these hooks and marked with `hookimpl`. The option `plugins=NAME` loads it; `messages=NAME` loads the one that brings that flavour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pluggy

from .messages import Flavour
from .model import Contract, Finding
from .options import Options

__all__ = ["GROUP", "OutputFile", "Render", "Specification", "hookimpl"]

GROUP = "protoc_gen_restate"
"""The group of entry points, and the name that pluggy knows the hooks by."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

Render = Callable[..., str]
"""`render("page.md.j2", service=...)`: the text that a template gives, from the folders of plugins and `templates=`, with our filters."""


class OutputFile(NamedTuple):
    """A file that a plugin adds, or a text for an insertion point.

    Attributes:
        name: below the output folder, with forward slashes.
        content: its text.
        insertion_point: the name of one in that file, which the text goes before; empty for a whole file.
    """

    name: str
    content: str
    insertion_point: str = ""


class Specification:
    """What a plugin may implement; each parameter may be left out."""

    @hookspec
    def message_flavours(self) -> Sequence[Flavour]:  # type: ignore[empty-body]
        """Message libraries for `messages=`."""

    @hookspec
    def change(self, contract: Contract, options: Options) -> Contract | None:
        """Another contract to generate for; `None` to leave it as it is."""

    @hookspec
    def check(self, contract: Contract, options: Options) -> Sequence[Finding]:  # type: ignore[empty-body]
        """Further findings. Codes are the plugin's own, such as `ACME001`."""

    @hookspec
    def template_folders(self) -> Sequence[Path]:  # type: ignore[empty-body]
        """Folders with templates, in front of ours and behind that of `templates=`."""

    @hookspec
    def files(self, contract: Contract, options: Options, render: Render) -> Sequence[OutputFile]:  # type: ignore[empty-body]
        """Further files."""
