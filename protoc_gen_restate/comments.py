"""Comments of a .proto: cleaned for descriptors, and as docstrings that are valid whatever they hold."""

from __future__ import annotations

import re

__all__ = ["clean", "docstring"]

_LINE_BREAK = re.compile(r"\r\n|\r")
_SPECIAL = re.compile(r"[^\n -~\u00a0-\ud7ff\ue000-\U0010ffff]")


def clean(text: str) -> str:
    """The comment as people read it: without the space after the comment mark, trailing blanks and surrounding empty lines."""
    lines = [line.rstrip() for line in _LINE_BREAK.sub("\n", text).split("\n")]
    # protoc leaves the space after `//` and the indentation behind `*` in place.
    if all(line.startswith(" ") for line in lines if line):
        lines = [line[1:] for line in lines]
    return "\n".join(lines).strip("\n")


def docstring(text: str, indent: int) -> str:
    """A docstring with its quotes, whose further lines are indented by so many spaces.

    The text may hold anything: quotes, backslashes and control characters are escaped, so that nothing in a comment can end the string.
    """
    body = _SPECIAL.sub(_escaped, text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')).strip()
    margin = " " * indent
    if "\n" not in body:
        if body.endswith('"'):
            body = f'{body[:-1]}\\"'
        return f'"""{body}"""'
    lines = body.split("\n")
    return "\n".join([f'"""{lines[0]}', *(f"{margin}{line}" if line else "" for line in lines[1:]), f'{margin}"""'])


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
