"""Writes the tables of the documentation that the code holds: fault codes and options. `python docs/make_tables.py`."""

from __future__ import annotations

import enum
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

from restate_runtime.engine.options import Options
from restate_runtime.faults import FAULTS

DOCS = Path(__file__).parent
FAULTS_PAGE = DOCS / "reference" / "faults.md"
OPTIONS_PAGE = DOCS / "guide" / "hosting.md"
BEGIN, END = "<!-- options: made by docs/make_tables.py -->", "<!-- end of options -->"


def faults_page() -> str:
    """The page of fault codes."""
    head = (
        "# Fault codes\n\n"
        "A fault concerns the runtime rather than one call: its options, its data directory, the code that it hosts. "
        "`restate-runtime explain CODE` shows the same.\n"
    )
    return head + "".join(f"\n## {fault.code}\n\n**{fault.title}.** {fault.explanation}\n\n{fault.remedy}\n" for fault in FAULTS)


def options_page() -> str:
    """The page about hosting, with the table of options between its marks."""
    before, rest = OPTIONS_PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    rows = [f"| `{option.name}` | {shown(option.default)} | {option.metadata['help']} |" for option in fields(Options)]
    table = "\n".join(["| option | default | |", "| --- | --- | --- |", *rows])
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def shown(default: object) -> str:
    """A default as it is written in a configuration file."""
    match default:
        case None | ():
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case enum.Enum():
            return f"`{default.value}`"
        case timedelta():
            return f"`{duration(default)}`"
        case _:
            return f"`{default}`"


def duration(value: timedelta) -> str:
    """The shortest text of a duration."""
    for unit, size in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)), ("s", timedelta(seconds=1))):
        if value >= size and value % size == timedelta(0):
            return f"{value // size}{unit}"
    return f"{value // timedelta(milliseconds=1)}ms"


if __name__ == "__main__":
    FAULTS_PAGE.write_text(faults_page())
    OPTIONS_PAGE.write_text(options_page())
