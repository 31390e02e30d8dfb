"""What comes of a contract: the golden text, the errors, and that the text runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Case, cases, findings

EXECUTE = Path(__file__).with_name("execute.py")


def named(case: Case) -> str:
    return case.folder.name


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in sorted(folder.rglob("*_restate.py"))}


@pytest.mark.rule("R3")
@pytest.mark.rule("R4")
@pytest.mark.parametrize("case", cases(fails=False), ids=named)
def test_a_contract_gives_the_expected_code_and_it_runs(case: Case, tmp_path: Path, update_golden: bool) -> None:
    done = case.generate(tmp_path)
    assert done.returncode == 0, done.stderr
    generated = texts(tmp_path)
    expected = case.folder / "expected"
    if update_golden:
        for path in expected.rglob("*_restate.py"):
            path.unlink()
        for name, text in generated.items():
            (expected / name).parent.mkdir(parents=True, exist_ok=True)
            (expected / name).write_bytes(text.encode())
        if done.stderr:
            (case.folder / "warnings.txt").write_text(done.stderr)
    assert done.stderr == case.warnings
    assert generated == texts(expected)
    modules = [name.removesuffix(".py").replace("/", ".") for name in generated]
    run = subprocess.run([sys.executable, "-W", "error", EXECUTE, tmp_path, *modules], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == len(modules)


@pytest.mark.rule("R23")
@pytest.mark.parametrize("case", cases(fails=True), ids=named)
def test_a_faulty_contract_gives_every_error_and_no_code(case: Case, tmp_path: Path, update_golden: bool) -> None:
    done = case.generate(tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert texts(tmp_path) == {}
    expected = case.folder / "errors.txt"
    if update_golden:
        expected.write_text(findings(done.stderr))
    assert findings(done.stderr) == expected.read_text()
