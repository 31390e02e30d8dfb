"""Options of the plugin: `--restate_opt=KEY=VALUE`, several separated by commas."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any, get_type_hints

__all__ = ["EmptyMessages", "OptionError", "Options", "parse"]


class OptionError(ValueError):
    """An option that does not exist, or a value that it does not take."""


class EmptyMessages(enum.Enum):
    """What becomes of `google.protobuf.Empty`."""

    OMIT = "omit"
    """Left out: no parameter as a request, `None` as a response."""
    KEEP = "keep"
    """A message like any other."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options with their defaults; each field is one option."""

    empty: EmptyMessages = EmptyMessages.OMIT


def parse(parameter: str) -> Options:
    """Reads the parameter of a request, `empty=keep`.

    Raises:
        OptionError: an unknown key, a missing or unknown value, or a key given twice.
    """
    known = {item.name for item in dataclasses.fields(Options)}
    types = get_type_hints(Options)
    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in parameter.split(","))):
        key, _, text = part.partition("=")
        if key not in known:
            raise OptionError(f"unknown option '{key}'; there is {_listed(sorted(known))}")
        if key in values:
            raise OptionError(f"option '{key}' is given twice")
        values[key] = _value(key, text, types[key])
    return Options(**values)


def _value(key: str, text: str, choices: type[enum.Enum]) -> enum.Enum:
    try:
        return choices(text)
    except ValueError:
        names = _listed([str(choice.value) for choice in choices])
        raise OptionError(f"option '{key}' is {names}, not '{text}'") from None


def _listed(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
