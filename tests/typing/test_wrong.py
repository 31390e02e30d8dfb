"""Strict type checking of a user's code catches these mistakes, each with the message that is expected above it, and no others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import TypeFault, mypy, pyright

WRONG = Path(__file__).with_name("wrong")


def expected(checker: str) -> dict[tuple[str, int], str]:
    """What the comments `# expect mypy: ...` announce for the next line of code, by file and line."""
    announced = {}
    for file in sorted(WRONG.glob("*.py")):
        message = None
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if found := re.match(rf"\s*# expect {checker}: (.*)", line):
                message = found.group(1)
            elif message is not None and not line.lstrip().startswith("#"):
                announced[file.name, number] = message
                message = None
    return announced


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_mistakes_are_caught_where_they_are(checker: Callable[[Path], list[TypeFault]], tmp_path: Path) -> None:
    announced = expected(checker.__name__)
    assert len(announced) > 15
    shutil.copytree(WRONG, tmp_path, dirs_exist_ok=True)
    found: dict[tuple[str, int], list[str]] = {}
    for fault in checker(tmp_path):
        found.setdefault((fault.file, fault.line), []).append(fault.message)
    assert sorted(found) == sorted(announced)
    for place, message in announced.items():
        assert any(message in said for said in found[place]), (place, message, found[place])
