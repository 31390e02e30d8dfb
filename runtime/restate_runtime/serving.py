"""A runtime as a process: signals, and the line that says where it serves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import msgspec

from .engine.options import Options
from .engine.runtime import Runtime
from .serde import storable

__all__ = ["DEFAULT_ADMIN", "DEFAULT_INGRESS", "serve_forever", "stop_on_signals"]

DEFAULT_INGRESS = "127.0.0.1:8080"
DEFAULT_ADMIN = "127.0.0.1:9070"
# After so long a stopping process ends in any case: everything acknowledged is on disk, and recovery goes on from there.
_LAST_RESORT_S = 9.5


class _Servable(Protocol):
    async def serve(self, options: Options, on_ready: Callable[[Runtime], None], stop: asyncio.Event) -> None: ...


def serve_forever(app: _Servable, options: Options, *, json_output: bool = False) -> None:
    """Serves an App until SIGTERM or Ctrl-C; a second signal ends the process at once.

    One line with the addresses is printed once it can serve.

    Args:
        app: the App.
        options: what to serve, and where.
        json_output: print the line as JSON.

    Raises:
        RuntimeFault: it could not start, or lost its disk.
    """
    asyncio.run(_serve(app, options, json_output))


async def _serve(app: _Servable, options: Options, json_output: bool) -> None:
    stop = asyncio.Event()
    stop_on_signals(asyncio.get_running_loop(), stop)

    def announce(runtime: Runtime) -> None:
        sys.stdout.write((_as_json(runtime) if json_output else _as_text(runtime)) + "\n")
        sys.stdout.flush()

    await app.serve(options, announce, stop)


def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set the event; a second signal, or a stop that takes too long, ends the process."""
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
        "data_dir": storable(str(runtime.data_dir.resolve())),
        "pid": os.getpid(),
    }
    return msgspec.json.encode(addresses).decode()


def _as_text(runtime: Runtime) -> str:
    addresses = (
        ("ingress", runtime.ingress_url),
        ("grpc", runtime.grpc_address),
        ("admin", runtime.admin_url),
        ("data", storable(str(runtime.data_dir))),
    )
    return "serving: " + ", ".join(f"{name} {value}" for name, value in addresses if value is not None)
