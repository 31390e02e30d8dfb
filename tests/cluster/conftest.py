"""A Restate server for tests of what only a cluster has."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ..contract.server import Server, find_server


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
