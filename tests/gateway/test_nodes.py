"""A cluster of several nodes, of which some are gone or have no leader: played by plain HTTP servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from restate_runtime import RetryPolicy, RuntimeFault
from restate_runtime.cluster.gateway.client import Cluster
from restate_runtime.cluster.gateway.discovery import Directory
from restate_runtime.cluster.gateway.engine import ClusterEngine
from restate_runtime.cluster.gateway.nodes import Answer, Nodes, node_urls

from ..ports import free_port

Behave = Callable[[int], web.Response | None]
"""What a node answers to the n-th request, counted from 1; with nothing it closes the connection."""


@dataclass
class Node:
    url: str
    requests: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def node(behave: Behave) -> AsyncIterator[Node]:
    node = Node("")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        node.requests.append(request.path)
        answer = behave(len(node.requests))
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
        return answer or web.Response()

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def nodes(*urls: str) -> AsyncIterator[Nodes]:
    async with aiohttp.ClientSession() as session:
        yield Nodes(session, node_urls(urls, "--cluster"), "--cluster")


async def ask(nodes: Nodes, *, repeatable: bool = True) -> Answer:
    return await nodes.request("POST", "/x", b"", {}, busy=lambda answer: answer.status == 503, repeatable=repeatable)


def fine(_: int) -> web.Response:
    return web.Response(text="fine")


def gone() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_node_that_is_gone_is_passed_over(repeatable: bool) -> None:
    async with node(fine) as second, nodes(gone(), second.url) as cluster:
        for _ in range(3):
            assert (await ask(cluster, repeatable=repeatable)).body == b"fine"
        assert len(second.requests) == 3


async def test_the_next_request_begins_with_the_node_that_answered() -> None:
    async with node(lambda number: None if number == 1 else fine(number)) as first, node(fine) as second:
        async with nodes(first.url, second.url) as cluster:
            await ask(cluster)
            await ask(cluster)
        assert (len(first.requests), len(second.requests)) == (1, 2)


async def test_a_cluster_without_a_leader_is_waited_for() -> None:
    async with node(lambda number: fine(number) if number > 3 else web.Response(status=503)) as only, nodes(only.url) as cluster:
        assert (await ask(cluster)).status == 200
        assert len(only.requests) == 4


@pytest.mark.parametrize("others", [1, 0], ids=["another node", "one node"])
async def test_what_has_waited_for_long_is_asked_for_again(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node dies under a wait that took longer than the gateway's patience; the cluster is back before that is over."""
    monkeypatch.setattr("restate_runtime.cluster.gateway.nodes._PATIENCE", RetryPolicy(max_duration=timedelta(seconds=2)))
    dies = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/wait" and not dies.is_set():
            await dies.wait()
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="fine")

    async with contextlib.AsyncExitStack() as stack:
        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = free_port()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        urls = [f"http://127.0.0.1:{port}"]
        if others:
            busy = await stack.enter_async_context(node(lambda number: fine(number) if number > 2 else web.Response(status=503)))
            urls.append(busy.url)
        cluster = await stack.enter_async_context(nodes(*urls))

        async def get(path: str) -> bytes:
            return (await cluster.request("GET", path, None, {}, busy=lambda answer: answer.status == 503)).body

        assert await get("/at-once") == b"fine"  # its connection is used again
        waiting = asyncio.ensure_future(get("/wait"))
        await asyncio.sleep(2.2)
        await site.stop()
        dies.set()
        if not others:
            await asyncio.sleep(0.2)
            await web.TCPSite(runner, "127.0.0.1", port).start()
        assert await waiting == b"fine"


