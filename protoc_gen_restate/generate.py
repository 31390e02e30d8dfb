"""`python -m protoc_gen_restate generate`: from .proto files to importable code with one command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .shipped import SHIPPED, include_folder

__all__ = ["GenerateError", "hiding", "run"]

_PREFIX = re.compile(r"^--(?:restate|python|mypy|pyi)_out: (?:protoc-gen-\w+: )?", re.MULTILINE)


class GenerateError(Exception):
    """Something the user has to put right; the text says what."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m protoc_gen_restate generate",
        description="Generates messages (_pb2.py), their type stubs (.pyi) and services (_restate.py).",
    )
    parser.add_argument("-I", "--include", metavar="DIR", type=Path, action="append", default=[], help="import folder, default: .")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the code goes; put this folder on sys.path")
    parser.add_argument("--opt", metavar="K=V", action="append", default=[], help="option of the plugin, such as empty=keep")
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help=".proto files, or folders of them")
    parsed = parser.parse_args(arguments)
    try:
        generate(parsed.paths, out=parsed.out, includes=parsed.include or [Path()], options=parsed.opt)
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"generate: {error}", file=sys.stderr)
        return 1
    return 0


def generate(paths: Sequence[Path], *, out: Path, includes: Sequence[Path], options: Sequence[str] = ()) -> None:
    """Generates code for the .proto files, and those in the folders, into `out`.

    Raises:
        GenerateError: no compiler, no such path, or the compiler found faults in the contracts.
    """
    names = _names(paths, includes)
    _check_hiding(out)
    compiler = _compiler()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            *compiler,
            *(f"-I{folder}" for folder in [*includes, include_folder()]),
            f"--python_out={out}",
            *_stubs(Path(temporary), out),
            f"--plugin=protoc-gen-restate={_shim(Path(temporary), 'protoc-gen-restate', 'protoc_gen_restate.__main__')}",
            f"--restate_out={out}",
            *(f"--restate_opt={option}" for option in options),
            *names,
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise GenerateError(_PREFIX.sub("", (done.stderr or done.stdout).strip()))
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)


def _names(paths: Iterable[Path], includes: Sequence[Path]) -> list[str]:
    """The names that protoc knows the files by: their paths below an import folder."""
    names: dict[str, None] = {}
    for path in paths:
        if path.is_dir():
            found = [_name(file, includes) for file in sorted(path.rglob("*.proto")) if not _is_hidden(file.relative_to(path))]
            # The shipped ones have their modules in this package; naming `protos/dev` asks for them all the same.
            asked = _name(path, includes).split("/")[0] == "dev"
            listed = [name for name in found if asked or name not in SHIPPED]
            if not listed:
                raise GenerateError(f"{path}: there is no .proto file in this folder [RST203]")
            names.update(dict.fromkeys(listed))
        elif path.is_file():
            names[_name(path, includes)] = None
        else:
            raise GenerateError(f"{path}: no such file or folder [RST203]")
    return list(names)


def _is_hidden(path: Path) -> bool:
    """It is in a folder such as `.venv`, whose contracts are other people's."""
    return any(part.startswith(".") for part in path.parts)


def _name(path: Path, includes: Sequence[Path]) -> str:
    absolute = Path(os.path.abspath(path))
    for folder in includes:
        if absolute.is_relative_to(os.path.abspath(folder)):
            return absolute.relative_to(os.path.abspath(folder)).as_posix()
    listed = ", ".join(map(str, includes))
    raise GenerateError(f"{path}: is below none of the import folders ({listed}); name its root with -I [RST203]")


def hiding(folders: Iterable[Path]) -> list[Path]:
    """Files that hide the shipped `dev.restate` modules from Python when these folders are on `sys.path`."""
    suspects = [folder / name for folder in folders for name in ("dev/__init__.py", "dev.py", "dev/restate/__init__.py", "dev/restate.py")]
    return [file for file in dict.fromkeys(suspects) if file.is_file() and "extend_path" not in file.read_text("utf-8", "replace")]


def _check_hiding(out: Path) -> None:
    advice = "hides the modules of dev/restate/*.proto that come with protoc-gen-restate; remove it [RST202]"
    for file in hiding([out]):
        raise GenerateError(f"{file}: {advice}")
    for file in hiding(Path(entry) for entry in sys.path):
        print(f"warning: {file}: {advice}", file=sys.stderr)


def _compiler() -> list[str]:
    if importlib.util.find_spec("grpc_tools") is not None:
        return [sys.executable, "-m", "grpc_tools.protoc"]
    found = shutil.which("protoc")
    if found is None:
        raise GenerateError(
            "generate: there is no protobuf compiler; pip install 'protoc-gen-restate[codegen]', or put protoc on PATH [RST201]"
        )
    return [found]


def _stubs(folder: Path, out: Path) -> list[str]:
    """mypy-protobuf's stubs, which are stricter, where it is installed; protoc's own otherwise."""
    try:
        importlib.import_module("mypy_protobuf.main")
    except ImportError:
        return [f"--pyi_out={out}"]
    except Exception as error:  # it refuses a protobuf older than the one it was made with
        print(f"warning: mypy-protobuf does not load, so the stubs are protoc's own: {error}", file=sys.stderr)
        return [f"--pyi_out={out}"]
    return [f"--plugin=protoc-gen-mypy={_shim(folder, 'protoc-gen-mypy', 'mypy_protobuf.main')}", f"--mypy_out=quiet:{out}"]


def _shim(folder: Path, name: str, module: str) -> Path:
    """A program that runs that module's `main` on this interpreter, so that nothing has to be on PATH."""
    script = folder / f"{name}.py"
    # Behind everything else, so that it only counts for a checkout that is not installed.
    root = str(Path(__file__).resolve().parent.parent)
    script.write_text(f"import sys\nsys.path[0:1] = []\nsys.path.append({root!r})\nfrom {module} import main\nsys.exit(main())\n", "utf-8")
    if os.name == "nt":
        program = folder / f"{name}.bat"
        program.write_text(f'@"{sys.executable}" "{script}" %*\n', "utf-8")
        return program
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', "utf-8")
    program.chmod(0o755)
    return program
