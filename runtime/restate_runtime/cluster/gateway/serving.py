"""A gateway in an event loop: the servers, and the cluster behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from ...admin.rest import start_admin
from ...descriptors import ServiceDescriptor
from ...ingress.http import start_ingress
from ...web.server import Server
from .client import Cluster
from .discovery import Directory
from .engine import ClusterEngine

__all__ = ["Gateway", "gateway"]

_LOG = logging.getLogger("restate_runtime.gateway")
_GRACE_S = 1


class Gateway:
    """A gateway that serves.

    Attributes:
        engine: the cluster.
        ingress_url: where its ingress is.
        admin_url: where its admin API is.
    """

    def __init__(self, engine: ClusterEngine, ingress: Server, admin: Server) -> None:
        self.engine = engine
        self.ingress_url = ingress.url
        self.admin_url = admin.url


@contextlib.asynccontextmanager
async def gateway(
    cluster: str | Sequence[str],
    cluster_admin: str | Sequence[str],
    *,
    ingress: str = "127.0.0.1:0",
    admin: str = "127.0.0.1:0",
    contracts: Mapping[str, ServiceDescriptor] | None = None,
) -> AsyncIterator[Gateway]:
    """Serves a cluster. It is served although the cluster does not answer yet: calls are UNAVAILABLE until it does.

    Args:
        cluster: URL of the cluster's ingress; or of those of its nodes, of which one that answers is taken.
        cluster_admin: likewise, of its admin API.
        ingress: `HOST:PORT` to serve the ingress at; port 0 takes a free one.
        admin: the same for the admin API.
        contracts: of services whose endpoints send none along, by name.

    Raises:
        RuntimeFault: RT0002 for a malformed URL or address, RT0004 for one that cannot be listened on.
    """
    async with contextlib.AsyncExitStack() as stack:
        client = Cluster(*([urls] if isinstance(urls, str) else urls for urls in (cluster, cluster_admin)))
        stack.push_async_callback(client.close)
        directory = Directory(client, contracts or {})
        engine = ClusterEngine(client, directory)
        servers: list[Server] = []
        stack.push_async_callback(_stop, engine, servers)
        for start, address in ((start_ingress, ingress), (start_admin, admin)):
            servers.append(await start(engine, address))
        try:
            await directory.refresh()
        except ConnectionError as error:
            _LOG.warning("%s; the gateway goes on asking", error)
        watching = asyncio.get_running_loop().create_task(directory.watch())
        stack.callback(watching.cancel)
        yield Gateway(engine, *servers)


async def _stop(engine: ClusterEngine, servers: list[Server]) -> None:
    """Takes no new connection, answers those that wait, and closes."""
    for server in servers:
        server.close_listener()
    await engine.stop()
    for server in servers:
        await server.stop(_GRACE_S)
