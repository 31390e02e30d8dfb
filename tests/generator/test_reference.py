"""The reference pages say what the code does."""

from __future__ import annotations

import re

from dev.restate import ext_pb2, options_pb2
from protoc_gen_restate import lint, options
from protoc_gen_restate.annotations import ANNOTATIONS
from protoc_gen_restate.annotations import reference as annotations_reference

from .conftest import CASES, ROOT

PAGES = ROOT / "docs" / "reference"


def test_the_page_of_rules_is_the_table_in_the_code() -> None:
    assert (PAGES / "lint.md").read_text() == lint.reference(), "run `python -m protoc_gen_restate.lint > docs/reference/lint.md`"


def test_the_page_of_annotations_has_the_table_in_the_code() -> None:
    assert annotations_reference() in (PAGES / "annotations.md").read_text(), "put `python -m protoc_gen_restate.annotations` there"


def test_the_shipped_files_declare_the_options_of_the_table() -> None:
    for module in (ext_pb2, options_pb2):
        declared = {item.full_name: (item.number, item.containing_type.full_name) for item in module.DESCRIPTOR.extensions_by_name.values()}
        table = [item for item in ANNOTATIONS if item.package == module.DESCRIPTOR.package]
        assert declared == {item.name: (item.number, item.place.value) for item in table}


def test_the_page_of_options_is_the_dataclass_in_the_code() -> None:
    page = (PAGES / "options.md").read_text()
    assert page == options.reference(), "run `python -m protoc_gen_restate.options > docs/reference/options.md`"


def test_every_rule_has_a_case() -> None:
    texts = [file.read_text() for name in ("errors.txt", "warnings.txt") for file in CASES.glob(f"*/{name}")]
    reported = set(re.findall(r"\[(RST\d+)\]$", "\n".join(texts), re.MULTILINE))
    assert {rule.code for rule in lint.RULES} <= reported


def test_codes_are_unique() -> None:
    codes = [entry[0] for entry in (*lint.EARLIER, *lint.COMMAND)] + [rule.code for rule in lint.RULES]
    assert len(codes) == len(set(codes))
