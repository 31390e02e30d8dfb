"""The tutorial shows the code as it is."""

from __future__ import annotations

import re

import pytest

from .conftest import EXAMPLE

PAGE = (EXAMPLE / "README.md").read_text()
SOURCES = {
    "python": (EXAMPLE / "services.py").read_text(),
    "proto": (EXAMPLE.parents[1] / "protos" / "tour" / "v1" / "tour.proto").read_text(),
}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_every_block_is_an_excerpt(language: str, block: str) -> None:
    assert block in SOURCES[language]


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert not [link for link in links if not (EXAMPLE / link).exists()]
