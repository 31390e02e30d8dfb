"""`services`: what is hosted, and who may call it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import RuntimeFault
from .output import as_json, print_json, print_pairs, print_table
from .remote import Admin, admin_option, data_dir_option, inspecting

__all__ = ["services"]


@click.group(invoke_without_command=True)
@admin_option
@data_dir_option
@as_json
@click.pass_context
def services(context: click.Context, admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Lists the services that are hosted, describes them, and says who may call them; lists them without a further word."""
    if context.invoked_subcommand is None:
        _list(admin_url, data_dir, json_output)
    elif any(context.get_parameter_source(name) is _GIVEN for name in ("admin_url", "data_dir", "json_output")):
        raise click.UsageError(f"options stand behind the word: services {context.invoked_subcommand} OPTIONS")


_GIVEN = click.core.ParameterSource.COMMANDLINE


@services.command("list")
@admin_option
@data_dir_option
@as_json
def list_(admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Lists the services that are hosted."""
    _list(admin_url, data_dir, json_output)


def _list(admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    with inspecting(admin_url, data_dir) as inspector:
        rows = inspector.services()
    if json_output:
        print_json(rows)
    else:
        cells = ((row["name"], row["ty"], _access(row), _methods(row)) for row in rows)
        print_table(("name", "type", "access", "methods"), cells, "no services")


def _access(row: Mapping[str, Any]) -> str:
    return "public" if row["public"] else "private"


def _methods(row: Mapping[str, Any]) -> str:
    """The methods' names; a private one of a public service says so."""
    methods: Sequence[Mapping[str, Any]] = row.get("methods") or ()
    return ", ".join(f"{method['name']} (private)" if row["public"] and not method["public"] else method["name"] for method in methods)


@services.command()
@click.argument("name")
@admin_option
@data_dir_option
@as_json
def describe(name: str, admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Shows one service: its kind, who may call it, and its methods."""
    with inspecting(admin_url, data_dir) as inspector:
        rows = {row["name"]: row for row in inspector.services()}
    row = rows.get(name)
    if row is None:
        near = difflib.get_close_matches(name, list(rows), n=1, cutoff=0.5)
        raise RuntimeFault("RT0502", f"not_found: there is no service '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    if json_output:
        print_json(row)
        return
    print_pairs({"name": row["name"], "type": row["ty"], "revision": row["revision"], "access": _access(row)})
    click.echo()
    cells = ((item["name"], item.get("request"), item.get("response"), _access(item)) for item in row["methods"])
    print_table(("method", "request", "response", "access"), cells, "no methods")


_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@services.command()
@_names
@admin_option
@as_json
def private(names: tuple[str, ...], admin_url: str, json_output: bool) -> None:
    """Closes services to callers outside; services call them as ever. It is stored, and wins over the App."""
    _set_public(names, False, "private", admin_url, json_output)


@services.command()
@_names
@admin_option
@as_json
def public(names: tuple[str, ...], admin_url: str, json_output: bool) -> None:
    """Opens services to callers outside. It is stored, and wins over the App; an rpc that is private by its own option stays so."""
    _set_public(names, True, "public", admin_url, json_output)


@services.command()
@_names
@admin_option
@as_json
def reset(names: tuple[str, ...], admin_url: str, json_output: bool) -> None:
    """Forgets what `private` or `public` stored: App and contract decide again."""
    _set_public(names, None, "reset", admin_url, json_output)


def _set_public(names: Sequence[str], public: bool | None, what: str, admin_url: str, json_output: bool) -> None:
    done = []
    for name in names:
        Admin(admin_url).set_public(name, public)
        done.append({"name": name, "result": what})
        if not json_output:
            click.echo(f"{what} {name}")
    if json_output:
        print_json(done if len(names) > 1 else done[0])
