"""A crash at every point of a cancellation: acknowledged, it is seen, once, all the way down; what it undoes is undone once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Number, Text
from sample.v1.sample_restate import CounterBase, CounterClient

from restate_runtime import App, KeyedContext, Runtime, TerminalError, gather
from restate_runtime.app import Started
from restate_runtime.engine.options import load_options

from .snapshots import Recorder, Snapshot
from .test_snapshots import MODES

COUNTER = "sample.v1.Counter"
LEAVES = ("a", "b")
_POLL_S = 0.002
_STUCK_S = 30


class Counter(CounterBase):
    """`root` waits for two leaves and undoes what it did when that is cancelled; a leaf waits for good."""

    def __init__(self, outside: Path) -> None:
        self._outside = outside

    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        counter = CounterClient(ctx)
        if request.text == "leaf":
            return await self._wait(ctx)
        ctx.set("did", 1)
        try:
            await gather(*(counter.script(KeyedText(key=leaf, text="leaf")) for leaf in LEAVES))
        except TerminalError as error:
            await ctx.run("undo", self._undo)
            undone = await counter.add(AddRequest(name="undone", amount=1))
            ctx.clear("did")
            return Text(text=f"{error.code.name}, undone {undone.value}")
        return Text(text="not cancelled")

    async def _wait(self, ctx: KeyedContext) -> Text:
        ctx.set("seen", "waiting")
        try:
            await ctx.sleep(timedelta(hours=1))
        except TerminalError as error:
            ctx.set("seen", error.code.name)
            raise
        return Text()

    async def _undo(self) -> None:
        with (self._outside / "undone").open("a") as file:
            file.write("undone\n")


def started(folder: Path, mode: dict[str, Any], **more: Any) -> Started:
    probe = more.pop("probe", lambda _point: None)
    app = App(Counter(folder / "outside"))
    return Started(app.registry, load_options({"data_dir": folder / "data", **mode, **more}, environ={}), probe=probe)


async def drive(runtime: Runtime, told: dict[str, str]) -> None:
    """The client: calls, cancels once, waits for the end. After a crash it begins anew, and cancels only if that was not on its way."""
    client = CounterClient(runtime)
    handle = client.script.in_background(KeyedText(key="root", text="root"), idempotency_key="root")
    id = await handle.invocation_id()
    assert told.setdefault("id", id) == id
    while "cancel" not in told:
        row = runtime.inspector.describe(id)
        assert row is not None
        if row["status"] == "completed" or any(entry["entry"] == "cancel" for entry in row["journal"]):
            break
        if len(seen(runtime)) == len(LEAVES):
            await runtime.cancel(id)
            told["cancel"] = "taken"
        await asyncio.sleep(_POLL_S)
    result = (await handle.result()).text
    assert told.setdefault("result", result) == result
    while any(row["status"] != "completed" for row in runtime.inspector.invocations(limit=1000)):
        await asyncio.sleep(_POLL_S)


def seen(runtime: Runtime) -> dict[str, str]:
    """What the leaves have seen."""
    return {row["service_key"]: row["value_json"] for row in runtime.inspector.state(COUNTER, None, "seen")}


async def check(runtime: Runtime, folder: Path, told: Mapping[str, str]) -> None:
    assert told["result"] == "CANCELLED, undone 1"
    assert seen(runtime) == dict.fromkeys(LEAVES, "CANCELLED")
    assert runtime.inspector.state(COUNTER, "root", "did") == []
    assert (folder / "outside" / "undone").exists()
    rows = runtime.inspector.invocations(limit=1000)
    assert len(rows) == 2 + len(LEAVES), "each call was made once"
    assert {row["target_service_key"]: row["completion_failure"] for row in rows} == {
        "root": None,
        "undone": None,
        **dict.fromkeys(LEAVES, "CANCELLED: cancelled"),
    }
    described = runtime.inspector.describe(told["id"])
    assert described is not None
    entries = [entry["entry"].partition(" inv_")[0] for entry in described["journal"]]
    assert entries.count("cancel") == 1 + len(LEAVES), "one that came, and one for each leaf"


async def record(folder: Path, mode: dict[str, Any]) -> list[Snapshot]:
    for name in ("data", "outside"):
        (folder / name).mkdir(mode=0o700)
    told: dict[str, str] = {}
    recorder = Recorder(folder / "data", folder / "outside", told)
    async with started(folder, mode, probe=recorder, batch_size=1) as runtime:
        await drive(runtime, told)
        await check(runtime, folder, told)
    return recorder.snapshots


async def carry_on(snapshot: Snapshot, folder: Path, mode: dict[str, Any]) -> None:
    folder.mkdir()
    snapshot.restore(folder / "data", folder / "outside")
    told = dict(snapshot.acknowledged)
    async with asyncio.timeout(_STUCK_S), started(folder, mode) as runtime:
        await drive(runtime, told)
        await check(runtime, folder, told)


@MODES
@pytest.mark.timeout(120)
@pytest.mark.rule("R15")
async def test_a_crash_at_every_point_of_a_cancellation(memory_folder: Path, mode: dict[str, Any]) -> None:
    (memory_folder / "recorded").mkdir()
    snapshots = await record(memory_folder / "recorded", mode)
    assert any("cancel" in snapshot.acknowledged and "result" not in snapshot.acknowledged for snapshot in snapshots)
    failures = []
    for snapshot in snapshots:
        try:
            await carry_on(snapshot, memory_folder / str(snapshot.number), mode)
        except Exception as error:
            failures.append(f"point {snapshot.number} ({snapshot.kind}, {json.dumps(snapshot.acknowledged)}): {error!r}")
    assert not failures, "\n".join(failures)
