"""Generated modules pass strict type checking, beside the stubs of mypy-protobuf."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, TypeFault, mypy, pyright

CASES = sorted(case for case in (ROOT / "tests" / "cases").iterdir() if (case / "expected").is_dir())


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of every case in one folder: their contracts have names of their own."""
    out = tmp_path_factory.mktemp("cases")
    for case in CASES:
        options = case / "options.txt"
        flags = [flag for option in (options.read_text().split() if options.exists() else []) for flag in ("--opt", option)]
        subprocess.run([sys.executable, "-m", "protoc_gen_restate", "generate", "-I", case, "--out", out, *flags, case], check=True)
    return out


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_generated_modules_are_typed_strictly(checker: Callable[[Path], list[TypeFault]], generated: Path) -> None:
    assert len(list(generated.rglob("*_restate.py"))) >= len(CASES)
    # The stubs are not ours: one of a message called DESCRIPTOR contradicts itself.
    assert [fault for fault in checker(generated) if fault.file.endswith("_restate.py")] == []
