"""Runs of a workflow under one key: the next one begins once nobody can ask for the one before."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from restate_runtime.engine import retention
from restate_runtime.engine.storage.batch import Batch
from restate_runtime.engine.storage.meta import Counters
from restate_runtime.engine.storage.schema import create
from restate_runtime.journal.effects import ForgetKey, PutPromise, PutPromiseWaiter
from restate_runtime.journal.entries import Success
from restate_runtime.serde import Value

from ..durability.harness import Clock, app, start, until
from .conftest import OPTIONS, Endpoint, nothing
from .test_scripted import Script

pytestmark = pytest.mark.rule("R22")

OVER = timedelta(days=30)
LEAVES = (["set", "a", "one"], ["set", "b", "one"], ["resolve_promise", "p", "one"], ["return", "one"])
FINDS = (["get", "a"], ["peek", "p"], ["set", "a", "two"], ["resolve_promise", "p", "two"], ["promise", "q"], ["await", "q"])


@pytest.fixture(scope="module")
def endpoint(scripted_endpoint: Endpoint) -> Endpoint:
    return scripted_endpoint


async def second_run(script: Script, caller: str) -> Any:
    """Begins it from outside or in a handler, and returns what has its result."""
    if caller == "outside":
        return script.send(*FINDS, service="Process/run")
    return asyncio.ensure_future(Script(script.runtime)(["call", "c", ["Process", "run", script.key], FINDS], ["await", "c"]))


@pytest.mark.parametrize("caller", ["outside", "handler"])
async def test_a_run_leaves_nothing_to_the_next_and_takes_nothing_from_it(
    endpoint: Endpoint, caller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_FIRST_S", 0.01)
    clock = Clock()
    options = OPTIONS | {"data_dir": tmp_path / "data", "inactivity_timeout": timedelta(milliseconds=50)}
    async with start(app(nothing), clock, **options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        script = Script(runtime)
        first = script.send(*LEAVES, service="Process/run")
        id = await first.invocation_id()
        assert json.loads(await first.result())[-1] == "one"
        clock.advance(OVER)
        running = await second_run(script, caller)

        async def look() -> Any:
            return await script(["get", "a"], ["get", "b"], ["peek", "p"], service="Process/look")

        while await look() != [["two"], [None], ["two"]]:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(retention, "_INTERVAL_S", 0.01)
        runtime._machinery._retention._begin()
        await until(lambda: runtime.inspector.describe(id) is None)
        for _ in range(5):  # suspended or not, what was written stays
            assert await look() == [["two"], [None], ["two"]]
            await asyncio.sleep(0.02)
        await script(["resolve_promise", "q", "yes"], service="Process/look")
        result = json.loads(await running.result()) if caller == "outside" else (await running)[0][0]
        assert result == [[None], [None], "resolved", ["yes"]]
    async with start(app(nothing), clock, **options) as runtime:
        assert [row["key"] for row in runtime.inspector.state("Process", script.key)] == ["a"]


@pytest.mark.parametrize("end", ["returns", "killed"])
async def test_who_waited_for_a_promise_in_vain_leaves_nothing(endpoint: Endpoint, end: str, tmp_path: Path) -> None:
    async with app(nothing).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        promises = runtime._machinery.state.promises
        for _ in range(3):
            script = Script(runtime)
            bounded = [["promise", "never"], ["sleep", "bound", 5 if end == "returns" else 3_600_000], ["first", "never", "bound"]]
            run = script.send(*bounded, service="Process/run")
            if end == "killed":
                await until(lambda: promises)
                await run.kill()
            else:
                assert json.loads(await run.result()) == ["bound"]
        assert promises == {}
    connection = apsw.Connection(str(tmp_path / "data" / "restate.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("SELECT count(*) FROM promise_waiter").get == 0
    connection.close()


def test_a_promise_that_goes_in_the_commit_in_which_it_was_settled() -> None:
    """Who waited for it was told; who waits for the next one of that name is kept."""
    lane = ("Process", "k")
    batch = Batch(1)
    settled = Success(Value("json", b"1"))
    for record in (
        PutPromiseWaiter(lane, "p", 1, 1),
        PutPromise(lane, "p", settled),
        ForgetKey(lane),
        PutPromiseWaiter(lane, "p", 2, 1),
    ):
        assert batch.add(record)
    batch.close(Counters(3, 1, 1))
    connection = apsw.Connection(":memory:")
    create(connection)
    for sql, rows in batch.statements():
        connection.executemany(sql, rows)
    assert connection.execute("SELECT seq FROM promise_waiter").fetchall() == [(2,)]
    assert connection.execute("SELECT count(*) FROM promise").get == 0
