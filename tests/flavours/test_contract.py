"""The contract suite runs on the classes of betterproto's libraries as it does on protobuf's, which it is written for.

Each library has a process of its own, where the messages exist in no `_pb2`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# In process the runtime takes messages, an endpoint takes bytes; a suspension decodes each of them anew.
ENGINES = ("in-process", "remote-always-suspend")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["betterproto", "betterproto2"])
def test_the_contract_suite_passes(flavour: str, tmp_path: Path) -> None:
    protos = ROOT / "protos"
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", protos, "--out", tmp_path / "gen"]
    generated = subprocess.run(
        [*command, "--opt", f"messages={flavour}", protos / "sample", protos / "tour"], capture_output=True, text=True
    )
    assert (generated.returncode, generated.stderr) == (0, "")
    engines = [argument for engine in ENGINES for argument in ("--engine", engine)]
    quietly = ["--matrix", str(tmp_path / "matrix")]  # how long an engine may take is no question here
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "contract_suite",
            "--timeout=180",
            "tests/contract",
            *engines,
            *quietly,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(HERE), "CONTRACT_GENERATED": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout.splitlines()[-1]
