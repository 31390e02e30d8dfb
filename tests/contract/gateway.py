"""The suite's App on a Restate cluster, called through a connection to the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from restate_runtime import connect
from restate_runtime.cluster.gateway import Gateway, gateway

from .cluster import ClusterEngine, OnCluster
from .engines import Outer, Running

__all__ = ["GatewayEngine", "ThroughGateway"]


class ThroughGateway:
    """The suite's App at a cluster, and a connection to the gateway in front of it."""

    def __init__(self, behind: OnCluster, front: Gateway, connection: Any, *, interrupted: bool = False) -> None:
        self.interrupted = interrupted
        self._behind = behind
        self._front = front
        self._connection = connection
        self.ingress_url = front.ingress_url
        self.admin_url = front.admin_url

    @property
    def caller(self) -> Outer:
        caller: Outer = self._connection
        return caller

    async def restart(self) -> None:
        await self._behind.restart()

    async def release(self, name: str) -> None:
        # Through the gateway, which finds a node that is there.
        row = await self._front.engine.register_deployment(await self._behind.serve(name))
        self._behind.registered.append(row["id"])


class GatewayEngine(ClusterEngine):
    """A Restate server on one node, with the gateway in front of it."""

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        assert self.server is not None, "the session's fixture starts it"
        async with super().start(folder) as behind:
            assert isinstance(behind, OnCluster)
            async with gateway(self.server.ingress, self.server.admin) as front, connect(front.ingress_url) as connection:
                yield ThroughGateway(behind, front, connection)
