"""The import table of one generated module: what it imports, under names that nothing in the module takes."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from functools import cache
from itertools import chain, count

from .lines import call, fits
from .naming import is_plain

__all__ = ["ImportTable", "Section", "sort_key"]

_NUMBERS = re.compile(r"([0-9]+)")


class Section(enum.IntEnum):
    """Groups of imports, in the order they stand in."""

    STANDARD = 1
    THIRD_PARTY = 2
    OWN = 3
    LOCAL = 4


class ImportTable:
    """Hands out aliases.

    Attributes:
        taken: every name that the module defines or uses by itself; no alias is one of them.
    """

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self._plain: dict[str, tuple[Section, str]] = {}
        self._from: dict[tuple[str, str], tuple[Section, str]] = {}
        self._dynamic: dict[str, str] = {}
        self._importlib = "importlib"

    def module(self, name: str, section: Section, alias: str | None = None) -> str:
        """`import name as alias`; the name that it has in the module."""
        if name not in self._plain:
            self._plain[name] = (section, self._allocate(alias or name))
        return self._plain[name][1]

    def member(self, module: str, name: str, section: Section) -> str:
        """`from module import name`, or an import by string where Python has no way to write that.

        A module with leading dots is relative to the generated one.
        """
        if (module, name) in self._from:
            return self._from[module, name][1]
        place = module.lstrip(".")
        relative = len(place) < len(module)
        parts = [*place.split("."), name] if place else [name]
        if not all(is_plain(part) for part in parts):
            full = module[: len(module) - len(place)] + ".".join(parts)
            self._importlib = self.module("importlib", Section.STANDARD)
            if full not in self._dynamic:
                self._dynamic[full] = self._allocate(name if is_plain(name) else f"module_{name}")
            return self._dynamic[full]
        if not module and not relative:
            return self.module(name, section)
        self._from[module, name] = (section, alias := self._allocate(name))
        return alias

    def is_dynamic(self, alias: str) -> bool:
        """The module of that alias is imported by string, so that type checkers know nothing of it."""
        return alias in self._dynamic.values()

    def reserve(self, wanted: str) -> str:
        """A name for something that the module defines, which nothing else has."""
        return self._allocate(wanted)

    def lines(self) -> list[str]:
        """The import statements, grouped and sorted, without `from __future__`."""
        return _joined([self._section(section) for section in Section] + [self._by_string()])

    def _allocate(self, wanted: str) -> str:
        # Never two leading underscores: a class body would mangle the name.
        private = f"_{wanted.lstrip('_')}"
        candidates = chain((wanted, private), (f"{private}_{number}" for number in count(1)))
        name = next(candidate for candidate in candidates if candidate not in self.taken)
        self.taken.add(name)
        return name

    def _section(self, section: Section) -> list[str]:
        lines = [f"import {_as(name, alias)}" for name, (place, alias) in sorted(self._plain.items()) if place is section]
        members: dict[str, list[str]] = {}
        for (module, name), (place, alias) in sorted(self._from.items(), key=lambda item: (item[0][0], sort_key(item[0][1]))):
            if place is section:
                # An alias has a statement of its own, as import sorters want it.
                members.setdefault(module if alias == name else f"{module} as {alias}", []).append(_as(name, alias))
        return lines + [statement for key, names in members.items() for statement in _from(key.split(" as ")[0], names)]

    def _by_string(self) -> list[str]:
        return [
            call(f"{alias} = {self._importlib}.import_module", [f'"{name}"', *(["__package__"] if name.startswith(".") else [])])
            for name, alias in sorted(self._dynamic.items())
        ]


def _as(name: str, alias: str) -> str:
    return name if name == alias else f"{name} as {alias}"


@cache
def sort_key(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """Constants, classes, then the rest, and numbers by their values, as import sorters have it."""
    rank = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    parts = filter(None, _NUMBERS.split(name))
    # They take a zero in front as a fraction's.
    return rank, [(0, 0 if part[0] == "0" else int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]


def _from(module: str, names: Iterable[str]) -> list[str]:
    listed = list(names)
    line = f"from {module} import {', '.join(listed)}"
    if fits(line):
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in listed), ")"]


def _joined(groups: list[list[str]]) -> list[str]:
    lines: list[str] = []
    for group in filter(None, groups):
        lines += ["", *group] if lines else group
    return lines
