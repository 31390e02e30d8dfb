"""The tour is the same from outside whatever library its message classes are of: calls, keys, JSON, wire, state, awakeables.

Each library plays in a process of its own; for betterproto's the messages exist in no `_pb2` there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..typing.conftest import mypy

ROOT = Path(__file__).parents[2]
LIBRARIES = {"protobuf": "google", "betterproto": "betterproto", "betterproto2": "betterproto2"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each library, with its code in the package `gen`."""
    folder = tmp_path_factory.mktemp("flavours")
    for flavour in LIBRARIES:
        out = folder / flavour if flavour == "protobuf" else folder / flavour / "gen"
        command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", ROOT / "protos", "--out", out, ROOT / "protos" / "tour"]
        done = subprocess.run([*command, "--opt", f"messages={flavour}"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def play(world: Path, flavour: str, mode: str) -> dict[str, Any]:
    script = Path(__file__).with_name("play.py")
    done = subprocess.run([sys.executable, script, world / flavour, flavour, mode], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.rule("R6")
@pytest.mark.rule("R14")
@pytest.mark.rule("R22")
@pytest.mark.rule("R32")
@pytest.mark.parametrize("mode", ["default", "always-suspend"])
def test_the_tour_is_the_same_from_outside(mode: str, world: Path) -> None:
    reports = {flavour: play(world, flavour, mode) for flavour in LIBRARIES}
    assert {flavour: report.pop("library") for flavour, report in reports.items()} == LIBRARIES
    assert reports["protobuf"]["bought"] is True
    assert reports["protobuf"]["totals"] == [1, 3, 12_600]
    assert reports["protobuf"]["state"][0] != []
    assert reports["betterproto"] == reports["protobuf"]
    assert reports["betterproto2"] == reports["protobuf"]


CASES = ROOT / "tests" / "cases"
# What the libraries' own compilers refuse, or make no Python of.
BEYOND = {
    "betterproto": {"builtins", "capitalized", "editions_2023", "editions_2024", "keywords", "proto2"},
    "betterproto2": {"editions_2023", "editions_2024", "hostile_names", "keywords", "proto2"},
}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case with the classes of each library: FLAVOUR/CASE/gen."""
    folder = tmp_path_factory.mktemp("cases")

    def generate(work: tuple[str, Path]) -> None:
        flavour, case = work
        options = case / "options.txt"
        given = [f"messages={flavour}", *(options.read_text().split() if options.exists() else [])]
        flags = [flag for option in given for flag in ("--opt", option)]
        out = folder / flavour / case.name / "gen"
        command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", case, "--out", out, *flags, case]
        # betterproto2's compiler writes into the working directory when it fails.
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr

    cases = [case for case in sorted(CASES.iterdir()) if case.is_dir() and not case.name.startswith("error_")]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # their compilers take a second for each
        list(threads.map(generate, [(flavour, case) for flavour, beyond in BEYOND.items() for case in cases if case.name not in beyond]))
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", BEYOND)
def test_every_contract_runs_with_every_library(flavour: str, generated: Path) -> None:
    execute = ROOT / "tests" / "generator" / "execute.py"
    for folder in sorted((generated / flavour).iterdir()):
        files = sorted(folder.rglob("*_restate.py"))
        modules = [".".join(file.relative_to(folder).with_suffix("").parts) for file in files]
        done = subprocess.run([sys.executable, execute, folder, *modules], capture_output=True, text=True)
        assert done.returncode == 0, (folder, done.stderr)
        assert len(done.stdout.splitlines()) == len(modules)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", BEYOND)
def test_modules_are_typed_strictly_with_every_library(flavour: str, generated: Path) -> None:
    for case in ("services", "options", "empty", "nested", "deprecated"):
        faults = [fault for fault in mypy(generated / flavour / case) if fault.file.endswith("_restate.py")]
        assert faults == [], case


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["messages=betterprotoo"], "or what a plugin brings, not 'betterprotoo'; did you mean 'betterproto'? [RST004]"),
        (["messages=betterproto2", "imports=absolute"], "messages=betterproto2 needs 'package_prefix' with 'imports=absolute'"),
        (["messages=betterproto2", "init_files=true"], "messages=betterproto2 writes __init__.py itself: leave 'init_files' out [RST004]"),
    ],
)
def test_what_does_not_go_together_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    flags = [flag for option in options for flag in ("--opt", option)]
    command = [
        sys.executable,
        "-m",
        "protoc_gen_restate",
        "generate",
        "-I",
        ROOT / "protos",
        "--out",
        tmp_path,
        *flags,
        ROOT / "protos" / "tour",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    (tmp_path / "betterproto").mkdir()
    (tmp_path / "betterproto" / "__init__.py").write_text("raise ImportError('not installed')")
    use = "from restate_runtime import load_file; load_file('x', messages='betterproto', files='')"
    program = f"import sys; sys.path.insert(0, sys.argv[1]); {use}"
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert "ImportError: the generated module's messages are betterproto's, which does not load" in done.stderr
    assert "pip install 'protoc-gen-restate[betterproto]'" in done.stderr


@pytest.mark.parametrize("flavour", BEYOND)
def test_an_environment_need_not_be_active(flavour: str, tmp_path: Path) -> None:
    protos = Path(__file__).with_name("protos")
    command = [
        sys.executable,
        "-m",
        "protoc_gen_restate",
        "generate",
        "-I",
        protos,
        "--out",
        tmp_path,
        "--opt",
        f"messages={flavour}",
        protos,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": os.defpath})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["betterproto", "betterproto2"])
def test_nothing_of_a_library_is_loaded_before_it_is_used(module: str) -> None:
    program = f"import tour.v1.tour_restate, restate_runtime.app, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT / "generated", check=False).returncode == 0
