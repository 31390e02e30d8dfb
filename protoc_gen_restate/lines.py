"""Lines as formatters leave them, whatever length of line they are set to, from their usual 88 on.

What does not fit on a line stands one item a line with a comma behind the last, which formatters keep. Where Python has no place for such
a comma, the line tells them to leave it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from .comments import literal

__all__ = ["breakable", "call", "exploded", "fits", "keyword", "signature", "whole"]

_WIDTH = 88
_WIDEST = 320  # what formatters can be set to at most: two strings that fit on such a line are made one by them


def fits(line: str) -> bool:
    """It is no longer than formatters have it by default."""
    return len(line) <= _WIDTH


def breakable(line: str) -> bool:
    """Formatters would break it in its brackets."""
    return not fits(line) and ("[" in line or "(" in line)


def whole(line: str) -> str:
    """A line that has to stay one."""
    return line if fits(line) else f"{line}  # fmt: skip"


def call(prefix: str, arguments: Sequence[str], suffix: str = "", indent: int = 0) -> str:
    """`prefix(arguments)suffix`, an argument a line where it does not fit on one."""
    margin = " " * indent
    line = f"{margin}{prefix}({', '.join(arguments)}){suffix}"
    if fits(line):
        return line
    if not suffix and any(breakable(f"{margin}    {argument},") for argument in arguments):
        return whole(line)
    return exploded(prefix, arguments, suffix, indent)


def exploded(prefix: str, arguments: Sequence[str], suffix: str = "", indent: int = 0) -> str:
    """`prefix(arguments)suffix`, an argument a line."""
    margin = " " * indent
    return "\n".join([f"{margin}{prefix}(", *(f"{margin}    {argument}," for argument in arguments), f"{margin}){suffix}"])


def signature(prefix: str, parameters: Sequence[str], returns: str, of: Sequence[str] = (), indent: int = 4) -> str:
    """`prefix(parameters) -> returns[of]:`, the head of a function."""
    margin = " " * indent
    suffix = f" -> {returns}[{', '.join(of)}]:" if of else f" -> {returns}:"
    line = f"{margin}{prefix}({', '.join(parameters)}){suffix}"
    if fits(line):
        return line
    last = f"{margin}){suffix}"
    if fits(last) or len(of) < 2:  # behind a single type, a comma would make it another one
        ends = [whole(last)]
    else:
        ends = [f"{margin}) -> {returns}[", *(f"{margin}    {item}," for item in of), f"{margin}]:"]
    return "\n".join([f"{margin}{prefix}(", *(f"{margin}    {parameter}," for parameter in parameters), *ends])


def keyword(name: str, text: str, indent: int) -> str:
    """`name="text",`, a line of the text a line where formatters do not join these."""
    margin = " " * indent
    line = f"{margin}{name}={literal(text)},"
    if len(line) <= _WIDEST or "\n" not in text:
        return line
    pieces = [f"{margin}    {literal(piece)}" for piece in text.splitlines(keepends=True)]
    return "\n".join([f"{margin}{name}=(", *pieces, f"{margin}),"])
