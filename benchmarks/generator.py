"""G1 and G2: the generator beside its peers, on the same requests, each in a process of its own.

    python benchmarks/generator.py [--corpus DIR] [--files N]

G1 is one file with one service, cold. G2 is every .proto with a service below the corpus, all services taken as UNKEYED; without a corpus
that is what the installed `googleapis-common-protos` has. Each plugin gets the request that protoc makes of the files; its processor time
counts, protoc's does not. At the end everything that was generated for G2 is imported.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0  # CPU seconds
# betterproto2's compiler starts `ruff`, which is beside it.
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}
# Keeps the request; its answer says that optional fields and editions are fine.
SAVE = r"""
import sys
open(sys.argv[1], "wb").write(sys.stdin.buffer.read())
sys.stdout.buffer.write(b"\x10\x03\x18\xe6\x07\x20\xe9\x07")
"""
IMPORT = """
import importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
names = pathlib.Path(sys.argv[2]).read_text().split()
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@dataclass(frozen=True)
class Plugin:
    """A plugin of protoc.

    Attributes:
        name: for people.
        command: how it is started.
        parameter: its options.
    """

    name: str
    command: tuple[str, ...]
    parameter: str = ""


OURS = Plugin("protoc-gen-restate", (sys.executable, "-m", "protoc_gen_restate"), "require_service_type=false,lint=off")


def peers() -> list[Plugin]:
    """Those that are installed."""
    found = []
    for name, module in (("mypy-protobuf, service stubs", "mypy_protobuf.mypy_grpc"), ("betterproto2's compiler", "betterproto2_compiler")):
        program = {"mypy_protobuf.mypy_grpc": "protoc-gen-mypy_grpc", "betterproto2_compiler": "protoc-gen-python_betterproto2"}[module]
        path = shutil.which(program, path=str(Path(sys.executable).parent))
        if path is not None:
            found.append(Plugin(name, (path,)))
    return found


def protoc(folder: Path, corpus: Sequence[Path], names: Iterable[str], *flags: str) -> None:
    """Runs protoc on files of the corpus."""
    listed = folder / "names"
    listed.write_text("".join(f"{name}\n" for name in names))
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{place}" for place in corpus), *flags, f"@{listed}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])


def request_of(folder: Path, corpus: Sequence[Path], names: Iterable[str]) -> plugin_pb2.CodeGeneratorRequest:
    """What protoc sends to a plugin for these files."""
    shim, saved = folder / "protoc-gen-save", folder / "request.bin"
    (folder / "save.py").write_text(SAVE)
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "save.py"}" "{saved}"\n')
    shim.chmod(0o755)
    protoc(folder, corpus, names, f"--plugin=protoc-gen-save={shim}", f"--save_out={folder}")
    return plugin_pb2.CodeGeneratorRequest.FromString(saved.read_bytes())


def run(plugin: Plugin, request: plugin_pb2.CodeGeneratorRequest) -> tuple[float, float, plugin_pb2.CodeGeneratorResponse]:
    """Processor and wall seconds of one cold run, and what it answered."""
    request.parameter = plugin.parameter
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as answer:
        given.write(request.SerializeToString())
        given.seek(0)
        started = time.perf_counter()
        process = subprocess.Popen(
            plugin.command, stdin=given, stdout=answer, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir(), env=ENVIRONMENT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        answer.seek(0)
        response = plugin_pb2.CodeGeneratorResponse.FromString(answer.read())
    if process.returncode != 0:
        response.error = response.error or f"exit code {process.returncode}"
    return usage.ru_utime + usage.ru_stime, wall, response


def services(corpus: Path) -> list[str]:
    """The names of the files with a service; `preview/` holds other versions of them."""
    pattern = re.compile(r"^\s*service\s+\w+\s*\{", re.MULTILINE)
    return sorted(
        file.relative_to(corpus).as_posix()
        for folder in ("google", "grafeas")
        for file in corpus.glob(f"{folder}/**/*.proto")
        if pattern.search(file.read_text("utf-8", "replace"))
    )


def installed() -> Path:
    """Where googleapis-common-protos is."""
    import google.longrunning

    return Path(next(iter(google.longrunning.__path__))).parents[1]


def compare(title: str, request: plugin_pb2.CodeGeneratorRequest, rounds: int, console: Console) -> plugin_pb2.CodeGeneratorResponse:
    """Prints what each plugin took in rounds in which each has its turn; our answer.

    The first round warms up, and does not count; but one that takes minutes has its only turn then.
    """
    plugins = (OURS, *peers())
    first = {plugin.name: run(plugin, request) for plugin in plugins}
    answers = {name: answer for name, (_, _, answer) in first.items()}
    if answers[OURS.name].error:
        raise SystemExit(answers[OURS.name].error)
    measured = {name: [(cpu, wall)] if cpu > PATIENCE else [] for name, (cpu, wall, _) in first.items()}
    again = [plugin for plugin in plugins if not measured[plugin.name]]
    for _ in range(rounds):
        for plugin in again:
            measured[plugin.name].append(run(plugin, request)[:2])
    table = Table(title=f"{title}; median of {rounds} rounds (least to most)")
    for column in ("plugin", "CPU s", "wall s", "files", "beside ours"):
        table.add_column(column, justify="left" if column == "plugin" else "right")
    ours = statistics.median(cpu for cpu, _ in measured[OURS.name])
    for name, samples in measured.items():
        cpus, walls = zip(*samples, strict=True)
        cpu, wall = statistics.median(cpus), statistics.median(walls)
        error = answers[name].error
        files = f"fails: {' '.join(error.split())[:60]}" if error else str(len(answers[name].file))
        table.add_row(name, f"{cpu:.3f} ({min(cpus):.3f} to {max(cpus):.3f})", f"{wall:.3f}", files, f"{cpu / ours:.2f}x")
    console.print(table)
    return answers[OURS.name]


def import_all(
    folder: Path, corpus: Sequence[Path], request: plugin_pb2.CodeGeneratorRequest, response: plugin_pb2.CodeGeneratorResponse
) -> int:
    """Writes what was generated beside protoc's messages, imports it in a fresh process, and returns the number of modules."""
    out = folder / "out"
    out.mkdir()
    names = [proto.name for proto in request.proto_file if not proto.name.startswith("google/protobuf/")]
    protoc(folder, corpus, names, f"--python_out={out}")
    modules = []
    for file in response.file:
        (out / file.name).parent.mkdir(parents=True, exist_ok=True)
        (out / file.name).write_text(file.content, "utf-8")
        modules.append(file.name.removesuffix(".py").replace("/", "."))
    listed = folder / "modules"
    listed.write_text("\n".join(modules))
    # The corpus may be parts of the namespace package `google` that are installed too: those in the folder come first.
    program = "import google, sys; google.__path__ = [sys.argv[1] + '/google', *google.__path__]\n" + IMPORT
    done = subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", program, out, listed], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a checkout of googleapis")
    parser.add_argument("--files", type=int, help="only so many files of it")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        compare("G1: one file with one service, cold", request_of(folder, [ROOT / "protos"], ["dev/restate/services.proto"]), 9, console)
        corpus = arguments.corpus or installed()
        names = services(corpus)[: arguments.files]
        request = request_of(folder, [corpus], names)
        response = compare(f"G2: {len(names)} files with services, of {corpus.name}", request, 3 if len(names) > 50 else 5, console)
        console.print(f"imported: {import_all(folder, [corpus], request, response)} modules")


if __name__ == "__main__":
    main()
