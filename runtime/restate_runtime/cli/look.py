"""`invocations` and `state`: looking at a runtime, live or stopped, and helping its invocations along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..engine.protocol import Inspector
from ..errors import RuntimeFault
from .output import as_json, as_text, print_json, print_pairs, print_table
from .remote import REFUSED, Admin, admin_option, data_dir_option, inspecting

__all__ = ["invocations", "state"]

STATUSES = ("scheduled", "inboxed", "ready", "running", "suspended", "backing-off", "paused", "completed")


@click.group()
def invocations() -> None:
    """Lists and describes invocations, and helps them along."""


@invocations.command("list")
@click.option("--service", metavar="NAME", help="Only those of this service.")
@click.option("--key", metavar="KEY", help="Only those of this key.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only those with this status; may be repeated.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest so many.")
@admin_option
@data_dir_option
@as_json
def list_(
    service: str | None, key: str | None, statuses: tuple[str, ...], limit: int, admin_url: str, data_dir: Path | None, json_output: bool
) -> None:
    """Lists invocations, newest first."""
    with inspecting(admin_url, data_dir) as inspector:
        rows = inspector.invocations(service=service, key=key, statuses=statuses, limit=limit)
    if json_output:
        print_json(rows)
        return
    cells = ((row["id"], row["target"], _status(row), row.get("created_at"), _trouble(row)) for row in rows)
    print_table(("id", "target", "status", "created at", "failure"), cells, "no invocations")


def _status(row: Mapping[str, Any]) -> str:
    result = row.get("completion_result")
    return f"{row['status']} ({result})" if result else str(row["status"])


def _trouble(row: Mapping[str, Any]) -> str:
    """The first line of what went wrong: `describe` shows the whole."""
    text = str(row.get("completion_failure") or row.get("last_failure") or "")
    return text.partition("\n")[0]


@invocations.command()
@click.argument("id")
@admin_option
@data_dir_option
@as_json
def describe(id: str, admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Shows one invocation: its status, its decoded journal and what it waits for."""
    with inspecting(admin_url, data_dir) as inspector:
        row = inspector.describe(id)
    if row is None:
        raise RuntimeFault("RT0502", f"not_found: there is no invocation '{id}'")
    if json_output:
        print_json(row)
        return
    journal: list[dict[str, Any]] = row.get("journal") or []
    print_pairs({name: value for name, value in row.items() if name != "journal"})
    click.echo()
    columns = [name for name in dict.fromkeys(name for entry in journal for name in entry) if _has_values(journal, name)]
    print_table(columns, ([entry.get(name) for name in columns] for entry in journal), "the journal is empty")


def _has_values(journal: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(entry.get(name) not in (None, "") for entry in journal)


def _verb(name: str, done: str, help: str) -> None:
    @invocations.command(name, help=help)
    @click.argument("ids", nargs=-1, required=True, metavar="ID...")
    @admin_option
    @as_json
    def command(ids: tuple[str, ...], admin_url: str, json_output: bool) -> None:
        admin = Admin(admin_url)

        def change(id: str) -> Mapping[str, str]:
            admin.change(id, name)
            return {"id": id, "result": done}

        _each(ids, change, json_output)


_verb("cancel", "cancelled", "Asks invocations to stop, and the calls that they await: they can compensate, and end by themselves.")
_verb("kill", "killed", "Ends invocations, and the awaited calls below them, at once.")
_verb("pause", "paused", "Takes invocations out of memory until they are resumed; they keep their keys.")
_verb("resume", "resumed", "Lets paused or backing-off invocations try again now.")
_verb("purge", "purged", "Forgets completed invocations, with their journals and idempotency keys.")


@invocations.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@admin_option
@as_json
def restart(ids: tuple[str, ...], admin_url: str, json_output: bool) -> None:
    """Makes new invocations with the requests of completed ones, and prints their ids."""
    admin = Admin(admin_url)
    _each(ids, lambda id: {"id": id, "result": "restarted", "new_id": admin.restart(id)}, json_output)


def _each(ids: Sequence[str], change: Callable[[str], Mapping[str, str]], json_output: bool) -> None:
    """Does it to every invocation; one that the runtime refuses does not hold up the others."""
    rows: list[Mapping[str, str]] = []
    refused = 0
    for id in ids:
        try:
            row = change(id)
        except RuntimeFault as fault:
            if len(ids) == 1 or fault.code != REFUSED:
                raise
            refused = fault.exit_status
            row = {"id": id, "result": "refused", "error": fault.message}
            click.echo(f"error: {fault}", err=True)
        rows.append(row)
        if not json_output and "error" not in row:
            click.echo(f"{row['result']} {id}" + (f" as {row['new_id']}" if "new_id" in row else ""))
    if json_output:
        print_json(rows if len(ids) > 1 else rows[0])
    if refused:
        click.get_current_context().exit(refused)


@click.group()
def state() -> None:
    """Shows state."""


@state.command()
@click.argument("service")
@click.argument("key", required=False)
@click.argument("name", required=False)
@admin_option
@data_dir_option
@as_json
def get(service: str, key: str | None, name: str | None, admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Shows the state of a service: of every key, of one, or one value of it.

    A singleton has no key: give the value's NAME alone.
    """
    with inspecting(admin_url, data_dir) as inspector:
        if key is not None and name is None and _is_singleton(inspector, service):
            key, name = None, key
        rows = inspector.state(service, key, name)
    if name is not None:
        if not rows:
            raise RuntimeFault(
                "RT0502", f"not_found: {service} has no state '{name}'" + (f" for the key '{key}'" if key is not None else "")
            )
        _print_value(rows[0], json_output)
    elif json_output:
        print_json(rows)
    else:
        cells = ((row["service_key"], row["key"], row["type"], as_text(row["value_json"])) for row in rows)
        print_table(("key", "name", "type", "value"), cells, "no state")


def _is_singleton(inspector: Inspector, service: str) -> bool:
    return any(row["name"] == service and row["ty"] == "singleton" for row in inspector.services())


def _print_value(row: Mapping[str, Any], json_output: bool) -> None:
    if json_output:
        print_json(row)
    else:
        click.echo(as_text(row["value_json"]))
