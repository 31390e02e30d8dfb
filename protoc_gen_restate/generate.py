"""`python -m protoc_gen_restate generate`: from .proto files to importable code with one command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .extensions import Extensions
from .folders import contracts
from .messages import Compiler, FlavourError
from .options import OptionError, help_text, parse
from .shipped import SHIPPED, include_folder

__all__ = ["GenerateError", "hiding", "run"]

_PREFIX = re.compile(r"^--\w+_out: (?:protoc-gen-\w+: )?", re.MULTILINE)
# betterproto's compilers name every file that they write.
_QUIET = re.compile(r"^Writing .*\n?", re.MULTILINE)
# What protoc shows of a compiler in Python that fails.
_CRASH = re.compile(r"Traceback \(most recent call last\):\n.*?\n--\w+_out: (?P<name>[\w-]+): Plugin failed[^\n]*", re.DOTALL)
_MANY = 50


class GenerateError(Exception):
    """Something the user has to put right; the text says what."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m protoc_gen_restate generate",
        description="Generates messages, their type stubs where they need any, and services (_restate.py).",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-I", "--include", metavar="DIR", type=Path, action="append", default=[], help="import folder, default: .")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the code goes; put this folder on sys.path")
    parser.add_argument("--opt", metavar="K=V", action="append", default=[], help="option of the plugin, such as empty=keep; see below")
    parser.add_argument("--watch", action="store_true", help="stay, and generate again whenever a contract or a template changes")
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help=".proto files, or folders of them")
    parsed = parser.parse_args(arguments)
    includes = parsed.include or [Path()]

    def once() -> int:
        try:
            generate(parsed.paths, out=parsed.out, includes=includes, options=parsed.opt)
        except GenerateError as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            what = error.filename or parsed.out
            print(f"{what}: {error.strerror}; --out is a folder that can be written, or made [RST204]", file=sys.stderr)
            return 1
        return 0

    if not parsed.watch:
        return once()
    from .watch import watch

    try:
        templates = parse(",".join(parsed.opt)).templates
    except OptionError:  # protoc's run says so, and does it again after each change
        templates = None
    return watch(once, [*includes, *parsed.paths], templates)


def generate(paths: Sequence[Path], *, out: Path, includes: Sequence[Path], options: Sequence[str] = ()) -> None:
    """Generates code for the .proto files, and those in the folders, into `out`.

    Files that come out as they are already stay untouched, and nothing is removed.

    Raises:
        GenerateError: no compiler, no such path, or the compiler found faults in the contracts.
    """
    for folder in includes:
        if not folder.is_dir():
            raise GenerateError(f"{folder}: no such folder, but an -I [RST203]")
    names = _names(paths, includes)
    own = _own_compiler(options, out)
    if own is None:  # with another library's classes the folder is a package, whose `dev` hides nothing
        _check_hiding(out)
    compiler = _compiler()
    progress = Progress(len(names))
    with tempfile.TemporaryDirectory() as temporary:
        shims, fresh = Path(temporary, "bin"), Path(temporary, "out")
        shims.mkdir()
        fresh.mkdir()
        command = [
            *compiler,
            *(f"-I{folder}" for folder in [*includes, include_folder()]),
            # First: protoc goes on to the others, which say less clearly what they do not take, only where nothing was wrong.
            f"--plugin=protoc-gen-restate={_shim(shims, 'protoc-gen-restate', 'protoc_gen_restate.__main__')}",
            f"--restate_out={fresh}",
            *(f"--restate_opt={option}" for option in options),
            *(_stubs(shims, fresh) if own is None else _flavoured(own, shims, fresh)),
        ]
        arguments = Path(temporary, "names")
        # A file: some systems bound the length of a command.
        arguments.write_text("".join(f"{name}\n" for name in names), "utf-8")
        command.append(f"@{arguments}")
        # Compilers of other libraries call formatters by their names, which stand beside this interpreter.
        path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PATH": path},
        )
        said = _QUIET.sub("", done.stderr or done.stdout).strip()
        if done.returncode != 0:
            raise GenerateError(_PREFIX.sub("", _CRASH.sub(_crashed, said)))
        if said:
            print(said, file=sys.stderr)
        written, changed = _update(fresh, out)
    progress.done(written, changed)


def _crashed(failure: re.Match[str]) -> str:
    """The last words of a compiler that does not take a contract, and does not say it in a sentence."""
    *_, last = filter(str.strip, failure.group().splitlines()[:-1])
    return f"{failure['name']} fails on these contracts: {last.strip()} [RST205]"


