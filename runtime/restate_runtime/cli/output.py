"""Output: one JSON value with --json, else tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec

__all__ = ["as_json", "as_text", "print_json", "print_pairs", "print_table"]

_WIDE = 4000

as_json = click.option(
    "--json", "json_output", is_flag=True, help="Print JSON: an array of objects for a list, one object for a single thing."
)


def as_text(value: Any) -> str:
    """A decoded value as compact JSON."""
    return msgspec.json.encode(value).decode()


def print_json(value: Any) -> None:
    """One value as one line."""
    click.echo(as_text(value))


def _console() -> Any:
    from rich.console import Console

    # In a pipe nothing is wrapped or cut, so that grep and cut see whole cells.
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, soft_wrap=not sys.stdout.isatty())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Rows as a table.

    Args:
        columns: the headings.
        rows: the cells of each row.
        empty: what is said where there are no rows.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        click.echo(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        # Ids are for copying: they are never folded.
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    _console().print(table)


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """One thing, a line for each of its columns that has a value."""
    shown = {name: value for name, value in pairs.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
        case list() if all(isinstance(item, str) for item in value):
            return ", ".join(value)
        case _:
            return as_text(value)
