"""Comments become docstrings and literals that are valid whatever they hold."""

from __future__ import annotations

import ast
import random

from protoc_gen_restate.comments import clean, docstring, literal

PIECES = [
    '"',
    '"""',
    "'",
    "'''",
    "\\",
    "\\x",
    "\\N{",
    "\\u1",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "  ",
    "a",
    "ü",
    "\u2028",
    "\x00",
    "\x0c",
    "{{",
    "{%",
    "#",
    "🎟",
    "@@protoc_insertion_point(module)",
]


def texts() -> list[str]:
    dice = random.Random(7)
    return ["".join(dice.choices(PIECES, k=dice.randrange(1, 12))) for _ in range(3000)]


def test_any_comment_is_one_docstring_and_keeps_its_words() -> None:
    for text in map(clean, texts()):
        if not text:
            continue
        module = ast.parse(f"class A:\n    {docstring(text, 4)}\n\n    after = 1\n")
        (definition,) = module.body
        found = ast.get_docstring(definition, clean=False)  # type: ignore[arg-type]
        assert found is not None
        assert found.split() == text.split()
        assert "@@protoc_insertion_point" not in docstring(text, 4)
        assert len(definition.body) == 2  # type: ignore[attr-defined]


def test_any_comment_is_one_literal_of_the_same_text() -> None:
    for text in map(clean, texts()):
        assert ast.literal_eval(literal(text)) == text
        assert "\n" not in literal(text)
        assert "@@protoc_insertion_point" not in literal(text)