@pytest.mark.parametrize("behave", [lambda _: web.Response(status=503), lambda _: None], ids=["busy", "broken"])
async def test_what_may_arrive_once_is_sent_once(behave: Behave) -> None:
    async with node(behave) as first, node(fine) as second, nodes(first.url, second.url) as cluster:
        if behave(0) is None:
            with pytest.raises(ConnectionError, match="broke before there was an answer"):
                await ask(cluster, repeatable=False)
        else:
            assert (await ask(cluster, repeatable=False)).status == 503
        assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_a_cluster_that_is_not_there_is_told_at_once_with_all_its_addresses() -> None:
    urls = gone(), gone()
    async with nodes(*urls) as cluster:
        with pytest.raises(ConnectionError, match=rf"no Restate cluster can be reached at {urls[0]}, {urls[1]} \(--cluster\)"):
            await ask(cluster)


async def test_https_where_there_is_none() -> None:
    async with node(fine) as plain, nodes(plain.url.replace("http:", "https:")) as cluster:
        with pytest.raises(ConnectionError, match=r"^no Restate cluster can be reached at https.* \(--cluster\): no TLS is spoken there "):
            await ask(cluster, repeatable=False)


async def test_a_node_that_does_not_even_refuse_is_passed_over() -> None:
    """As a machine that is gone: nothing answers what connects to it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        held = []
        for _ in range(4):
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(silent.getsockname())
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with node(fine) as second, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=0.2)) as session:
            assert (await ask(Nodes(session, [url, second.url], "--cluster"), repeatable=False)).status == 200
        for one in held:
            one.close()


async def test_an_address_that_is_none() -> None:
    with pytest.raises(RuntimeFault, match="--cluster: 'localhost:8080' is no URL"):
        async with nodes("http://127.0.0.1:1", "localhost:8080"):
            pass


URI = "http://127.0.0.1:9080"
DEPLOYMENT = {"id": "dp_1", "uri": URI, "services": []}
LOOKED_AT = "/deployments/dp_1"


def admin(path: str, *, knows: bool) -> web.Response:
    """What a node says, that knows of the deployment or not."""
    match path:
        case "/deployments/dp_1":
            return web.json_response(DEPLOYMENT if knows else {"message": "not found"}, status=200 if knows else 404)
        case "/deployments":
            return web.json_response({"deployments": [DEPLOYMENT] if knows else []})
        case "/services":
            return web.json_response({"services": []})
        case _:
            return web.json_response({"rows": []})


async def registered(*urls: str) -> tuple[str, bool]:
    cluster = Cluster([gone()], urls)
    try:
        row = await ClusterEngine(cluster, Directory(cluster, {})).register_deployment(URI)
    finally:
        await cluster.close()
    return row["id"], row["created"]


@pytest.mark.parametrize("taker", ["stays", "dies", "comes back"])
async def test_a_deployment_is_there_once_all_nodes_know_of_it(taker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that took it knows at once, or dies, and knows nothing when it is back; the other one learns of it later.

    That takes longer than an election: the gateway's patience with that is shorter here.
    """
    monkeypatch.setattr("restate_runtime.cluster.gateway.nodes._PATIENCE", RetryPolicy(max_duration=timedelta(milliseconds=100)))

    def first(number: int) -> web.Response | None:
        if number == 1:
            return web.json_response(DEPLOYMENT, status=201)
        path = leader.requests[-1]
        match taker:
            case "stays":
                return admin(path, knows=True)
            case "comes back" if path != LOOKED_AT:
                return admin(path, knows=False)
            case _:
                return None

    async with node(first) as leader, node(lambda number: admin(late.requests[-1], knows=number > 3)) as late:
        assert await registered(leader.url, late.url) == ("dp_1", True)
        assert late.requests[:4] == [LOOKED_AT] * 4


async def test_a_node_that_never_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_runtime.cluster.gateway.nodes._AGREEMENT", RetryPolicy(max_duration=timedelta(milliseconds=100)))

    def first(number: int) -> web.Response:
        return web.json_response(DEPLOYMENT, status=201) if number == 1 else admin(leader.requests[-1], knows=True)

    async with node(first) as leader, node(lambda _: admin(late.requests[-1], knows=False)) as late:
        with pytest.raises(ConnectionError, match=rf"^the cluster has taken the change, but does not know of it yet at {late.url} \("):
            await registered(leader.url, late.url)
