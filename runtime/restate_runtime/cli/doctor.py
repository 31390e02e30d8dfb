"""`doctor` and `explain`: what is wrong, and what a code means."""

from __future__ import annotations

import difflib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from .. import __version__
from ..errors import RuntimeFault
from ..faults import FAULTS
from ..serde import storable
from .output import as_json, print_json, print_pairs, print_table
from .shipped import hidden_modules, use_working_directory

__all__ = ["doctor", "explain"]

_OK, _ERROR = "ok", "error"


@dataclass(frozen=True, slots=True)
class _Row:
    severity: str
    code: str | None
    subject: str
    message: str


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Also verify the files of a stopped runtime; nothing is changed."
)
@as_json
def doctor(data_dir: Path | None, json_output: bool) -> None:
    """Checks this installation, and a data directory row by row.

    The exit status is 1 where an error is found.
    """
    rows = [*_installation(), *(_data(data_dir) if data_dir is not None else ())]
    if json_output:
        print_json([asdict(row) for row in rows])
    else:
        print_table(("severity", "code", "subject", "message"), ((row.severity, row.code, row.subject, row.message) for row in rows), "")
    if any(row.severity == _ERROR for row in rows):
        click.get_current_context().exit(1)


def _installation() -> Iterator[_Row]:
    import apsw

    yield _Row(_OK, None, "restate_runtime", __version__)
    yield _Row(_OK, None, "python", f"{platform.python_version()} ({sys.executable})")
    yield _Row(_OK, None, "protobuf", importlib.metadata.version("protobuf"))
    yield _Row(_OK, None, "sqlite", apsw.sqlite_lib_version())
    if sys.platform in ("linux", "darwin"):
        yield _Row(_OK, None, "platform", platform.platform())
    else:
        yield _Row(_ERROR, "RT0006", "platform", f"{platform.platform()}: the runtime runs on Linux and macOS")
    yield _shipped_modules()


def _shipped_modules() -> _Row:
    use_working_directory()  # as serve does
    hidden = hidden_modules()
    if hidden is not None:
        return _Row(_ERROR, hidden.code, "dev.restate", hidden.message)
    return _Row(_OK, None, "dev.restate", "the shipped modules can be imported")


def _data(data_dir: Path) -> Iterator[_Row]:
    from ..engine.storage.offline import examine

    findings = examine(data_dir)
    for finding in findings:  # most of them name a file
        yield _Row(finding.severity, finding.code, storable(finding.subject), storable(finding.message))
    if not findings:
        yield _Row(_OK, None, storable(str(data_dir)), "every row has its checksum, and nothing is missing")


@click.command()
@click.argument("code")
@as_json
def explain(code: str, json_output: bool) -> None:
    """Explains a code such as RT0201: what it means and what to do."""
    faults = {fault.code: fault for fault in FAULTS}
    fault = faults.get(code.upper())
    if fault is None:
        near = difflib.get_close_matches(code.upper(), list(faults), n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else f"known are {FAULTS[0].code} to {FAULTS[-1].code}"
        raise RuntimeFault("RT0001", f"there is no code '{code}': {hint}")
    if json_output:
        print_json(asdict(fault))
    else:
        click.echo(f"{fault.code}: {fault.title}\n")
        print_pairs({"means": fault.explanation, "remedy": fault.remedy})
