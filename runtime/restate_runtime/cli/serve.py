"""`serve`: the embedded runtime as a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from ..engine.options import Options, load_options
from .shipped import hidden_modules, use_working_directory

__all__ = ["serve"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _option_flags(command: Decorated) -> Decorated:
    """A flag for each runtime option, from the one table of them."""
    for entry in reversed(fields(Options)):
        command = _flag(entry)(command)
    return command


def _flag(entry: Field[Any]) -> Callable[[Decorated], Decorated]:
    flag = "--" + entry.name.replace("_", "-")
    text = entry.metadata["help"]
    if isinstance(entry.default, bool):
        return click.option(flag, entry.name, is_flag=True, default=None, help=text)
    if isinstance(entry.default, tuple):
        return click.option(flag, entry.name, multiple=True, default=None, metavar="VALUE", type=click.UNPROCESSED, help=text)
    # Values stay text: the options' own table converts them, with the same messages wherever they come from.
    return click.option(flag, entry.name, metavar="VALUE", type=click.UNPROCESSED, help=f"{text}{_shown_default(entry)}")


def _shown_default(entry: Field[Any]) -> str:
    default = {"ingress": "127.0.0.1:8080", "admin": "127.0.0.1:9070"}.get(entry.name, entry.default)
    if default is None:
        return ""
    seconds = getattr(default, "total_seconds", None)
    shown = f"{seconds():g}s" if seconds is not None else getattr(default, "value", default)
    return f"  [default: {shown}]"


@click.command()
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Options from a file, a key for each option.")
@click.option("--json", "json_output", is_flag=True, help="Print the addresses as JSON.")
@_option_flags
def serve(target: str | None, config: Path | None, json_output: bool, **given: Any) -> None:
    """Hosts an App: everything in this process, SQLite in --data-dir.

    MODULE:APP is a module that can be imported from the working directory, and the name of the App in it; without it, all services are
    those of deployments: of each --deployment, and of those that were registered before. One line with the addresses is printed once the
    runtime can serve. SIGTERM and Ctrl-C stop it gracefully, a second signal at once.

    Every option is also a variable RESTATE_RUNTIME_* and a key of the TOML file.
    """
    options = load_options({name: value or None if value == () else value for name, value in given.items()}, config=config)
    if target is None and not options.deployment and options.data_dir is None:
        raise click.UsageError("missing argument 'MODULE:APP': name an App, or endpoints with --deployment URL")
    use_working_directory()
    hidden = hidden_modules()
    if hidden is not None:
        raise hidden
    from ..app import bare_app
    from ..serving import DEFAULT_ADMIN, DEFAULT_INGRESS, serve_forever  # imports the engine, and with it the modules that could be hidden
    from .load import load_app

    options = replace(options, ingress=options.ingress or DEFAULT_INGRESS, admin=options.admin or DEFAULT_ADMIN)
    app = load_app(target) if target is not None else bare_app()
    serve_forever(app, options, json_output=json_output)
