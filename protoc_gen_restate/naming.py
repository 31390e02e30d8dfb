"""Names: case, reserved words, and module names as protoc forms them."""

from __future__ import annotations

import keyword
import re
from functools import cache

__all__ = ["class_name", "constant_name", "is_plain", "method_name", "module_name", "output_name"]

# Before a word in a run of capitals, and behind a word.
_WORD_BREAK = re.compile(r"(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])")
# What a class body cannot redefine without breaking its own machinery.
_RESERVED = frozenset(keyword.kwlist)


@cache
def snake_case(name: str) -> str:
    """`MarkAsSold` -> `mark_as_sold`, `GetAWSUrl` -> `get_aws_url`."""
    return _WORD_BREAK.sub("_", name).lower()


def escape(name: str) -> str:
    """Keeps a name off Python's keywords, injectively: `class` -> `class_`, and so `class_` -> `class__`."""
    return f"{name}_" if name.rstrip("_") in _RESERVED else name


def method_name(rpc: str) -> str:
    """What an rpc is called in generated classes.

    A leading underscore would make it private, mangled or one of Python's own names, so such a name gets a prefix: `__init__` becomes
    `rpc__init__`.
    """
    name = escape(snake_case(rpc))
    return f"rpc{name}" if name.startswith("_") else name


def class_name(service: str) -> str:
    """What generated classes of a service are called after; suffixes keep it off keywords."""
    return f"Service{service}" if service.startswith("_") else service


def constant_name(service: str) -> str:
    """`TicketService` -> `TICKET_SERVICE`; off the one name that type checkers know by itself, injectively."""
    name = snake_case(class_name(service)).upper()
    return f"{name}_" if name.rstrip("_") == "TYPE_CHECKING" else name


@cache
def module_name(proto: str, suffix: str) -> str:
    """The module that protoc makes of a .proto file: dashes become underscores, and dots in the stem become packages.

    `a-b/c.d.proto` with suffix `_pb2` -> `a_b.c.d_pb2`.
    """
    stem = proto.removesuffix(".proto") if proto.endswith(".proto") else proto.removesuffix(".protodevel")
    return stem.replace("-", "_").replace("/", ".") + suffix


def output_name(proto: str, suffix: str) -> str:
    """The file of `module_name`, with forward slashes."""
    return module_name(proto, suffix).replace(".", "/") + ".py"


@cache
def is_plain(name: str) -> bool:
    """It can stand in an import statement or behind a dot, also in a class body, where two leading underscores would be mangled.

    Python reads some letters as others, such as ligatures as what they are made of.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        return False
    if name.isascii():
        return True
    import unicodedata  # hardly anybody has such names

    return unicodedata.is_normalized("NFKC", name)
