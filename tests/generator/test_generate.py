"""`python -m protoc_gen_restate generate`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from protoc_gen_restate.generate import _shim

from .conftest import CASES, INCLUDE, ROOT


def generate(*arguments: str | Path, environment: Mapping[str, str] | None = None, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
    command = [sys.executable, *flags, "-m", "protoc_gen_restate", "generate", *map(str, arguments)]
    # An empty PATH shows that nothing has to be on it.
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "docs", env={**os.environ, "PATH": "", **(environment or {})})
    return done.returncode, done.stdout, done.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_command_gives_messages_stubs_and_services(tmp_path: Path) -> None:
    out = tmp_path / "new" / "gen"
    assert generate("-I", INCLUDE, "--out", out, INCLUDE / "tour" / "v1" / "tour.proto") == (0, "", "")
    assert names(out) == ["tour/v1/tour_pb2.py", "tour/v1/tour_pb2.pyi", "tour/v1/tour_restate.py"]
    assert (out / "tour/v1/tour_restate.py").read_bytes() == (ROOT / "generated/tour/v1/tour_restate.py").read_bytes()


def test_a_folder_means_its_contracts_without_the_shipped_ones(tmp_path: Path) -> None:
    assert generate("-I", INCLUDE, "--out", tmp_path, INCLUDE)[0] == 0
    assert not (tmp_path / "dev").exists()
    assert (tmp_path / "tour/v1/tour_restate.py").is_file()


@pytest.mark.parametrize("others", [".venv", "node_modules", "env"])
def test_a_folder_means_nothing_that_is_other_peoples(others: str, tmp_path: Path) -> None:
    (tmp_path / others).mkdir()
    (tmp_path / others / "broken.proto").write_text("nonsense")
    if others == "env":
        (tmp_path / others / "pyvenv.cfg").touch()
    (tmp_path / "fine.proto").write_text('syntax = "proto3";\nmessage Fine {}\n')
    assert generate("-I", tmp_path, "--out", tmp_path / "out", tmp_path) == (0, "", "")
    assert names(tmp_path / "out") == ["fine_pb2.py", "fine_pb2.pyi"]


def test_shipped_contracts_are_generated_when_asked_for(tmp_path: Path) -> None:
    assert generate("-I", INCLUDE, "--out", tmp_path, INCLUDE / "dev")[0] == 0
    assert "dev/restate/services_restate.py" in names(tmp_path)


def test_annotations_are_found_without_a_flag(tmp_path: Path) -> None:
    case = CASES / "no_package"
    assert generate("-I", case, "--out", tmp_path, case / "bare.proto")[0] == 0
    assert names(tmp_path) == ["bare_pb2.py", "bare_pb2.pyi", "bare_restate.py"]


def test_options_reach_the_plugin(tmp_path: Path) -> None:
    case = CASES / "empty_keep"
    assert generate("-I", case, "--out", tmp_path, "--opt", "empty=keep", case)[0] == 0
    produced = (tmp_path / "empty_keep/empty_restate.py").read_bytes()
    assert produced == (case / "expected/empty_keep/empty_restate.py").read_bytes()


def test_faults_are_told_as_the_plugin_tells_them(tmp_path: Path) -> None:
    case = CASES / "error_streaming"
    code, stdout, stderr = generate("-I", case, "--out", tmp_path, case)
    assert (code, stdout, stderr) == (1, "", (case / "errors.txt").read_text())


def test_a_syntax_error_is_protocs_own_message(tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text('syntax = "proto3";\nmessage {}\n')
    code, _, stderr = generate("-I", tmp_path, "--out", tmp_path / "out", tmp_path / "bad.proto")
    assert code == 1
    assert "bad.proto:2:9: " in stderr


NOT_TAKEN = {
    "protobuf": (b"// caf\xe9\nmessage M {}\n", "protoc-gen-mypy", "TypeError: "),
    "betterproto": (b"message M { optional group G = 1 {} }\n", "protoc-gen-python_betterproto", "NotImplementedError: "),
    "betterproto2": (b"message M { optional group G = 1 {} }\n", "protoc-gen-python_betterproto2", "NotImplementedError: "),
}


@pytest.mark.parametrize("flavour", NOT_TAKEN)
def test_what_another_compiler_does_not_take_is_one_clear_line(flavour: str, tmp_path: Path) -> None:
    message, compiler, reason = NOT_TAKEN[flavour]
    (tmp_path / "odd.proto").write_bytes(b'syntax = "proto2";\n' + message)
    code, _, stderr = generate("-I", tmp_path, "--out", tmp_path / "out", "--opt", f"messages={flavour}", tmp_path / "odd.proto")
    assert (code, stderr.count("\n")) == (1, 1), stderr
    assert stderr.startswith(f"{compiler} fails on these contracts: {reason}")
    assert stderr.endswith(" [RST205]\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.proto"], "none.proto: no such file or folder [RST203]"),
        (["-I", "nowhere", str(INCLUDE / "tour")], "nowhere: no such folder, but an -I [RST203]"),
        ([str(ROOT / "README.md")], f"{ROOT / 'README.md'}: its name does not end with .proto [RST203]"),
        ([str(ROOT / "docs")], f"{ROOT / 'docs'}: there is no .proto file in this folder [RST203]"),
        (
            [str(INCLUDE / "tour/v1/tour.proto")],
            f"{INCLUDE / 'tour/v1/tour.proto'}: is below none of the import folders (.); name its root with -I [RST203]",
        ),
    ],
)
def test_paths_that_cannot_be_generated_are_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert generate("--out", tmp_path / "out", *arguments) == (1, "", f"{message}\n")
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, stdout, stderr = generate("-I", INCLUDE, "--out", tmp_path / "file", INCLUDE / "tour")
    assert (code, stdout) == (1, "")
    assert stderr == f"{tmp_path / 'file'}: File exists; --out is a folder that can be written, or made [RST204]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
def test_an_interrupted_command_is_quiet(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "waits.proto")
    (tmp_path / "main.proto").write_text('syntax = "proto3";\nimport "waits.proto";\n')
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", tmp_path, "--out", tmp_path / "out", tmp_path / "main.proto"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        with open(tmp_path / "waits.proto", "w"):  # protoc has opened it, and reads
            os.killpg(process.pid, signal.SIGINT)
            assert process.communicate() == ("", "")
        assert process.returncode == 130
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["dev/__init__.py", "dev.py", "dev/restate/__init__.py"])
def test_what_hides_the_shipped_modules_is_refused_in_out_and_named_on_the_path(name: str, tmp_path: Path) -> None:
    hiding = tmp_path / "out" / name
    hiding.parent.mkdir(parents=True, exist_ok=True)
    hiding.touch()
    contract = ["-I", str(INCLUDE), str(INCLUDE / "tour")]
    code, _, stderr = generate("--out", tmp_path / "out", *contract)
    assert code == 1
    assert stderr.startswith(f"{hiding}: hides")
    assert "[RST202]" in stderr
    code, _, stderr = generate("--out", tmp_path / "other", *contract, environment={"PYTHONPATH": str(tmp_path / "out")})
    assert code == 0
    assert stderr.startswith(f"warning: {hiding}: hides")


def test_without_a_compiler_the_extra_is_named(tmp_path: Path) -> None:
    # What an installation without the extra looks like to Python.
    block = "import sys; sys.modules['grpc_tools'] = None; from protoc_gen_restate.generate import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", block, "-I", str(INCLUDE), "--out", str(tmp_path / "out"), str(INCLUDE / "tour")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": ""})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'protoc-gen-restate[codegen]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_did_not_change_stays_untouched(tmp_path: Path) -> None:
    contract = ["-I", str(INCLUDE), "--out", str(tmp_path), str(INCLUDE / "tour")]
    assert generate(*contract) == (0, "", "")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "tour/v1/tour_pb2.pyi").write_text("changed")
    before = {name: (tmp_path / name).stat() for name in names(tmp_path)}
    assert generate(*contract) == (0, "", "")
    after = {name: (tmp_path / name).stat() for name in names(tmp_path)}
    assert set(after) == set(before)
    touched = {name for name in after if (after[name].st_mtime_ns, after[name].st_ino) != (before[name].st_mtime_ns, before[name].st_ino)}
    assert touched == {"tour/v1/tour_pb2.pyi"}


@pytest.mark.parametrize("options", [["init_files=true"], ["messages=betterproto"], ["messages=betterproto2"]], ids=" ".join)
def test_what_somebody_wrote_into_a_package_stays(options: list[str], tmp_path: Path) -> None:
    package = tmp_path / "out" / "tour" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("VERSION = 1\n")
    flags = [flag for option in options for flag in ("--opt", option)]
    assert generate("-I", INCLUDE, "--out", tmp_path / "out", *flags, INCLUDE / "tour") == (0, "", "")
    assert package.read_text() == "VERSION = 1\n"
    assert (tmp_path / "out" / "tour" / "v1" / "__init__.py").is_file()


def test_watching_generates_again_and_survives_mistakes(tmp_path: Path) -> None:
    contract, out = tmp_path / "protos" / "fine.proto", tmp_path / "out"
    contract.parent.mkdir()
    contract.write_text('syntax = "proto3";\nmessage First {}\n')
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "--watch", "-I", contract.parent, "--out", out, contract.parent]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "generated; watching 1 contracts\n"
        contract.write_text('syntax = "proto3";\nmessage {}\n')
        assert "fine.proto:2:9: " in process.stderr.readline()
        contract.write_text('syntax = "proto3";\nmessage Second {}\n')
        assert next(line for line in process.stderr if line.startswith("generated"))
        assert "Second" in (out / "fine_pb2.py").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def test_watching_sees_templates(tmp_path: Path) -> None:
    protos, templates, out = tmp_path / "protos", tmp_path / "templates", tmp_path / "out"
    shutil.copytree(CASES / "services", protos, ignore=shutil.ignore_patterns("expected"))
    templates.mkdir()
    template = templates / "client.py.j2"
    template.write_text("# first\n")
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "--watch", "-I", protos, "--out", out, protos]
    process = subprocess.Popen([*command, "--opt", f"templates={templates}"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        generated = (line for line in process.stderr if line.startswith("generated"))
        module = out / "services" / "shop_restate.py"
        assert next(generated)
        assert "# first\n" in module.read_text()
        template.write_text("# second\n")
        assert next(line for line in generated if "# second\n" in module.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()


def test_windows_gets_a_batch_file(tmp_path: Path) -> None:
    folder = tmp_path / "100% mine"
    folder.mkdir()
    shim = _shim(folder, "protoc-gen-restate", "protoc_gen_restate.__main__", windows=True)
    assert shim.name == "protoc-gen-restate.bat"
    script = str(folder / "protoc-gen-restate.py").replace("%", "%%")
    assert shim.read_bytes().decode() == f'@echo off\r\n"{sys.executable}" "{script}" %*\r\n'
    done = subprocess.run([sys.executable, folder / "protoc-gen-restate.py", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("protoc-gen-restate ")
