"""A disk that is full, and one that fails (R40, R45)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import apsw
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, Runtime, RuntimeFault, TerminalError
from restate_runtime.engine.options import load_options
from restate_runtime.engine.storage import database

from .harness import app, milliseconds, until, until_status


def limit(runtime: Runtime, spare: int | None) -> None:
    """Lets the file grow by so many pages; `None` takes the limit away."""
    connection = runtime._machinery._database.connection
    pages: int = connection.pragma("page_count")
    connection.pragma("max_page_count", 1_000_000 if spare is None else pages + spare)


async def fill(runtime: Runtime) -> list[TerminalError]:
    """Calls until one is refused."""
    big = "x" * 20_000
    refused: list[TerminalError] = []
    waiting: list[asyncio.Future[Any]] = []
    while not refused:
        call = EchoClient(runtime).call(Text(text=big))
        waiting.append(call)
        await asyncio.wait([call], timeout=0.05)
        if call.done() and isinstance(error := call.exception(), TerminalError):
            refused.append(error)
            waiting.pop()
    runtime.waiting = [call for call in waiting if not call.done()]  # type: ignore[attr-defined]
    return refused


@pytest.mark.rule("R40")
@pytest.mark.rule("R45")
async def test_a_full_disk_refuses_keeps_and_goes_on(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    steps: list[str] = []

    async def script(ctx: Any, text: str) -> Any:
        await ctx.sleep(milliseconds(1))
        await ctx.run("effect", lambda: steps.append(text))
        return await ctx.awakeable(str)

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        assert (await client.add(AddRequest(name="k", amount=1))).value == 1
        limit(runtime, 2)
        refused = await fill(runtime)
        assert refused[0].code is Code.RESOURCE_EXHAUSTED
        assert "has no room" in refused[0].message
        held = runtime.waiting  # type: ignore[attr-defined]
        assert held, "what was taken before the disk was full waits"

        # Refused at once, in every form; reads work.
        for attempt in (client.add(AddRequest(name="k", amount=1)), client.add.in_background(AddRequest(name="k", amount=1))):
            with pytest.raises(TerminalError) as error:
                await attempt
            assert error.value.code is Code.RESOURCE_EXHAUSTED
        rows = runtime.inspector.invocations(limit=1000)
        assert all(runtime.status(row["id"]) == row["status"] for row in rows)
        assert not any(call.done() for call in held)
        assert steps == []

        limit(runtime, None)
        await asyncio.gather(*held)  # by itself

        async def added() -> int | None:
            try:
                return (await client.add(AddRequest(name="k", amount=1))).value
            except TerminalError:
                return None

        assert await added() == 2
        handle = EchoClient(runtime).script.in_background(Text(text="afterwards"))
        await until(lambda: steps == ["afterwards"])
        await handle.kill()
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 2


async def test_a_stop_with_a_full_disk_loses_only_what_nobody_was_told(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        await client.add(AddRequest(name="k", amount=1))
        limit(runtime, 0)
        await fill(runtime)
        held = runtime.waiting  # type: ignore[attr-defined]
    for call in held:
        with pytest.raises(ConnectionError):
            await call
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2


@pytest.mark.parametrize("what", ["a handler that waits", "a background call"])
async def test_a_stop_ends_although_the_disk_turns_out_to_be_full_in_it(
    what: str, tmp_path: Path, runtime_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(ctx: Any, text: str) -> Any:
        return await ctx.awakeable(str)

    def no_room(*_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(50), **runtime_options}
    hosted = app(script)
    with pytest.raises(ConnectionError, match="not on disk") if what == "a background call" else contextlib.nullcontext():
        async with hosted.start(**options) as runtime:
            await CounterClient(runtime).add(AddRequest(name="k", amount=1))
            handle = EchoClient(runtime).script.in_background(Text(text="wait"))
            id = await handle.invocation_id()
            await until_status(runtime, id, "suspended" if runtime.options.always_suspend else "running")
            runtime._machinery._database.write = no_room
            if what == "a background call":
                CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
    assert "RT0208" in caplog.text or (what == "a handler that waits" and runtime.options.always_suspend)
    async with hosted.start(**options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2
        gate = (await until_status(runtime, id, "running" if not runtime.options.always_suspend else "suspended"))["waiting_for"][0]
        await runtime.resolve_awakeable(gate.removeprefix("awakeable "), "done")
        assert (await runtime.invocation(id).result()).text == "done"


async def test_a_stop_that_cannot_note_that_it_was_one(
    tmp_path: Path, runtime_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 1
        monkeypatch.setattr(database, "write_meta", no_room)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: that the runtime stopped in order cannot be written: database or disk is full"
    ]
    monkeypatch.undo()
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2


async def test_what_was_sent_is_written_however_short_the_stop(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(0), **runtime_options}
    async with app().start(**options) as runtime:
        CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
    async with app().start(**options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2


@pytest.mark.rule("R40")
@pytest.mark.parametrize("when", ["write", "commit"])
async def test_an_io_error_stops_the_runtime(when: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    gate = asyncio.Event()
    effects: list[str] = []

    async def script(ctx: Any, text: str) -> Any:
        await ctx.run("gate", gate.wait)
        await ctx.run("effect", lambda: effects.append(text))

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        await client.add(AddRequest(name="k", amount=1))
        waiting = EchoClient(runtime).script(Text(text="effect"))
        await EchoClient(runtime).call(Text(text="on disk"))

        def fail(*_: Any) -> None:
            raise apsw.IOError("disk I/O error")

        database = runtime._machinery._database
        if when == "write":
            database.write = fail  # type: ignore[method-assign]
        else:
            database.commit = fail  # type: ignore[method-assign]
        calls = [client.add(AddRequest(name="k", amount=1)) for _ in range(3)]
        gate.set()
        for call in (*calls, waiting):
            with pytest.raises(ConnectionError, match="RT0206"):
                await call
        assert runtime.failed.result().code == "RT0206"
        for late in (client.add(AddRequest(name="k", amount=1)), client.add.in_background(AddRequest(name="k", amount=1))):
            with pytest.raises(ConnectionError, match="has stopped"):
                await late
        assert effects == []
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2
        await until(lambda: effects == ["effect"])


@pytest.mark.rule("R43")
async def test_a_failed_runtime_ends_serving(tmp_path: Path) -> None:
    """`App.serve`, which the command runs, raises the fault: the process exits with its code."""

    def on_ready(runtime: Runtime) -> None:
        def fail(_: Any) -> None:
            raise apsw.IOError("disk I/O error")

        runtime._machinery._database.commit = fail  # type: ignore[method-assign]
        CounterClient(runtime).add(AddRequest(name="k", amount=1)).add_done_callback(lambda call: call.exception())

    with pytest.raises(RuntimeFault) as error:
        await app().serve(load_options({"data_dir": tmp_path}), on_ready, asyncio.Event())
    assert error.value.code == "RT0206"


@pytest.mark.rule("R40")
async def test_a_batch_that_cannot_be_written_stops_the_runtime(tmp_path: Path) -> None:
    """Nobody waits for ever: what is larger than a column takes has to be refused when it comes, and is a mistake where it is not."""
    async with app().start(data_dir=tmp_path) as runtime:
        client = CounterClient(runtime)
        await client.add(AddRequest(name="k", amount=1))

        def fail(_: Any) -> None:
            raise OverflowError("int too big to convert")

        runtime._machinery._database.write = fail  # type: ignore[method-assign]
        with pytest.raises(ConnectionError, match="RT0209"):
            await client.add(AddRequest(name="k", amount=1))
        assert runtime.failed.result().code == "RT0209"
    async with app().start(data_dir=tmp_path) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 2
