"""The set-up script, where the machine lacks something: one clear line, no traceback."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, script: Path = ROOT / "run.py", before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the script in a bare interpreter, after some code that makes the machine what the test needs."""
    start = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    program = f"import sys\nsys.argv = {[str(script), *arguments]!r}\n{before}\n{start}"
    return subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
@pytest.mark.parametrize("job", ["tour", "test"])
def test_a_python_without_venv_says_what_to_install(tmp_path: Path, job: str, module: str) -> None:
    script = Path(shutil.copy(ROOT / "run.py", tmp_path))
    result = run(job, script=script, before=f"sys.modules[{module!r}] = None")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "apt install python3" in line
    assert "-venv" in line
    assert os.listdir(tmp_path) == ["run.py"]


def test_an_old_python_says_so(tmp_path: Path) -> None:
    result = run("tour", before="sys.version_info = (3, 9, 2, 'final', 0)")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "this is Python 3.9, and 3.11 or newer is needed" in line


def test_it_parses_on_pythons_that_are_too_old() -> None:
    ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("arguments", [(), ("tours",), ("tour", "test")])
def test_an_unknown_job_shows_the_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stderr == "usage: python3 run.py tour | test\n"


def test_a_set_up_that_fails_is_not_taken_for_done(tmp_path: Path) -> None:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    script = Path(shutil.copy(ROOT / "run.py", folder))
    nothing_to_install = '[build-system]\nrequires = []\nbuild-backend = "absent"\nbackend-path = ["."]\n[dependency-groups]\nnox = []\n'
    (folder / "pyproject.toml").write_text(nothing_to_install)
    for _ in range(2):
        result = run("tour", script=script)
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1] == "run.py: the set-up failed, see the messages above"
