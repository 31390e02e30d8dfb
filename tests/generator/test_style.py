"""Generated modules are as linters and formatters want them, whatever these are set to: nobody's settings are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import CASES, INCLUDE, ROOT, protoc, ruff

MODULES = sorted([*CASES.glob("*/expected/**/*_restate.py"), *(ROOT / "generated").rglob("*_restate.py")])


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 30


def test_linters_find_nothing() -> None:
    assert ruff("check", "--output-format=concise", *MODULES) == ""


@pytest.mark.parametrize("length", [88, 100, 140, 320])
def test_formatters_leave_every_module_as_it_is(length: int) -> None:
    assert ruff("format", "--diff", f"--line-length={length}", *MODULES) == ""


@pytest.mark.parametrize(
    "options",
    [["unimplemented=raise"], ["imports=relative", "sync=off"], ["messages=betterproto"], ["messages=betterproto2"]],
    ids=lambda options: ",".join(options),
)
def test_what_options_give_is_in_style_too(options: list[str], tmp_path: Path) -> None:
    for case in ("deprecated", "hostile_names", "keywords", "long_names", "options"):
        folder = CASES / case
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.proto")]
        done = protoc(tmp_path, *(f"--restate_opt={option}" for option in options), *names, includes=(folder, INCLUDE))
        assert done.returncode == 0, done.stderr
    modules = sorted(tmp_path.rglob("*_restate.py"))
    assert len(modules) > 5
    assert ruff("check", "--output-format=concise", *modules) == ""
    for length in (88, 140):
        assert ruff("format", "--diff", f"--line-length={length}", *modules) == ""
