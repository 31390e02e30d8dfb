"""Cases of the generator: folders with contracts, and what comes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
INCLUDE = ROOT / "protos"
# Another protoc than that of grpcio-tools, such as Debian's.
OTHER_PROTOC = os.environ.get("RESTATE_TEST_PROTOC")
COMPILER = [OTHER_PROTOC] if OTHER_PROTOC else [sys.executable, "-m", "grpc_tools.protoc"]
PLUGIN = shutil.which("protoc-gen-restate", path=str(Path(sys.executable).parent))


@dataclass(frozen=True)
class Case:
    """One folder of `tests/cases`: .proto files, `options.txt`, and `expected/` with `warnings.txt`, or `errors.txt`."""

    folder: Path

    @property
    def protos(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.proto"))

    @property
    def options(self) -> list[str]:
        file = self.folder / "options.txt"
        return file.read_text().split() if file.exists() else []

    @property
    def warnings(self) -> str:
        file = self.folder / "warnings.txt"
        return file.read_text() if file.exists() else ""

    @property
    def fails(self) -> bool:
        return self.folder.name.startswith("error_")

    def generate(
        self, out: Path, environment: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Runs the real protoc with the installed plugin, and with further options."""
        flags = [f"--restate_opt={option}" for option in [*self.options, *options]]
        messages = [] if self.fails else [f"--python_out={out}"]
        return protoc(out, *messages, *flags, *self.protos, includes=(self.folder, INCLUDE), environment=environment)


def protoc(
    out: Path, *arguments: str, includes: tuple[Path, ...] = (INCLUDE,), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Services, and what the arguments ask for, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    command = [*COMPILER, *(f"-I{folder}" for folder in includes)]
    command += [f"--plugin=protoc-gen-restate={PLUGIN}", f"--restate_out={out}", *arguments]
    given = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", stdin=subprocess.DEVNULL, env=given)


def ruff(*arguments: str | Path) -> str:
    """What ruff has to say without any configuration; nothing when it is content."""
    done = subprocess.run([sys.executable, "-m", "ruff", *map(str, arguments), "--isolated"], capture_output=True, text=True, cwd=ROOT)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def findings(stderr: str) -> str:
    """The plugin's errors, without what protoc puts before them."""
    return re.sub(r"^--restate_out: (?:protoc-gen-restate: )?", "", stderr, flags=re.MULTILINE)


def cases(fails: bool) -> list[Case]:
    found = [Case(folder) for folder in sorted(CASES.iterdir()) if folder.is_dir()]
    return [case for case in found if case.fails == fails]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the generator gives into tests/cases")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden", default=False))