class Progress:
    """Tells a terminal how far it is, where that takes a while."""

    def __init__(self, files: int) -> None:
        self._shown = files >= _MANY and sys.stderr.isatty()
        self._started = time.monotonic()
        if self._shown:
            print(f"generating from {files} files ...", file=sys.stderr, flush=True)

    def done(self, written: int, changed: int) -> None:
        """The outcome."""
        if self._shown:
            print(f"{written} files in {time.monotonic() - self._started:.1f} s, {changed} of them changed", file=sys.stderr)


def _update(fresh: Path, out: Path) -> tuple[int, int]:
    """Brings what differs into `out`; how many files there are, and how many changed."""
    out.mkdir(parents=True, exist_ok=True)
    written = changed = 0
    for file in sorted(path for path in fresh.rglob("*") if path.is_file()):
        written += 1
        target = out / file.relative_to(fresh)
        content = file.read_bytes()
        # An empty one, such as __init__.py, is wanted for being there: what somebody wrote into it stays.
        if not target.is_file() or (content and target.read_bytes() != content):
            changed += 1
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            beside.write_bytes(content)
            beside.replace(target)  # whoever reads it sees the old text or the new one
    return written, changed


def _own_compiler(options: Sequence[str], out: Path) -> Compiler | None:
    """The compiler of the flavour that the options ask for, where it has one."""
    try:
        return Extensions(parse(",".join(options))).flavour.compiler(out)
    except OptionError as error:
        raise GenerateError(f"--restate_opt: {error} [RST004]") from None
    except FlavourError as error:
        raise GenerateError(f"--restate_opt: {error} [RST008]") from None


def _flavoured(compiler: Compiler, shims: Path, out: Path) -> list[str]:
    shim = _shim(shims, f"protoc-gen-{compiler.name}", compiler.module)
    return [f"--plugin=protoc-gen-{compiler.name}={shim}", f"--{compiler.name}_out={out}", *compiler.arguments]


def _names(paths: Iterable[Path], includes: Sequence[Path]) -> list[str]:
    """The names that protoc knows the files by: their paths below an import folder."""
    names: dict[str, None] = {}
    for path in paths:
        if path.is_dir():
            found = [_name(file, includes) for file in contracts(path)]
            # The shipped ones have their modules in this package; naming `protos/dev` asks for them all the same.
            asked = _name(path, includes).split("/")[0] == "dev"
            listed = [name for name in found if asked or name not in SHIPPED]
            if not listed:
                raise GenerateError(f"{path}: there is no .proto file in this folder [RST203]")
            names.update(dict.fromkeys(listed))
        elif path.is_file():
            if path.suffix != ".proto":
                raise GenerateError(f"{path}: its name does not end with .proto [RST203]")
            names[_name(path, includes)] = None
        else:
            raise GenerateError(f"{path}: no such file or folder [RST203]")
    return list(names)


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
    """protoc's own messages, with mypy-protobuf's stubs, which are stricter, where it is installed; protoc's own otherwise."""
    messages = f"--python_out={out}"
    try:
        importlib.import_module("mypy_protobuf.main")
    except ImportError:
        return [messages, f"--pyi_out={out}"]
    except Exception as error:  # it refuses a protobuf older than the one it was made with
        print(f"warning: mypy-protobuf does not load, so the stubs are protoc's own: {error}", file=sys.stderr)
        return [messages, f"--pyi_out={out}"]
    return [messages, f"--plugin=protoc-gen-mypy={_shim(folder, 'protoc-gen-mypy', 'mypy_protobuf.main')}", f"--mypy_out=quiet:{out}"]


def _shim(folder: Path, name: str, module: str, *, windows: bool = os.name == "nt") -> Path:
    """A program that runs that module's `main` on this interpreter, so that nothing has to be on PATH."""
    script = folder / f"{name}.py"
    # What this process finds, behind everything else: plugins in the working directory, and a checkout that is not installed.
    found = [*map(os.path.abspath, sys.path), str(Path(__file__).resolve().parent.parent)]
    path = f"sys.path[0:1] = []\nsys.path += [entry for entry in {found!r} if entry not in sys.path]"
    script.write_text(f"import sys\n{path}\nfrom {module} import main\nsys.exit(main())\n", "utf-8")
    if windows:
        program = folder / f"{name}.bat"
        # A percent sign begins a variable's name in such a file, unless there are two.
        paths = [f'"{path}"'.replace("%", "%%") for path in (sys.executable, script)]
        program.write_text(f"@echo off\r\n{' '.join(paths)} %*\r\n", "utf-8", newline="")
        return program
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n', "utf-8")
    program.chmod(0o755)
    return program
