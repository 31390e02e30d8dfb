"""mypy and pyright, strict, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "runtime", ROOT / "generated", ROOT)


class TypeFault(NamedTuple):
    """What a checker says of one line."""

    file: str
    line: int
    message: str


def mypy(folder: Path) -> list[TypeFault]:
    """What `mypy --strict` says of the modules in a folder."""
    flags = ["--strict", "--explicit-package-bases", "--config-file=", "--no-color-output", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, f"--cache-dir={os.devnull}", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": os.pathsep.join(map(str, (folder, *SOURCES)))},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = re.findall(r"^(.*?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return [TypeFault(Path(file).as_posix(), int(line), message) for file, line, message in lines]


def pyright(folder: Path) -> list[TypeFault]:
    """What pyright says of the modules in a folder, in its strict mode."""
    config: dict[str, Any] = {
        "exclude": ["**/*_pb2.py", "**/*_pb2.pyi"],
        "extraPaths": [str(path) for path in SOURCES],
        "typeCheckingMode": "strict",
        "reportMissingModuleSource": "none",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--project", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > 0
    faults = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    place = folder.resolve()
    return [
        TypeFault(Path(item["file"]).resolve().relative_to(place).as_posix(), item["range"]["start"]["line"] + 1, item["message"])
        for item in faults
    ]
