"""The command as users run it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
HOSTED = TESTS / "ingress"
# -P: only serve itself puts the working directory on sys.path.
COMMAND = (sys.executable, "-P", "-m", "restate_runtime.cli.main")


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RESTATE_RUNTIME_")}
    path = os.pathsep.join(filter(None, (str(TESTS.parent / "generated"), os.environ.get("PYTHONPATH"))))
    return clean | {"PYTHONPATH": path, "COLUMNS": "200"} | variables


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str | Path, cwd: Path = HOSTED, stdin: str = "", **variables: str) -> Ran:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, env=environment(**variables), input=stdin, capture_output=True, text=True, timeout=60
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Process:
    """A runtime that serves, with what its line says."""

    popen: subprocess.Popen[str]
    ingress: str
    admin: str
    data_dir: Path

    def run(self, *arguments: str | Path, stdin: str = "") -> Ran:
        return run(*arguments, stdin=stdin, RESTATE_RUNTIME_INGRESS_URL=self.ingress, RESTATE_RUNTIME_ADMIN_URL=self.admin)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(timeout=30)


Serve = Callable[..., Process]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a runtime of its own and waits for its line; whatever still runs at the end is ended by its pid."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, target: str = "hosted:app", cwd: Path = HOSTED, **variables: str) -> Process:
        data_dir = tmp_path / "data"
        ports = ("--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", str(data_dir))
        popen = subprocess.Popen(
            [*COMMAND, "serve", target, *ports, "--json", *arguments],
            cwd=cwd,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(popen)
        assert popen.stdout is not None
        assert popen.stderr is not None
        line = popen.stdout.readline()
        assert line, popen.stderr.read()
        said = json.loads(line)
        return Process(popen, said["ingress"], said["admin"], Path(said["data_dir"]))

    yield start
    for popen in started:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()
