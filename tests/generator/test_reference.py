"""The reference pages say what the code does."""

from __future__ import annotations

import re

from protoc_gen_restate import lint

from .conftest import CASES, ROOT

PAGES = ROOT / "docs" / "reference"


def test_the_page_of_rules_is_the_table_in_the_code() -> None:
    assert (PAGES / "lint.md").read_text() == lint.reference(), "run `python -m protoc_gen_restate.lint > docs/reference/lint.md`"


def test_every_rule_has_a_case() -> None:
    reported = set(re.findall(r"\[(RST\d+)\]$", "\n".join(file.read_text() for file in CASES.glob("*/errors.txt")), re.MULTILINE))
    assert {rule.code for rule in lint.RULES} <= reported


def test_codes_are_unique() -> None:
    codes = [entry[0] for entry in (*lint.EARLIER, *lint.COMMAND)] + [rule.code for rule in lint.RULES]
    assert len(codes) == len(set(codes))
