"""The guide to tests is a set of tests: its files are written, generated, checked strictly and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "testing.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's files and what is generated from its contract."""
    made = tmp_path_factory.mktemp("guide")
    files = re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert len(files) == 4
    for name, text in files:
        (made / name).write_text(text)
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "--out", ".", "booking.proto"]
    subprocess.run(command, cwd=made, check=True, timeout=50)
    return made


def test_the_guides_tests_pass(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_guides_code_is_typed_strictly(folder: Path) -> None:
    path = os.pathsep.join(map(str, (folder, ROOT / "runtime", ROOT / "generated", ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={os.devnull}", "bookings.py", "test_booking.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": path},
    )
    assert done.returncode == 0, done.stdout


def test_every_word_of_a_double_is_in_the_guide() -> None:
    from restate_runtime.testing import Answers, Double

    words = {name for kind in (Answers, Double) for name in vars(kind) if not name.startswith("_")} | {"returns", "raises", "never"}
    # What clients, contexts and handles call, not tests.
    words -= {
        "begin_call",
        "begin_send",
        "call",
        "send",
        "take",
        "outcome",
        "settle",
        "result_of",
        "status_of",
        "kill_invocation",
        "cancel_invocation",
    }
    words -= {"all_calls", "settled", "killed", "invocation", "method", "reject_awakeable"}
    assert {word for word in words if word not in PAGE} == set()
