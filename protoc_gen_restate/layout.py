"""Where a generated module finds the modules of message classes."""

from __future__ import annotations

from typing import NamedTuple

from .imports import Section
from .naming import output_name
from .options import ImportStyle, Options

__all__ = ["Layout"]


class Layout(NamedTuple):
    """The view from one generated module.

    Attributes:
        options: the plugin's.
        style: how modules are imported.
        home: the package that the generated module is in, its parts.
    """

    options: Options
    style: ImportStyle
    home: tuple[str, ...]

    @staticmethod
    def of(options: Options, proto: str, style: ImportStyle) -> Layout:
        """The view from the module of that .proto file."""
        return Layout(options, style, tuple(output_name(proto, options.suffix).split("/")[:-1]))

    def locate(self, proto: str, module: str) -> tuple[str, Section]:
        """The module for import statements, with the group that it belongs to.

        Args:
            proto: the .proto file whose messages are meant, for `M<file>`.
            module: the module as it is below the output folder; empty for the output folder itself.
        """
        mapped = self.options.modules.get(proto)
        if mapped is not None:
            return mapped, Section.OWN
        if self.style is ImportStyle.RELATIVE:
            return self._relative(tuple(filter(None, module.split(".")))), Section.LOCAL
        prefix = self.options.package_prefix
        return (f"{prefix}.{module}" if prefix and module else prefix or module), Section.OWN

    def _relative(self, parts: tuple[str, ...]) -> str:
        # The last part of a module's own name is no folder: two dots would be one too many.
        common = 0
        while common < min(len(parts), len(self.home)) and parts[common] == self.home[common]:
            common += 1
        return "." * (len(self.home) - common + 1) + ".".join(parts[common:])
