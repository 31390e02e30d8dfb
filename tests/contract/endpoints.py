"""An App at an endpoint in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from restate_runtime import App
from restate_runtime.cluster import Endpoint, endpoint
from restate_runtime.cluster.serving import serve_until

from ..ports import free_port
from .services import make_app

__all__ = ["Served"]


class Served:
    """An App at an address of its own that outlives a restart.

    Args:
        make: makes the App, anew for each start.
    """

    def __init__(self, make: Callable[[], App] = make_app) -> None:
        self._make = make
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._endpoint: Endpoint | None = None
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._endpoint = endpoint(self._make())
        listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        listener.setblocking(False)
        serving = serve_until(self._endpoint, listener, self._stop, 2)
        self._serving = asyncio.get_running_loop().create_task(serving)

    async def stop(self) -> None:
        assert self._endpoint is not None
        assert self._serving is not None
        self._stop.set()
        with contextlib.suppress(Exception):
            await self._serving
