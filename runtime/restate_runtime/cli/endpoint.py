"""`endpoint`: an App's services for a runtime elsewhere."""

from __future__ import annotations

import click

from .shipped import hidden_modules, missing_extra, use_working_directory

__all__ = ["endpoint"]


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option("--bind", metavar="HOST:PORT", default="127.0.0.1:9080", show_default=True, help="Where to listen; port 0 takes a free one.")
@click.option(
    "--identity-key",
    "identity_keys",
    metavar="KEY",
    multiple=True,
    help="A runtime that may call, by its public key publickeyv1_...; repeatable.",
)
@click.option("--dev", is_flag=True, help="Report what does not belong in a handler, such as awaiting something foreign.")
@click.option("--json", "json_output", is_flag=True, help="Print the address as JSON.")
def endpoint(target: str, bind: str, identity_keys: tuple[str, ...], dev: bool, json_output: bool) -> None:
    """Hosts an App's services for a Restate cluster, or for an embedded runtime in another process.

    MODULE:APP is a module that can be imported from the working directory, and the name of the App in it. One line with the address is
    printed once it listens; then register it: `restate-runtime deployments register URL`. SIGTERM and Ctrl-C suspend what waits and
    stop, a second signal stops at once.
    """
    use_working_directory()
    hidden = hidden_modules()
    if hidden is not None:
        raise hidden
    from .load import load_app  # imports the engine, and with it the modules that could be hidden

    try:
        from .. import cluster
        from ..cluster.serving import serve_endpoint
    except ModuleNotFoundError as error:
        raise missing_extra("an endpoint", error, "cluster") from None
    serve_endpoint(cluster.endpoint(load_app(target), identity_keys=identity_keys, dev=dev), bind, json_output=json_output)
