"""`deployments`: endpoints in other processes whose services a runtime runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import RuntimeFault
from .output import as_json, print_json, print_pairs, print_table
from .remote import Admin, admin_option, data_dir_option, inspecting

__all__ = ["deployments"]


@click.group()
def deployments() -> None:
    """Registers and removes endpoints that host services."""


@deployments.command()
@click.argument("url")
@click.option("--force", is_flag=True, help="Replace what was registered at this URL, although it hosts something else now.")
@click.option("--http1", is_flag=True, help="Speak HTTP/1.1 to it.")
@admin_option
@as_json
def register(url: str, force: bool, http1: bool, admin_url: str, json_output: bool) -> None:
    """Asks the endpoint at URL what it hosts, and sends new invocations there. Those that have begun stay where they are."""
    row = Admin(admin_url).register(url, force=force, http1=http1)
    if json_output:
        print_json(row)
        return
    click.echo(f"{'registered' if row['created'] else 'unchanged'} {row['id']} at {row['endpoint']}")
    _print_services(row)


@deployments.command("list")
@admin_option
@data_dir_option
@as_json
def list_(admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Lists the deployments, oldest first."""
    with inspecting(admin_url, data_dir) as inspector:
        rows = inspector.deployments()
    if json_output:
        print_json(rows)
        return
    cells = (
        (row["id"], row["endpoint"], row["protocol_type"], row["created_at"], _services(row), row["pinned_invocations"]) for row in rows
    )
    print_table(("id", "endpoint", "protocol", "created at", "services", "pinned"), cells, "no deployments")


def _services(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{service['name']} (revision {service['revision']})" for service in row["services"])


@deployments.command()
@click.argument("id")
@admin_option
@data_dir_option
@as_json
def describe(id: str, admin_url: str, data_dir: Path | None, json_output: bool) -> None:
    """Shows one deployment and its services."""
    with inspecting(admin_url, data_dir) as inspector:
        row = next((row for row in inspector.deployments() if row["id"] == id), None)
    if row is None:
        raise RuntimeFault("RT0502", f"not_found: there is no deployment '{id}'")
    if json_output:
        print_json(row)
        return
    print_pairs({name: value for name, value in row.items() if name != "services"})
    click.echo()
    _print_services(row)


def _print_services(row: Mapping[str, Any]) -> None:
    cells = ((service["name"], service["ty"], service["revision"], ", ".join(service["handlers"])) for service in row["services"])
    print_table(("service", "type", "revision", "handlers"), cells, "no services")


@deployments.command()
@click.argument("id")
@click.option("--force", is_flag=True, help="Although invocations began on it: they go on at the newest deployment of their service.")
@admin_option
@as_json
def remove(id: str, force: bool, admin_url: str, json_output: bool) -> None:
    """Forgets a deployment. Its services go back to the one before it, where there is one."""
    Admin(admin_url).remove_deployment(id, force=force)
    if json_output:
        print_json({"id": id, "result": "removed"})
    else:
        click.echo(f"removed {id}")
