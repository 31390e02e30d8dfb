"""The command `protoc-gen-restate` beside its work as a plugin."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from google.protobuf.compiler import plugin_pb2

from protoc_gen_restate.shipped import SHIPPED

from .conftest import CASES, INCLUDE, PLUGIN

# What these compilers sent for the case `services`, written to a file by a plugin that only copies its input.
REQUESTS = sorted(Path(__file__).with_name("requests").glob("*.bin"))


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    assert PLUGIN is not None, "protoc-gen-restate is not installed beside this Python"
    return subprocess.run([PLUGIN, *arguments], capture_output=True, input=stdin)


def test_version() -> None:
    done = run("--version")
    assert done.stdout.decode().split() == ["protoc-gen-restate", version("protoc-gen-restate")]


def test_include_prints_a_folder_with_the_annotations() -> None:
    folder = Path(run("--include").stdout.decode().strip())
    assert all((folder / name).is_file() for name in SHIPPED)


def test_export_copies_the_contracts(tmp_path: Path) -> None:
    done = run("--export", str(tmp_path / "new" / "folder"))
    assert done.returncode == 0
    copied = {path.relative_to(tmp_path / "new" / "folder").as_posix(): path.read_bytes() for path in tmp_path.rglob("*.proto")}
    assert copied == {name: (INCLUDE / name).read_bytes() for name in SHIPPED}


def test_export_into_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--export", str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert str(tmp_path / "file") in done.stderr.decode()


@pytest.mark.parametrize("request_file", REQUESTS, ids=lambda path: path.stem)
def test_requests_of_old_protoc_and_of_buf_give_the_same_code(request_file: Path) -> None:
    replayed = run("--request", str(request_file))
    piped = run(stdin=request_file.read_bytes())
    assert replayed.stdout == piped.stdout
    response = plugin_pb2.CodeGeneratorResponse.FromString(piped.stdout)
    expected = (CASES / "services" / "expected" / "services" / "shop_restate.py").read_text()
    assert [(file.name, file.content) for file in response.file] == [("services/shop_restate.py", expected)]


def test_there_are_requests_of_three_compilers() -> None:
    assert len(REQUESTS) == 3


def test_a_request_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    done = run("--request", str(tmp_path / "none.bin"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"protoc-gen-restate: {tmp_path / 'none.bin'}: No such file or directory\n"


def test_a_replay_that_fails_says_so_in_its_exit_code_too(tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(b"something")
    done = run("--request", str(tmp_path / "some.bin"))
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    assert (done.returncode, done.stderr.decode()) == (1, f"{response.error}\n")
    assert response.error.endswith("[RST001]")


def test_without_any_request_it_explains_itself() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"protoc runs it" in done.stderr


def test_an_unknown_flag_is_refused() -> None:
    done = run("--what")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--what" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_by_hand_on_a_terminal_it_explains_itself() -> None:
    import pty  # not on Windows

    controller, terminal = pty.openpty()
    assert PLUGIN is not None
    done = subprocess.run([PLUGIN], stdin=terminal, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "protoc runs it" in done.stderr
    assert controller >= 0
