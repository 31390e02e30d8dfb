"""An endpoint as a process: HTTP/2 without TLS (HTTP/1.1 where a caller speaks that), signals, and the line that says where it listens."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import hypercorn
import msgspec
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets

from ..errors import RuntimeFault
from ..web.server import split_address
from .endpoint import Endpoint

__all__ = ["serve_endpoint", "serve_until"]

_LOG = logging.getLogger("restate_runtime.endpoint")

_BACKLOG = 1024
_GRACE_S = 8.0
_CLOSING_S = 1.0
# After so long a stopping process ends in any case: the cluster goes on from what it has.
_LAST_RESORT_S = 9.5
_SERVER = Path(hypercorn.__file__).parent
_STREAMS = 4096
"""Invocations at once in one connection."""


def serve_endpoint(endpoint: Endpoint, bind: str, *, json_output: bool = False) -> None:
    """Serves until SIGTERM or Ctrl-C; a second signal ends the process at once.

    One line with the address is printed once it listens.

    Args:
        endpoint: what to serve.
        bind: HOST:PORT; port 0 takes a free one.
        json_output: print the line as JSON.

    Raises:
        RuntimeFault: RT0002 for a malformed address, RT0004 for one that cannot be listened on.
    """
    listener = _listen(bind)
    server = _Server(endpoint, listener)
    _stop_on_signals(server)
    _announce(listener, json_output)
    # In a thread of its own: the SDK takes SIGTERM for itself in the main thread's event loop, and then cuts its streams short.
    server.start()
    server.join()
    if server.failure is not None:
        raise server.failure


class _Server(threading.Thread):
    def __init__(self, endpoint: Endpoint, listener: socket.socket) -> None:
        super().__init__(name="restate-endpoint", daemon=True)
        self.failure: BaseException | None = None
        self.stopping = threading.Event()
        self._endpoint = endpoint
        self._listener = listener
        self._wake: Callable[[], object] = lambda: None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self.stopping.is_set():  # of a connection that did not end in order
                _LOG.debug("while stopping", exc_info=error)
            else:
                self.failure = error
        finally:
            self._listener.close()

    def stop(self) -> None:
        self.stopping.set()
        # It makes them for a connection that is cut already.
        warnings.filterwarnings("ignore", r"coroutine 'TCPServer\.", RuntimeWarning)
        self._wake()

    async def _serve(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._report)
        self._wake = lambda: loop.call_soon_threadsafe(stop.set)
        if self.stopping.is_set():
            return

        await serve_until(self._endpoint, self._listener, stop, _GRACE_S)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What nobody catches in the event loop. Of connections that are cut while something still runs, the server has much to say."""
        if self.stopping.is_set() and _is_servers(context):
            _LOG.debug("while stopping: %s", context.get("message"), exc_info=context.get("exception"))
        else:
            loop.default_exception_handler(context)


async def serve_until(endpoint: Endpoint, listener: socket.socket, stop: asyncio.Event, grace_s: float) -> None:
    """Serves in this event loop.

    Args:
        endpoint: what to serve.
        listener: a socket that listens, and does not block.
        stop: set it to suspend what waits, and to end.
        grace_s: bound on the time that handlers get then.
    """
    closing = asyncio.Event()
    application: Any = ASGIWrapper(endpoint)
    serving = asyncio.create_task(
        worker_serve(application, _config(), sockets=Sockets([], [listener], []), shutdown_trigger=closing.wait),
    )
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await endpoint.stop(grace_s)
    finally:
        stopping.cancel()
        closing.set()
        # It may wait for a connection that has nothing to do: the last stream of it was reset.
        await asyncio.wait({serving}, timeout=_CLOSING_S)
        if not serving.done():
            serving.cancel()
            await asyncio.wait({serving}, timeout=_CLOSING_S)
    if serving.done() and not serving.cancelled():
        serving.result()


def _is_servers(context: Mapping[str, Any]) -> bool:
    """Whether the event loop tells of the server's own tasks, and of none that a handler began."""
    message, error = context.get("message") or "", context.get("exception")
    if "client_connected_cb" in message or "StreamReaderProtocol.connection_made" in message:
        return True
    codes = [getattr(getattr(context.get("task"), "get_coro", lambda: None)(), "cr_code", None)]
    if error is not None:
        codes += [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(code is not None and _SERVER in Path(code.co_filename).parents for code in codes)


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.loglevel = "ERROR"
    config.graceful_timeout = _CLOSING_S / 2  # handlers have had their time before
    config.h2_max_concurrent_streams = _STREAMS
    config.keep_alive_timeout = 3600.0
    return config


def _listen(bind: str) -> socket.socket:
    host, port = split_address(bind, "--bind")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        match error:
            case socket.gaierror():
                reason = f"there is no host '{host}'"
            case OSError(errno=errno.EADDRINUSE):
                reason = "the port is in use"
            case OSError(errno=int(number)):
                reason = os.strerror(number)
            case _:
                reason = str(error)
        raise RuntimeFault("RT0004", f"--bind: cannot listen on {bind}: {reason}") from None
    listener.setblocking(False)
    return listener


def _announce(listener: socket.socket, json_output: bool) -> None:
    host, port, *_ = listener.getsockname()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    line = msgspec.json.encode({"endpoint": url, "pid": os.getpid()}).decode() if json_output else f"endpoint: {url}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _stop_on_signals(server: _Server) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        if server.stopping.is_set():
            os._exit(128 + number)
        last_resort = threading.Timer(_LAST_RESORT_S, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()
        server.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
