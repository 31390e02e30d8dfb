"""A Restate server, a shop on it, and the gateway in front: in this process, or as the command."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from restate_runtime import App, connect
from restate_runtime.cluster.gateway import Gateway, gateway

from ..cli.conftest import COMMAND, Ran, environment, run
from ..cluster.hosted import Answer, Hosted, hosting
from ..contract.server import Server, find_server
from .shop import Boxes, Notes, Things


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One node. Without the binary its tests skip, but never in CI."""
    binary = find_server()
    if binary is None:
        reason = "no restate-server: `nox -s cluster_server` fetches one, or set RESTATE_SERVER"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(binary, tmp_path_factory.mktemp("restate"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def hosted(server: Server) -> AsyncIterator[Hosted]:
    """The services, at the cluster."""
    async with hosting(server, App(Things(), Boxes(), Notes())) as hosted:
        yield hosted


@pytest.fixture
async def front(hosted: Hosted) -> AsyncIterator[Gateway]:
    """The gateway in front of them."""
    async with gateway(hosted.server.ingress, hosted.server.admin) as front:
        yield front


@pytest.fixture
async def connection(front: Gateway) -> AsyncIterator[Any]:
    async with connect(front.ingress_url) as connection:
        yield connection


Ask = Callable[..., Any]


@pytest.fixture
async def ask(front: Gateway) -> AsyncIterator[Ask]:
    """A request at the gateway's ingress: verb, path, body, headers."""
    async with aiohttp.ClientSession() as session:

        async def ask(verb: str, path: str, body: Any = None, **headers: str) -> Answer:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(verb, URL(front.ingress_url + path, encoded=True), data=data, headers=sent) as response:
                return Answer(response.status, dict(response.headers), await response.read())

        yield ask


@dataclass(frozen=True)
class Command:
    """`restate-runtime gateway`, with what its line says."""

    popen: subprocess.Popen[str]
    ingress: str
    admin: str

    def run(self, *arguments: str | Path) -> Ran:
        return run(*arguments, RESTATE_RUNTIME_INGRESS_URL=self.ingress, RESTATE_RUNTIME_ADMIN_URL=self.admin)


@contextlib.contextmanager
def command(server: Server, *arguments: str | Path) -> Iterator[Command]:
    """The command for as long as the block lasts."""
    flags = ["--cluster", server.ingress, "--cluster-admin", server.admin, "--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json"]
    popen = subprocess.Popen(
        [*COMMAND, "gateway", *flags, *map(str, arguments)], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert popen.stdout is not None
        assert popen.stderr is not None
        line = popen.stdout.readline()
        assert line, popen.stderr.read()
        said = json.loads(line)
        yield Command(popen, said["ingress"], said["admin"])
    finally:
        popen.terminate()
        out, err = popen.communicate(timeout=20)
        assert (popen.returncode, out, err) == (0, "", "")
