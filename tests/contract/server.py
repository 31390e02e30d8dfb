"""A real Restate server: one node, or three of which one may be lost."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from ..ports import free_port

__all__ = ["Node", "Server", "ThreeNodes", "find_controller", "find_server"]

ROOT = Path(__file__).parents[2]
START_S = 90


def find_server() -> Path | None:
    """The server's binary: `RESTATE_SERVER`, or what `nox -s cluster_server` put into `.cache/restate`."""
    given = os.environ.get("RESTATE_SERVER")
    if given:
        return Path(given)
    return next(iter(sorted((ROOT / ".cache" / "restate").glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))), None)


def find_controller() -> Path | None:
    """`restatectl`, which comes beside the server."""
    server = find_server()
    if server is None:
        return None
    return next(iter(sorted(server.parents[2].glob("restatectl-*/bin/restatectl"))), None)


@dataclass
class Node:
    """One process, with a data directory of its own."""

    binary: Path
    folder: Path
    number: int = 1
    port: int = field(default_factory=free_port)
    ingress: str = field(default_factory=lambda: f"http://127.0.0.1:{free_port()}")
    admin: str = field(default_factory=lambda: f"http://127.0.0.1:{free_port()}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where other nodes reach it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, config: str) -> None:
        """Starts it; what all nodes have in common is given."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "restate.toml"
        file.write_text(
            f"""
cluster-name = "contract"
node-name = "node-{self.number}"
force-node-id = {self.number}
auto-provision = {"true" if self.number == 1 else "false"}
base-dir = "{self.folder / "server"}"
roles = ["worker", "admin", "metadata-server", "log-server", "http-ingress"]
disable-telemetry = true
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {self.port}
advertised-address = "{self.address}"
rocksdb-total-memory-size = "128MB"
log-filter = "error"
experimental-enable-preflight-invocation-termination-retention = true
{config}
[admin]
bind-address = "{self.admin.removeprefix("http://")}"

[worker.invoker]
eager-state-size-limit = "16KiB"

[ingress]
bind-address = "{self.ingress.removeprefix("http://")}"
"""
        )
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "-c", file, "--no-logo"],
                stdout=log,
                stderr=log,
                env=os.environ | {"DO_NOT_TRACK": "1", "RESTATE_DISABLE_TELEMETRY": "true"},
            )

    def ready(self) -> None:
        """Waits until it is healthy."""
        until = time.monotonic() + START_S
        while not (_healthy(f"{self.admin}/health") and _healthy(f"{self.ingress}/restate/health") and self._answers_queries()):
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"restate-server does not start:\n{(self.folder / 'server.log').read_text()[-4000:]}")
            time.sleep(0.05)

    def _answers_queries(self) -> bool:
        """Whether its partitions have a leader: the last thing to be ready."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        body = json.dumps({"query": "select count(*) as n from sys_invocation"}).encode()
        return _healthy(urllib.request.Request(f"{self.admin}/query", body, headers))

    def kill(self) -> None:
        """Ends it by its own id, with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Server:
    """One node."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._node = Node(binary, folder)
        self.ingress = self._node.ingress
        self.admin = self._node.admin

    def start(self) -> None:
        """Starts it, and waits until it is healthy."""
        self._node.start("default-num-partitions = 2")
        self._node.ready()

    def stop(self) -> None:
        """Ends it."""
        self._node.kill()


class ThreeNodes:
    """Three nodes, with everything on two of them at least, and one partition: whichever leads it does all the work."""

    def __init__(self, binary: Path, controller: Path, folder: Path) -> None:
        self.nodes = [Node(binary, folder / f"node-{number}", number) for number in (1, 2, 3)]
        self.killed = 0
        self._controller = controller
        self._down: Node | None = None
        self._config = f"""
default-num-partitions = 1
default-replication = 2

[metadata-client]
addresses = {json.dumps([node.address for node in self.nodes])}

[bifrost]
default-provider = "replicated"
"""

    @property
    def up(self) -> list[Node]:
        """Those that are not down."""
        return [node for node in self.nodes if node is not self._down]

    @property
    def ingress(self) -> str:
        """Of a node that is not down."""
        return self.up[0].ingress

    @property
    def admin(self) -> str:
        """Likewise."""
        return self.up[0].admin

    def start(self) -> None:
        """Starts them, and waits until all are healthy."""
        for node in self.nodes:
            node.start(self._config)
        for node in self.nodes:
            node.ready()

    def stop(self) -> None:
        """Ends them."""
        for node in self.nodes:
            node.kill()

    def leader(self) -> Node:
        """The node that leads the partition."""
        query = "select plain_node_id from partition_state where lower(effective_mode) = 'leader' order by updated_at desc"
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            addresses = ",".join(node.address for node in self.up)
            done = subprocess.run([self._controller, "--address", addresses, "sql", "--json", query], capture_output=True, text=True)
            for node in self.up:
                if f'"N{node.number}"' in done.stdout.partition("}")[0]:
                    return node
            time.sleep(0.05)
        raise RuntimeError(f"the partition has no leader: {done.stdout}{done.stderr}")

    def kill_leader(self) -> None:
        """Kills the node that leads, with -9; nothing leads until the others have agreed on one of them."""
        self._down = self.leader()
        self._down.kill()
        self.killed += 1

    def settle(self) -> None:
        """Waits until the nodes that are left have agreed on a leader."""
        for node in self.up:
            node.ready()

    def mend(self) -> None:
        """Starts the node that is down, and waits until all three are healthy again."""
        if self._down is None:
            return
        self._down.start(self._config)
        self._down.ready()
        self._down = None


def _healthy(url: str | urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
