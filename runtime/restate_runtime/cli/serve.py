"""`serve`: the embedded runtime as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import Field, fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ..engine.options import Options, load_options
from .shipped import hidden_modules, use_working_directory

if TYPE_CHECKING:
    from ..app import App
    from ..engine.runtime import Runtime

__all__ = ["serve"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEFAULT_INGRESS = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9070"
# After so long a stopping process ends in any case: everything acknowledged is on disk, and recovery goes on from there.
_LAST_RESORT_S = 9.5


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
    # Values stay text: the options' own table converts them, with the same messages wherever they come from.
    return click.option(flag, entry.name, metavar="VALUE", help=f"{text}{_shown_default(entry)}")


def _shown_default(entry: Field[Any]) -> str:
    default = {"ingress": DEFAULT_INGRESS, "admin": DEFAULT_ADMIN}.get(entry.name, entry.default)
    if default is None:
        return ""
    seconds = getattr(default, "total_seconds", None)
    shown = f"{seconds():g}s" if seconds is not None else getattr(default, "value", default)
    return f"  [default: {shown}]"


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Options from a file, a key for each option.")
@click.option("--json", "json_output", is_flag=True, help="Print the addresses as JSON.")
@_option_flags
def serve(target: str, config: Path | None, json_output: bool, **given: Any) -> None:
    """Hosts an App: everything in this process, SQLite in --data-dir.

    MODULE:APP is a module that can be imported from the working directory, and the name of the App in it. One line with the addresses is
    printed once the runtime can serve. SIGTERM and Ctrl-C stop it gracefully, a second signal at once.

    Every option is also a variable RESTATE_RUNTIME_* and a key of the TOML file.
    """
    options = load_options(given, config=config)
    options = replace(options, ingress=options.ingress or DEFAULT_INGRESS, admin=options.admin or DEFAULT_ADMIN)
    use_working_directory()
    hidden = hidden_modules()
    if hidden is not None:
        raise hidden
    from .load import load_app  # imports the engine, and with it the modules that could be hidden

    app = load_app(target)
    asyncio.run(_serve(app, options, json_output))


async def _serve(app: App, options: Options, json_output: bool) -> None:
    stop = asyncio.Event()
    _stop_on_signals(asyncio.get_running_loop(), stop)

    def announce(runtime: Runtime) -> None:
        print(_as_json(runtime) if json_output else _as_text(runtime), flush=True)

    await app.serve(options, announce, stop)


def _stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    signalled = False

    # Not the loop's own handlers: those wait for a handler that blocks the loop.
    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(128 + number)
        signalled = True
        last_resort = threading.Timer(_LAST_RESORT_S, _exit_now)
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _exit_now() -> None:
    sys.stderr.write("the runtime did not stop in time: what still ran is left to recovery\n")
    sys.stderr.flush()
    os._exit(0)


def _as_json(runtime: Runtime) -> str:
    addresses = {
        "ingress": runtime.ingress_url,
        "grpc": runtime.grpc_address,
        "admin": runtime.admin_url,
        "data_dir": str(runtime.data_dir),
        "pid": os.getpid(),
    }
    return msgspec.json.encode(addresses).decode()


def _as_text(runtime: Runtime) -> str:
    addresses = (("ingress", runtime.ingress_url), ("grpc", runtime.grpc_address), ("admin", runtime.admin_url), ("data", runtime.data_dir))
    return "serving: " + ", ".join(f"{name} {value}" for name, value in addresses if value is not None)


