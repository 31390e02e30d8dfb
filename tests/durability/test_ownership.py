"""One process owns a data directory (R43)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from restate_runtime import RuntimeFault

from .harness import app, invocation, until
from .processes import ROOT, child


async def refusal(path: Path) -> RuntimeFault:
    with pytest.raises(RuntimeFault) as error:
        async with app().start(data_dir=path):
            pass
    return error.value


@pytest.mark.rule("R43")
async def test_a_second_process_is_refused_and_the_owner_named(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    link = tmp_path / "link"
    link.symlink_to(directory)
    with child("owner", directory) as owner:
        pid = owner.until("ready")[1]
        for path in (directory, link, tmp_path / "link" / ".." / "data"):
            fault = await refusal(path)
            assert fault.code == "RT0201"
            assert f"in use by process {pid} on {socket.gethostname()} since " in fault.message
        # SQLite's own locks do not survive this.
        assert owner.ask("read") == ["read"]
        assert (await refusal(directory)).code == "RT0201"
        assert owner.ask("add") == ["added", "1"]
        owner.ask("end")
        assert owner.end() == 0
    async with app().start(data_dir=link) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1


@pytest.mark.rule("R43")
async def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    with child("owner", tmp_path) as owner:
        owner.until("ready")
        owner.ask("add")
        owner.kill()
    async with app().start(data_dir=tmp_path) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1


@pytest.mark.rule("R43")
async def test_two_runtimes_of_one_process_are_two_owners(tmp_path: Path) -> None:
    async with app().start(data_dir=tmp_path / "a") as first, app().start(data_dir=tmp_path / "b") as second:
        await CounterClient(first).add(AddRequest(name="k", amount=1))
        assert (await CounterClient(second).get(CounterKey(name="k"))).value == 0
        assert f"process {os.getpid()} on" in (await refusal(tmp_path / "a")).message
    async with app().start(data_dir=tmp_path / "a"):
        pass


@pytest.mark.rule("R43")
async def test_the_first_stops_when_the_lock_file_was_removed_and_a_second_started(tmp_path: Path) -> None:
    with child("owner", tmp_path) as first:
        first.until("ready")
        assert first.ask("add") == ["added", "1"]
        os.kill(first.process.pid, signal.SIGSTOP)  # as a machine that sleeps
        (tmp_path / "lock").unlink()
        async with app().start(data_dir=tmp_path) as second:
            assert (await CounterClient(second).add(AddRequest(name="k", amount=10))).value == 11
            os.kill(first.process.pid, signal.SIGCONT)
            refused = first.ask("add")
            assert refused[0] == "refused"
            assert "RT0207" in " ".join(refused)
            assert first.end() == 1
            assert first.said[-1][:2] == ["fault", "RT0207"]
            assert (await CounterClient(second).add(AddRequest(name="k", amount=10))).value == 21
            assert not second.failed.done()
            assert len(second.inspector.invocations()) == 3  # nothing of the refused call
    async with app().start(data_dir=tmp_path) as again:
        assert (await CounterClient(again).get(CounterKey(name="k"))).value == 21


@pytest.mark.rule("R43")
async def test_a_second_start_waits_for_no_commit_of_the_first(tmp_path: Path) -> None:
    """The lock file is gone and the first is in the middle of a commit: the second is refused, not mixed in."""
    async with app().start(data_dir=tmp_path) as first:
        await CounterClient(first).add(AddRequest(name="k", amount=1))
        first._machinery._database.connection.execute("BEGIN IMMEDIATE")
        try:
            (tmp_path / "lock").unlink()
            fault = await refusal(tmp_path)
            assert fault.code == "RT0201"
        finally:
            first._machinery._database.connection.execute("ROLLBACK")
        assert (await CounterClient(first).add(AddRequest(name="k", amount=1))).value == 2


_FORK = """
import asyncio, os, sys
from pathlib import Path
from restate_runtime import RuntimeFault
from sample.v1.sample_pb2 import AddRequest
from sample.v1.sample_restate import CounterClient
from tests.durability.harness import app

class LeaveError(Exception):
    pass

async def both(data_dir):
    try:
        await main(data_dir)
    except LeaveError:
        os._exit(0)  # the event loop's own files are shared with the parent, which needs them

