"""Nothing leaves the engine before it is on disk (R40, R41): a commit that is held back shows what waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, Runtime, TerminalError

from .harness import app, milliseconds, until


class HeldDisk:
    """A real database whose commits wait at a gate, or fail."""

    def __init__(self, runtime: Runtime) -> None:
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.commits = 0
        self._running = threading.Lock()
        database = runtime._machinery._database
        commit = database.commit

        def held(batch: Any) -> None:
            while True:
                assert self.open.wait(60)
                with self._running:
                    if not self.open.is_set():
                        continue
                    if self.error is not None:
                        raise self.error
                    commit(batch)
                    self.commits += 1
                    return

        database.commit = held  # type: ignore[method-assign]

    def hold(self) -> None:
        """From now on nothing is committed; what is being committed at this moment still is."""
        with self._running:
            self.open.clear()

    def release(self) -> None:
        self.open.set()


class Stage:
    def __init__(self) -> None:
        self.effects: list[str] = []
        self.reached: list[str] = []
        self.awakeable = ""

    async def script(self, ctx: Any, text: str) -> Any:
        match text:
            case "effect":
                await ctx.run("effect", lambda: self.effects.append(text))
            case "chain":
                for n in range(3):
                    await CounterClient(ctx).add(AddRequest(name=f"k{n}", amount=1))
                    await EchoClient(ctx).call(Text(text="through"))
                CounterClient(ctx).add.in_background(AddRequest(name="behind", amount=1))
                await ctx.now()
            case "settle":
                ctx.resolve_awakeable(self.awakeable, "from a handler")
            case "wait":
                gate = ctx.awakeable(str)
                self.awakeable = gate.id
                return await gate
            case _:
                pass
        self.reached.append(text)
        return text


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def runtime(stage: Stage, tmp_path: Path, runtime_options: dict[str, Any]) -> AsyncIterator[Runtime]:
    async with app(stage.script).start(data_dir=tmp_path, **runtime_options) as runtime:
        yield runtime


@pytest.fixture
async def disk(runtime: Runtime) -> AsyncIterator[HeldDisk]:
    disk = HeldDisk(runtime)
    yield disk
    disk.release()


async def settled_down() -> None:
    """Everything that can go on without the disk has gone on."""
    for _ in range(200):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)
    for _ in range(200):
        await asyncio.sleep(0)


async def stays_open(disk: HeldDisk, *waiting: asyncio.Future[Any]) -> None:
    """None of these is done before the disk goes on, and all are afterwards."""
    commits = disk.commits
    await settled_down()
    assert [future.done() for future in waiting] == [False] * len(waiting)
    assert disk.commits == commits
    disk.release()
    await asyncio.gather(*waiting)


@pytest.mark.rule("R40")
async def test_a_reply_waits(runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    await stays_open(disk, CounterClient(runtime).add(AddRequest(name="k", amount=1)))


@pytest.mark.rule("R40")
async def test_an_acknowledgement_waits(runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    client = CounterClient(runtime)
    background = asyncio.ensure_future(client.add.in_background(AddRequest(name="k", amount=1)).invocation_id())
    delayed = asyncio.ensure_future(client.add.delayed(AddRequest(name="k", amount=1), delay=milliseconds(60_000)).invocation_id())
    await stays_open(disk, background, delayed)


@pytest.mark.rule("R40")
async def test_an_error_waits_as_a_reply_does(runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    call = EchoClient(runtime).script(Text(text="effect"))
    used = CounterClient(runtime).add(AddRequest(name="k", amount=1), idempotency_key="one")
    again = asyncio.ensure_future(asyncio.wait([CounterClient(runtime).add(AddRequest(name="k", amount=2), idempotency_key="one")]))
    await stays_open(disk, call, used, again)


@pytest.mark.rule("R40")
async def test_a_second_call_of_an_idempotency_key_waits_with_the_first(runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    one = AddRequest(name="k", amount=1)
    first = CounterClient(runtime).add(one, idempotency_key="one")
    await settled_down()  # completed in memory
    second = CounterClient(runtime).add(one, idempotency_key="one")
    handle = CounterClient(runtime).add.in_background(one, idempotency_key="one")
    await stays_open(disk, first, second, asyncio.ensure_future(handle.invocation_id()))


@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_a_side_effect_begins_after_the_commit(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    call = EchoClient(runtime).script(Text(text="effect"))
    await settled_down()
    assert stage.effects == []
    await stays_open(disk, call)
    assert stage.effects == ["effect"]


@pytest.mark.rule("R40")
async def test_a_settlement_is_acknowledged_after_the_commit(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    waiting = EchoClient(runtime).script(Text(text="wait"))
    await until(lambda: stage.awakeable)
    disk.hold()
    settled = asyncio.ensure_future(runtime.resolve_awakeable(stage.awakeable, "done"))
    await stays_open(disk, settled, waiting)


@pytest.mark.rule("R40")
async def test_even_a_refusal_depends_on_what_it_saw(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    """Settled otherwise, says who read it in memory: after a crash that would not be so."""
    waiting = EchoClient(runtime).script(Text(text="wait"))
    await until(lambda: stage.awakeable)
    disk.hold()
    first = asyncio.ensure_future(runtime.resolve_awakeable(stage.awakeable, "one"))
    await settled_down()
    second = asyncio.ensure_future(asyncio.wait([asyncio.ensure_future(runtime.resolve_awakeable(stage.awakeable, "other"))]))
    equal = asyncio.ensure_future(runtime.resolve_awakeable(stage.awakeable, "one"))
    await stays_open(disk, first, second, equal, waiting)
    (refused,), _ = second.result()
    error = refused.exception()
    assert isinstance(error, TerminalError)
    assert error.code is Code.ALREADY_EXISTS


@pytest.mark.rule("R40")
async def test_kill_and_resume_are_acknowledged_after_the_commit(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    handle = EchoClient(runtime).script.in_background(Text(text="wait"))
    id = await handle.invocation_id()
    result = asyncio.ensure_future(asyncio.wait([asyncio.ensure_future(handle.result())]))
    await until(lambda: stage.awakeable)
    disk.hold()
    await stays_open(disk, asyncio.ensure_future(runtime.kill(id)), result)


@pytest.mark.rule("R40")
async def test_an_answer_about_an_invocation_is_what_is_on_disk(runtime: Runtime, disk: HeldDisk) -> None:
    await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    handle = CounterClient(runtime).add.delayed(AddRequest(name="k", amount=1), delay=milliseconds(60_000))
    id = await handle.invocation_id()
    disk.hold()
    killed = asyncio.ensure_future(runtime.kill(id))
    adding = CounterClient(runtime).add(AddRequest(name="k", amount=1))
    await settled_down()
    assert runtime.status(id) == "scheduled"
    assert runtime.output(id) is None
    described = runtime.inspector.describe(id)
    assert described is not None
    assert described["status"] == "scheduled"
    assert [row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", "k")] == [1]
    await stays_open(disk, killed, adding)
    assert runtime.status(id) == "completed"
    assert [row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", "k")] == [2]


@pytest.mark.rule("R40")
async def test_calls_between_handlers_do_not_wait(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    disk.hold()
    call = EchoClient(runtime).script(Text(text="chain"))
    await until(lambda: stage.reached == ["chain"])
    await stays_open(disk, call)


@pytest.mark.rule("R40")
async def test_a_handler_settles_another_without_waiting(stage: Stage, runtime: Runtime, disk: HeldDisk) -> None:
    waiting = EchoClient(runtime).script(Text(text="wait"))
    await until(lambda: stage.awakeable)
    disk.hold()
    settling = EchoClient(runtime).script(Text(text="settle"))
    await until(lambda: stage.reached == ["settle", "wait"] or stage.reached == ["settle"])
    await stays_open(disk, settling, waiting)
    assert waiting.result().text == "from a handler"


@pytest.mark.rule("R40")
async def test_what_is_not_on_disk_is_gone_and_nobody_was_told(stage: Stage, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(stage.script).start(data_dir=tmp_path, **runtime_options) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
        disk = HeldDisk(runtime)
        disk.hold()
        lost = [CounterClient(runtime).add(AddRequest(name="k", amount=1)) for _ in range(5)]
        effect = EchoClient(runtime).script(Text(text="effect"))
        await settled_down()
        disk.error = apsw.IOError("disk I/O error")
        disk.release()
        for call in (*lost, effect):
            with pytest.raises(ConnectionError, match="RT0206"):
                await call
        with pytest.raises(ConnectionError, match="the runtime has stopped"):
            await CounterClient(runtime).get(CounterKey(name="k"))
        assert (await runtime.failed).code == "RT0206"
    assert stage.effects == []
    async with app(stage.script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1
        assert len(runtime.inspector.invocations()) == 2


@pytest.mark.rule("R41")
async def test_state_and_calls_are_one_commit(stage: Stage, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    """Whatever prefix of the commits is on disk, a restart ends with the same sums."""
    if not runtime_options:
        runtime_options = {"batch_size": 1}

    async def script(ctx: Any, text: str) -> Any:
        for n in range(3):
            ctx.set("n", n)
            await CounterClient(ctx).add(AddRequest(name="sum", amount=1))
        return await ctx.get("n", int)

    for allowed in range(0, 24, 3):
        directory = tmp_path / str(allowed)
        async with app(script).start(data_dir=directory, **runtime_options) as runtime:
            handle = CounterClient(runtime).script.delayed(KeyedText(key="k"), delay=milliseconds(1))
            id = await handle.invocation_id()
            database = runtime._machinery._database
            commit, left = database.commit, [allowed]

            def counted(batch: Any, commit: Any = commit, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise apsw.IOError("disk I/O error")
                commit(batch)

            database.commit = counted  # type: ignore[method-assign]
            await asyncio.wait([asyncio.ensure_future(handle.result()), runtime.failed], return_when=asyncio.FIRST_COMPLETED)
        async with app(script).start(data_dir=directory, **runtime_options) as runtime:
            assert (await runtime.invocation(id).result()).text == "2"
            assert (await CounterClient(runtime).get(CounterKey(name="sum"))).value == 3
