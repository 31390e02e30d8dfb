"""`call` and `send`: one invocation from the shell."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import click

from ..durations import parse_duration
from ..handler.by_name import split_name
from ..web.wire import path_part
from .output import as_json, print_json
from .remote import read_json, request

__all__ = ["call", "send"]

DEFAULT_INGRESS = "http://127.0.0.1:8080"

_ingress_option = click.option(
    "--ingress",
    metavar="URL",
    envvar="RESTATE_RUNTIME_INGRESS_URL",
    default=DEFAULT_INGRESS,
    show_default=True,
    help="HTTP ingress of a live runtime.",
)
_key_option = click.option("--key", metavar="KEY", help="The key, where it does not stand in the request: for a service without a .proto.")
_idempotency_option = click.option("--idempotency-key", metavar="KEY", help="Calls with the same one are one invocation.")
_target = click.argument("target", metavar="SERVICE/METHOD")
_body = click.argument("body", metavar="JSON", default="{}")


def _path(target: str, key: str | None, form: str) -> str:
    try:
        service, method = split_name(target)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return f"/restate/{form}/" + "/".join(path_part(part) for part in (service, key, method) if part is not None)


def _request(path: str, ingress: str, body: str, idempotency_key: str | None) -> bytes:
    headers = {"Content-Type": "application/json"}
    if idempotency_key is not None:
        if not idempotency_key or not idempotency_key.isprintable() or idempotency_key != idempotency_key.strip():
            raise click.UsageError("--idempotency-key: it is empty, has control characters, or blanks at an end, which HTTP does not carry")
        headers["Idempotency-Key"] = idempotency_key
    return request("POST", ingress, path, read_json(body, "the request"), headers, option="--ingress", timeout_s=None).body


@click.command()
@_target
@_body
@_ingress_option
@_key_option
@_idempotency_option
@as_json
def call(target: str, body: str, ingress: str, key: str | None, idempotency_key: str | None, json_output: bool) -> None:
    """Calls a method and prints its response: JSON in any case where the service has a .proto.

    JSON is the request, {} where it is left out; - reads it from standard input.
    """
    response = _request(_path(target, key, "call"), ingress, body, idempotency_key)
    try:
        click.echo(response.decode())
    except UnicodeDecodeError:  # a service without a .proto gives what it gives
        click.echo(response, nl=False)


@click.command()
@_target
@_body
@_ingress_option
@_key_option
@_idempotency_option
@click.option("--delay", metavar="DURATION", help="Not before 15m, 2h, 1d or PT15M from now.")
@as_json
def send(target: str, body: str, ingress: str, key: str | None, idempotency_key: str | None, delay: str | None, json_output: bool) -> None:
    """Calls a method in the background and prints the invocation's id once it is on disk."""
    path = _path(target, key, "send")
    if delay is not None:
        try:
            parse_duration(delay)
        except ValueError as error:
            raise click.UsageError(f"--delay: {error}") from None
        path += "?" + urlencode({"delay": delay})
    accepted = json.loads(_request(path, ingress, body, idempotency_key))
    if json_output:
        print_json({"invocationId": accepted["invocationId"]})
    else:
        click.echo(accepted["invocationId"])
