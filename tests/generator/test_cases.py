"""What comes of a contract: the golden text, the errors, and that the text runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.compiler import plugin_pb2

from protoc_gen_restate.plugin import respond
from protoc_gen_restate.shipped import SHIPPED

from .conftest import INCLUDE, PLUGIN, Case, cases, findings

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
        (case.folder / "warnings.txt").unlink(missing_ok=True)
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


def buf(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the real buf with the installed plugin, as a user has it: the shipped contracts exported into the module."""
    module = folder / "module"
    shutil.copytree(case.folder, module, ignore=shutil.ignore_patterns("expected"))
    for name in SHIPPED:
        if not (module / name).exists():
            (module / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(INCLUDE / name, module / name)
    options = "".join(f"\n      - {option}" for option in case.options)
    template = f"version: v2\nplugins:\n  - local: {PLUGIN}\n    out: out\n" + (f"    opt:{options}\n" if options else "")
    (folder / "buf.yaml").write_text("version: v2\nmodules:\n  - path: module\n")
    (folder / "buf.gen.yaml").write_text(template)
    paths = [argument for name in case.protos for argument in ("--path", f"module/{name}")]
    program = shutil.which("buf", path=str(Path(sys.executable).parent))
    assert program is not None, "buf is not installed beside this Python: pip install buf-bin"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    return subprocess.run([program, "generate", *paths], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("case", cases(fails=False), ids=named)
def test_buf_gives_the_same_code(case: Case, tmp_path: Path) -> None:
    done = buf(case, tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert texts(out) == texts(case.folder / "expected")


@pytest.mark.parametrize("case", cases(fails=True), ids=named)
def test_buf_shows_every_error(case: Case, tmp_path: Path) -> None:
    done = buf(case, tmp_path)
    assert done.returncode != 0
    # It runs a plugin once for each folder, and shows the first failure.
    lines = (case.folder / "errors.txt").read_text().splitlines()
    assert any(line.replace("--restate_opt: ", "") in done.stderr for line in lines), done.stderr


def test_generated_modules_check_no_version_of_protobuf() -> None:
    for case in cases(fails=False):
        assert not [
            name for name, text in texts(case.folder / "expected").items() if "runtime_version" in text or "Protobuf Python" in text
        ]


def test_no_file_is_named_twice() -> None:
    for request in sorted(Path(__file__).with_name("requests").glob("*.bin")):
        answered = plugin_pb2.CodeGeneratorResponse.FromString(respond(request.read_bytes()))
        found = [file.name for file in answered.file]
        assert len(found) == len(set(found)) > 0


def test_output_does_not_depend_on_hashes(tmp_path: Path) -> None:
    case = next(case for case in cases(fails=False) if case.folder.name == "hostile_names")
    outputs = []
    for seed in ("1", "2"):
        done = case.generate(tmp_path / seed, {"PYTHONHASHSEED": seed})
        assert done.returncode == 0
        outputs.append(texts(tmp_path / seed))
    assert outputs[0] == outputs[1]
