"""The command line around the plugin."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .options import help_text
from .shipped import SHIPPED, include_folder

__all__ = ["run"]

_DESCRIPTION = """\
protoc plugin for durable services. protoc runs it; by hand, use one of:

  python -m protoc_gen_restate generate -I protos --out gen protos/tour/v1/tour.proto
  python -m grpc_tools.protoc -I protos -I "$(protoc-gen-restate --include)" \\
      --python_out=gen --restate_out=gen protos/tour/v1/tour.proto
"""


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    if arguments and arguments[0] == "generate":
        from .generate import run as generate

        return generate(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="protoc-gen-restate",
        description=_DESCRIPTION,
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--version", action="version", version=f"protoc-gen-restate {__version__}")
    what.add_argument("--include", action="store_true", help="print the folder to pass to protoc as -I for dev/restate/ext.proto")
    what.add_argument("--export", metavar="DIR", type=Path, help="copy dev/restate/*.proto into DIR, for buf or to keep them with yours")
    what.add_argument("--request", metavar="FILE", type=Path, help="answer the CodeGeneratorRequest in FILE instead of one on stdin")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.include:
            print(include_folder())
        elif parsed.export is not None:
            _export(parsed.export)
        elif parsed.request is not None:
            return _replay(parsed.request)
        else:
            parser.print_help(sys.stderr)
            return 2
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"protoc-gen-restate: {text}", file=sys.stderr)
        return 1
    return 0


def _export(folder: Path) -> None:
    source = include_folder()
    for name in SHIPPED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
        print(target)


def _replay(file: Path) -> int:
    """The response goes to stdout as it would to protoc; on a terminal, as text. Errors go to stderr, too."""
    from google.protobuf.compiler import plugin_pb2

    from .plugin import respond

    answer = respond(file.read_bytes())
    response = plugin_pb2.CodeGeneratorResponse.FromString(answer)
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    else:
        for item in response.file:
            print(f"# ---- {item.name}\n{item.content}")
    if response.error:
        print(response.error, file=sys.stderr)
        return 1
    return 0
