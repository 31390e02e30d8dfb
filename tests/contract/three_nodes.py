"""Three nodes of Restate behind the gateway: in every test the one that leads is killed, at a moment drawn for the test."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

from restate_runtime import connect
from restate_runtime.cluster.gateway import gateway

from .cluster import OnCluster
from .engines import Running
from .gateway import ThroughGateway
from .server import ThreeNodes, find_controller, find_server

__all__ = ["ThreeNodesEngine"]

LATEST_S = 0.4
"""Most of the suite's handlers are under way by then."""


class ThreeNodesEngine:
    """Calls go through a gateway that knows all three nodes; nobody who calls is told that one is gone."""

    name = "three-nodes"

    def __init__(self) -> None:
        self.nodes: ThreeNodes | None = None

    def missing(self) -> str | None:
        if find_server() is None or find_controller() is None:
            return "no restate-server and restatectl: `nox -s cluster_server` fetches them, or set RESTATE_SERVER"
        return None

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        nodes = self.nodes
        assert nodes is not None, "the session's fixture starts them"
        await asyncio.to_thread(nodes.mend)
        behind = OnCluster(nodes, http_11=False)
        await behind.start()
        await behind.register()
        addresses = [node.ingress for node in nodes.nodes], [node.admin for node in nodes.nodes]
        async with gateway(*addresses) as front, connect(front.ingress_url) as connection:
            killing = asyncio.create_task(_kill(nodes, random.Random(folder.name).uniform(0, LATEST_S)))
            try:
                yield ThroughGateway(behind, front, connection, interrupted=True)
            finally:
                await killing
                await asyncio.to_thread(nodes.settle)
                await behind.close()


async def _kill(nodes: ThreeNodes, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await asyncio.to_thread(nodes.kill_leader)
