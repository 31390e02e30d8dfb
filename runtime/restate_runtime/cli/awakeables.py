"""`awakeables`: settling a promise by hand."""

from __future__ import annotations

import json

import click

from .output import as_json, print_json
from .remote import Admin, admin_option, read_json

__all__ = ["awakeables"]


@click.group()
def awakeables() -> None:
    """Settles promises that handlers wait for."""


@awakeables.command()
@click.argument("id")
@click.argument("value", metavar="JSON")
@admin_option
@as_json
def resolve(id: str, value: str, admin_url: str, json_output: bool) -> None:
    """Completes an awakeable with a JSON value; - reads it from standard input."""
    Admin(admin_url).settle(id, "resolve", read_json(value, "the value"), "application/json")
    _report(id, "resolved", json_output)


@awakeables.command()
@click.argument("id")
@click.argument("reason")
@admin_option
@as_json
def reject(id: str, reason: str, admin_url: str, json_output: bool) -> None:
    """Fails an awakeable; REASON is the message of the error that the handler gets."""
    Admin(admin_url).settle(id, "reject", json.dumps({"reason": reason}).encode(), "application/json")
    _report(id, "rejected", json_output)


def _report(id: str, what: str, json_output: bool) -> None:
    if json_output:
        print_json({"id": id, "result": what})
    else:
        click.echo(f"{what} {id}")
