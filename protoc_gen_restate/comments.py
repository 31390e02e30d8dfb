"""Comments of a .proto: cleaned for descriptors, and as docstrings that are valid whatever they hold."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["clean", "docstring", "literal", "visible"]

# Quotes that would touch those of the docstring, or end it.
_QUOTES = re.compile(r'\A"+|"{3,}|"+\Z')
_INSERTION_POINT = "@@protoc_insertion_point("
_LINE_BREAK = re.compile(r"\r\n|\r")


def clean(text: str) -> str:
    """The comment as people read it: without the space after the comment mark, trailing blanks and surrounding empty lines."""
    if text.startswith(("* ", "*\n", "*\r")):
        text = text[1:]  # of a comment that begins with /**
    if "\r" in text:
        text = _LINE_BREAK.sub("\n", text)
    lines = [line.rstrip() for line in text.split("\n")]
    # protoc leaves the space after `//` and the indentation behind `*` in place.
    if all(line.startswith(" ") for line in lines if line):
        lines = [line[1:] for line in lines]
    return "\n".join(lines).strip()


@cache  # a base and its clients have the same
def docstring(text: str, indent: int) -> str:
    """A docstring with its quotes, whose further lines are indented by so many spaces.

    The text may hold anything: quotes, backslashes and control characters are escaped, so that nothing in a comment can end the string.
    """
    escaped = text.strip().replace("\\", "\\\\")
    if '"' in escaped:
        escaped = _QUOTES.sub(lambda match: '\\"' * len(match.group()), escaped)
    first, *others = visible(escaped).split("\n")
    if not others:
        return f'"""{first}"""'
    # Readers of docstrings, and formatters, take the smallest indentation for the margin.
    unwanted = min(len(line) - len(line.lstrip()) for line in others if line.strip())
    margin = " " * indent
    rest = "\n".join(margin + line[unwanted:] if line.strip() else "" for line in others)
    return f'"""{first}\n{rest}\n{margin}"""'


def literal(text: str) -> str:
    """A string literal on one line, in the quotes that take fewer escapes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace(quote, f"\\{quote}")
    return f"{quote}{visible(escaped)}{quote}"


def visible(text: str) -> str:
    """The text with escapes for whatever a reader would not see, line breaks aside: control characters, and those that change direction.

    Neither does it hold what protoc would take for an insertion point.
    """
    text = text.replace(_INSERTION_POINT, f"\\x40{_INSERTION_POINT[1:]}")
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii") for char in text)
