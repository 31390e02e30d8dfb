"""`App`: the services that a process hosts, and how they are started."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .engine.crashpoints import Probe, probe_from_environment
from .engine.machinery import Clock, Machinery, system_clock
from .engine.options import Options, load_options
from .engine.registry import PrivateService, Registry
from .engine.runtime import Runtime
from .handler.service import Service
from .retry import RetryPolicy

if TYPE_CHECKING:
    from .web.server import Server

__all__ = ["App", "Started", "bare_app"]


class App:
    """Binds implementations of generated bases.

    Args:
        services: instances, one for each service.
        retry: invocation retry policy for all of them, before the runtime's own.
        private: services that callers outside cannot reach, by full name, class or instance; services call them as ever.

    Raises:
        RuntimeFault: RT0102 without services, RT0103 for an object that implements none, RT0104 for two of the same name, RT0106 for a
            private one that is not among them.
    """

    def __init__(self, *services: Service, retry: RetryPolicy | None = None, private: Iterable[PrivateService] = ()) -> None:
        given: Any = retry
        if not isinstance(given, RetryPolicy | None):
            raise TypeError(f"an App's retry is a RetryPolicy, not a {type(given).__name__}")
        self.registry = Registry(services, retry, private)

    def start(self, *, config: Path | str | None = None, **options: Any) -> Started:
        """Starts in process: `async with app.start(data_dir=...) as runtime`. No ports unless asked for.

        Args:
            config: a TOML file with options.
            options: every option of `serve` is a keyword (`engine.options.Options`).

        Raises:
            RuntimeFault: RT0002 for an unknown option or a value that does not fit; on entering, what keeps it from starting.
        """
        return Started(self.registry, load_options(options, config=None if config is None else Path(config)))

    async def serve(self, options: Options, on_ready: Callable[[Runtime], None], stop: asyncio.Event) -> None:
        """Serves until `stop` is set.

        Args:
            options: what to serve, and where.
            on_ready: called once it can serve.
            stop: set it to stop in order.

        Raises:
            RuntimeFault: it could not start, or lost its disk.
        """
        async with Started(self.registry, options) as runtime:
            on_ready(runtime)
            # Whichever comes first: the word to stop, or the loss of the disk.
            runtime.failed.add_done_callback(lambda _: stop.set())
            await stop.wait()
            if runtime.failed.done():
                raise runtime.failed.result()

    def run(self, **options: Any) -> None:
        """Serves until SIGTERM or Ctrl-C, as `restate-runtime serve` does; options as `start`."""
        from .serving import DEFAULT_ADMIN, DEFAULT_INGRESS, serve_forever

        serve_forever(self, load_options({"ingress": DEFAULT_INGRESS, "admin": DEFAULT_ADMIN} | options))


def bare_app() -> App:
    """An App without services of its own: deployments host everything."""
    app = object.__new__(App)
    app.registry = Registry((), may_be_empty=True)
    return app


class Started:
    """A runtime from entering to leaving."""

    def __init__(self, registry: Registry, options: Options, *, probe: Probe | None = None, clock: Clock = system_clock) -> None:
        self._registry = registry
        self._options = options
        self._probe = probe if probe is not None else probe_from_environment()
        self._clock = clock
        self._servers: list[Server] = []
        self._runtime: Runtime | None = None

    async def __aenter__(self) -> Runtime:
        machinery = Machinery(self._registry, self._options, probe=self._probe, clock=self._clock)
        runtime = self._runtime = Runtime(machinery)
        try:
            machinery.start()
            await machinery.outposts.register_configured()
            await self._listen(runtime)
        except BaseException:
            await self._stop_servers(0)
            machinery.give_up()
            raise
        return runtime

    async def _listen(self, runtime: Runtime) -> None:
        if self._options.ingress is not None:
            from .ingress.http import start_ingress

            ingress = await start_ingress(runtime, self._options.ingress)
            self._servers.append(ingress)
            runtime.ingress_url = ingress.url
        if self._options.admin is not None:
            from .admin.rest import start_admin

            admin = await start_admin(runtime, self._options.admin)
            self._servers.append(admin)
            runtime.admin_url = admin.url

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        runtime = self._runtime
        assert runtime is not None
        try:
            await runtime.close(error)
        finally:
            # Connections that are open stay so until the replies that are due have left.
            for server in self._servers:
                server.close_listener()
            await runtime.stop()
            await self._stop_servers(1)

    async def _stop_servers(self, grace_s: float) -> None:
        for server in self._servers:
            with contextlib.suppress(Exception):
                await server.stop(grace_s)
        self._servers.clear()