async def main(data_dir):
    async with app().start(data_dir=data_dir) as runtime:
        client = CounterClient(runtime)
        await client.add(AddRequest(name="k", amount=1))
        child = os.fork()
        if child == 0:
            for call in (
                lambda: client.add(AddRequest(name="k", amount=1)),
                lambda: client.add.in_background(AddRequest(name="k", amount=1)),
                lambda: runtime.status("inv_1AAAAAAAAAAAAAAAAAAAAAA"),
            ):
                try:
                    answer = call()
                    await answer
                    print("child: no error", flush=True)
                except RuntimeFault as fault:
                    print("child:", fault.code, flush=True)
            raise LeaveError  # the block, as any program would
        _, status = os.waitpid(child, 0)
        print("status", status, flush=True)
        print("owner", (Path(data_dir) / "lock").read_text(), flush=True)
        print("sum", (await client.add(AddRequest(name="k", amount=1))).value, flush=True)
        print("clean", next(runtime._machinery._database.connection.execute("SELECT clean FROM meta"))[0], flush=True)

asyncio.run(both(sys.argv[1]))
"""


@pytest.mark.rule("R43")
async def test_a_forked_process_has_no_runtime(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["child: RT0401"] * 3, done.stdout + done.stderr
    assert "status 0" in lines, done.stderr
    owner = json.loads(next(line for line in lines if line.startswith("owner")).removeprefix("owner "))
    assert owner["host"] == socket.gethostname()
    assert "sum 2" in lines
    assert "clean 0" in lines
    async with app().start(data_dir=tmp_path) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 2


@pytest.mark.rule("R44")
@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    "what", ["file", "below a file", "database is a directory", "mark is a directory", "flight is a directory", "lock is a directory"]
)
async def test_a_directory_that_cannot_be_one(what: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    inside = {"database": "restate.sqlite3", "mark": "highwater", "flight": "flight", "lock": "lock"}
    match what.split()[0]:
        case "file":
            path.write_text("mine")
        case "below":
            (tmp_path / "file").write_text("mine")
            path = tmp_path / "file" / "data"
        case name:
            (path / inside[name]).mkdir(parents=True)
    fault = await refusal(path)
    assert fault.code == "RT0202"
    assert str(path) in fault.message
    if what == "file":
        assert path.read_text() == "mine"


@pytest.mark.rule("R45")
@pytest.mark.parametrize("what", ["directory", "parent", "database", "mark", "flight"])
async def test_a_directory_that_cannot_be_written(what: str) -> None:
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as cleanup:
        path = Path(base, "data")
        Path(base).chmod(0o777)
        if what != "parent":
            async with app().start(data_dir=path):
                pass
            for file in [path, *path.iterdir()]:
                file.chmod(0o777 if file == path else 0o666)
        target = {"directory": path, "parent": Path(base), "database": path / "restate.sqlite3", "mark": path / "highwater"}.get(
            what, path / "flight"
        )
        target.chmod(0o555 if target.is_dir() else 0o444)
        cleanup.callback(target.chmod, 0o777)
        with child("as-nobody", path) as process:
            said = process.next()
            assert said[:2] == ["fault", "RT0202"], process.errors()
            assert str(path) in " ".join(said)
            assert process.end() == 1
            assert "Traceback" not in process.errors()


async def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    async with app().start(data_dir=tmp_path) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    mark = (tmp_path / "highwater").read_bytes()
    (tmp_path / "highwater").unlink()
    before = set(os.listdir("/dev/fd"))
    kept = [await refusal(tmp_path) for _ in range(3)]  # with their tracebacks
    assert {fault.code for fault in kept} == {"RT0203"}
    assert len(set(os.listdir("/dev/fd")) - before) <= 1
    (tmp_path / "highwater").write_bytes(mark)
    async with app().start(data_dir=tmp_path) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1


async def test_a_process_that_died_while_it_made_the_database_can_start_again(tmp_path: Path) -> None:
    tmp_path.joinpath("restate.sqlite3").touch()
    async with app().start(data_dir=tmp_path) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 1


async def test_the_directory_is_private(tmp_path: Path) -> None:
    async with app().start(data_dir=tmp_path / "a" / "b") as runtime:
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        id = await CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1)).invocation_id()
        await until(lambda: invocation(runtime, id)["status"] == "completed")
    assert asyncio.all_tasks() == {asyncio.current_task()}
