"""The engine that a test runs on, and the suite's App on it."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from .engines import Engine, Running, embedded
from .matrix import engine_of, note
from .services import OUTSIDE, Outside


def _engines() -> dict[str, Engine]:
    found = {engine.name: engine for engine in embedded}
    if importlib.util.find_spec("restate") is not None:
        from .cluster import ClusterEngine
        from .functions import LambdaEngine
        from .gateway import GatewayEngine
        from .remote import remote
        from .three_nodes import ThreeNodesEngine

        on_a_server = (ClusterEngine("cluster"), ClusterEngine("cluster-http1", http_11=True), GatewayEngine("gateway"))
        found |= {engine.name: engine for engine in (*remote, LambdaEngine(), *on_a_server, ThreeNodesEngine())}
    return found


ENGINES = _engines()
SLOW = {"lambda", "three-nodes"}
"""Take many minutes, as processes start or leaders are elected in every test: only those marked `smoke`, unless `--engine` names one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--engine") or list(ENGINES)
        unknown = set(wanted) - set(ENGINES)
        if unknown:
            raise pytest.UsageError(f"--engine: {', '.join(sorted(unknown))} is not one of {', '.join(ENGINES)}")
        metafunc.parametrize("engine", wanted, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        note(item)
    if config.getoption("--engine"):
        return
    left_out = [item for item in items if engine_of(item) in SLOW and item.get_closest_marker("smoke") is None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """One way to run the App. Without what it needs its tests skip, but never in CI."""
    found = ENGINES[request.param]
    missing = found.missing()
    if missing is not None:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    match found.name:
        case "cluster" | "cluster-http1" | "gateway":
            found.server = request.getfixturevalue("server")  # type: ignore[attr-defined]
        case "three-nodes":
            found.nodes = request.getfixturevalue("three_nodes")  # type: ignore[attr-defined]
        case "lambda":
            request.getfixturevalue("_function")
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Restate server on one node."""
    from .server import Server, find_server

    binary = find_server()
    assert binary is not None
    server = Server(binary, tmp_path_factory.mktemp("restate"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Restate server on three nodes; their leader was killed as often as tests ran."""
    from .server import ThreeNodes, find_controller, find_server

    binary, controller = find_server(), find_controller()
    assert binary is not None
    assert controller is not None
    nodes = ThreeNodes(binary, controller, tmp_path_factory.mktemp("restate"))
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture(scope="session")
def _function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from .functions import LambdaEngine

    engine = ENGINES["lambda"]
    assert isinstance(engine, LambdaEngine)
    engine.open(tmp_path_factory.mktemp("function"))
    yield
    engine.close()


@pytest.fixture(autouse=True)
def not_on(request: pytest.FixtureRequest) -> None:
    """Leaves out what an engine is documented to do otherwise."""
    marker = request.node.get_closest_marker("not_on")
    if marker is not None and "engine" in request.fixturenames and request.getfixturevalue("engine").name in marker.args:
        pytest.skip(marker.kwargs["reason"])


@pytest.fixture(scope="session", autouse=True)
def _outside_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get(OUTSIDE)
    os.environ[OUTSIDE] = str(tmp_path_factory.mktemp("outside"))
    yield
    if before is None:
        del os.environ[OUTSIDE]
    else:
        os.environ[OUTSIDE] = before


@pytest.fixture
def key() -> str:
    """A key, and a name for everything else, that no other test has: a cluster keeps what it got."""
    return uuid.uuid4().hex


@pytest.fixture
def outside(key: str) -> Outside:
    """What the test's scripts write down, under the name `key`."""
    return Outside(key)


@pytest.fixture
async def running(engine: Engine, tmp_path: Path) -> AsyncIterator[Running]:
    """The suite's App, running."""
    async with engine.start(tmp_path) as running:
        yield running


@pytest.fixture
def caller(running: Running) -> Any:
    """Makes calls from outside."""
    return running.caller
