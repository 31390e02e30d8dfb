"""The documentation says what the code does, where it repeats it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import restate_runtime

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
OUTDATED = "run `python docs/make_tables.py`"


def test_the_page_of_fault_codes_is_the_table_in_the_code() -> None:
    assert TABLES["FAULTS_PAGE"].read_text() == TABLES["faults_page"](), OUTDATED


def test_the_table_of_options_is_the_one_in_the_code() -> None:
    assert TABLES["OPTIONS_PAGE"].read_text() == TABLES["options_page"](), OUTDATED


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert sorted(re.findall(r"^::: restate_runtime\.(\w+)$", page, re.MULTILINE)) == sorted(restate_runtime.__all__)


@pytest.mark.parametrize("name", restate_runtime.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(restate_runtime, name).__doc__


def test_commands_of_protoc_find_the_annotations() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    commands = [line for page in pages for line in page.read_text().splitlines() if re.match(r" *protoc -I", line)]
    assert commands
    assert [line for line in commands if '-I "$(protoc-gen-restate --include)"' not in line] == []
