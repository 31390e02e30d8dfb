"""`restate-runtime endpoint`: an endpoint as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import Text

from restate_runtime.app import bare_app

from ..contract.server import Server
from ..durability.harness import fast_retry
from .hosted import JSON, Hosted

HOSTED = Path(__file__).parent / "child"
COMMAND = (sys.executable, "-P", "-m", "restate_runtime.cli.main", "endpoint")


def environment(**variables: str) -> dict[str, str]:
    generated = str(Path(__file__).parents[2] / "generated")
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (generated, os.environ.get("PYTHONPATH"))))} | variables


class Process:
    """An endpoint that listens."""

    def __init__(self, bind: str, **variables: str) -> None:
        self.popen = subprocess.Popen(
            [*COMMAND, "hosted_app:app", "--bind", bind, "--json"], cwd=HOSTED, env=environment(**variables), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.popen.stdout is not None
        self.line = self.popen.stdout.readline()

    @property
    def url(self) -> str:
        return str(json.loads(self.line)["endpoint"])

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.popen.send_signal(number)
        out, err = self.popen.communicate(timeout=30)
        return self.popen.returncode, out, err


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate()


@pytest.mark.rule("R31")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_and_a_quiet_end(processes: list[Process], number: signal.Signals) -> None:
    process = Process("127.0.0.1:0")
    processes.append(process)
    said = json.loads(process.line)
    assert said == {"endpoint": said["endpoint"], "pid": process.popen.pid}
    host, _, port = process.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))):
        pass
    assert process.end(number) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["hosted_app:app", "--bind", "nowhere"], "--bind: 'nowhere' is no address"),
        (["hosted_app:app", "--bind", "127.0.0.1:99999"], "is no address"),
        (["hosted_app:nothing"], "has no 'nothing'"),
        (["nothing:app"], "there is no module 'nothing'"),
    ],
)
def test_mistakes(arguments: list[str], told: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], cwd=HOSTED, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "hosted_app:app", "--bind", f"127.0.0.1:{port}"],
            cwd=HOSTED,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stderr == f"error: --bind: cannot listen on 127.0.0.1:{port}: the port is in use [RT0004]\n"


@pytest.mark.rule("R31")
@pytest.mark.parametrize("http1", [False, True], ids=["bidi", "http1"])
@pytest.mark.parametrize("running", [["a thread", "a task", "something foreign"], ["a stubborn task"]], ids=", ".join)
async def test_a_quiet_end_while_something_still_runs(processes: list[Process], tmp_path: Path, running: list[str], http1: bool) -> None:
    log = tmp_path / "log"
    process = Process("127.0.0.1:0", CHILD_LOG=str(log), CHILD_GRACE="0.5")
    processes.append(process)
    async with bare_app().start(data_dir=tmp_path / "data", **fast_retry) as runtime:
        await runtime.register_deployment(process.url, http1=http1)
        call = runtime.method("sample.v1.Echo/Call")
        handles = [call.in_background(Text(text=what).SerializeToString()) for what in running]
        await _lines(log, len(running))
        began = time.monotonic()
        assert await asyncio.to_thread(process.end, signal.SIGTERM) == (0, "", "")
        assert time.monotonic() - began < 6
        assert "completed" not in [await handle.status() for handle in handles]


async def register(hosted: Hosted, process: Process) -> None:
    answer = await hosted.ask("POST", f"{hosted.server.admin}/deployments", json.dumps({"uri": process.url, "force": True}).encode(), JSON)
    assert answer.status in (200, 201), answer.body


@pytest.mark.rule("R41")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_endpoint_that_ends_in_the_middle(
    server: Server, processes: list[Process], tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    process = Process("127.0.0.1:0", CHILD_LOG=str(log))
    processes.append(process)
    async with aiohttp.ClientSession() as session:
        hosted = Hosted(server, session, None)
        await register(hosted, process)
        id = await hosted.send("sample.v1.Echo/Script", b'{"text": "go"}')
        await _lines(log, 1)
        (row,) = await hosted.sql(f"select status from sys_invocation where id = '{id}'")
        assert row["status"] in ("running", "suspended")
        began = time.monotonic()
        await asyncio.to_thread(process.end, number)
        assert time.monotonic() - began < 10
        # What it waits for arrives while nobody is there.
        awakeable = log.read_text().splitlines()[0]
        body = json.dumps("settled").encode()
        await hosted.ask("POST", f"{server.ingress}/restate/awakeables/{awakeable}/resolve", body, JSON)
        processes.append(Process(process.url.removeprefix("http://"), CHILD_LOG=str(log)))
        row = await hosted.reached(id, "completed")
        assert row["completion_result"] == "success"
        answer: Any = await hosted.ask("GET", f"{server.ingress}/restate/invocation/{id}/output")
        assert json.loads(answer.body) == {"text": "settled"}
        assert log.read_text().splitlines() == [awakeable, "after"]


async def _lines(log: Path, number: int) -> None:
    while not (log.exists() and len(log.read_text().splitlines()) >= number):
        await asyncio.sleep(0.01)
