"""A code change between two runs, found before anything is performed (R20)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import App, KeyedContext, TerminalError

from .harness import Ledger, app, invocation, milliseconds, until, until_status

Variant = Callable[["Stage", KeyedContext], Awaitable[Any]]


class Stage:
    """What the handlers leave behind outside the runtime."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.awakeable = ""

    def effect(self, name: str) -> Callable[[], str]:
        def act() -> str:
            self.effects.append(name)
            return name

        return act


async def original(stage: Stage, ctx: KeyedContext) -> str:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    added = await CounterClient(ctx).add(AddRequest(name="other", amount=1))
    await ctx.sleep(milliseconds(1))
    ctx.set("middle", added.value)
    gate = ctx.awakeable(str)
    stage.awakeable = gate.id
    word = await gate
    await ctx.run("mail", stage.effect("mail"))
    LedgerClient(ctx).append.in_background(Text(text=word))
    return word


async def reordered(stage: Stage, ctx: KeyedContext) -> None:
    await ctx.run("charge", stage.effect("charge"))
    ctx.set("before", 1)
    await ctx.run("evil", stage.effect("evil"))


async def inserted(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("evil", stage.effect("evil"))
    await ctx.run("charge", stage.effect("charge"))


async def deleted(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await CounterClient(ctx).add(AddRequest(name="other", amount=1))
    await ctx.run("evil", stage.effect("evil"))


async def renamed(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("evil", stage.effect("evil"))


async def other_target(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    await CounterClient(ctx).get(CounterKey(name="other"))
    await ctx.run("evil", stage.effect("evil"))


async def other_key(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    await CounterClient(ctx).add(AddRequest(name="evil", amount=1))
    await ctx.run("evil", stage.effect("evil"))


async def no_longer_awaited(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    CounterClient(ctx).add.in_background(AddRequest(name="evil", amount=1))


async def other_state_name(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("evil", 1)
    await ctx.run("evil", stage.effect("evil"))


async def state_became_read(stage: Stage, ctx: KeyedContext) -> None:
    await ctx.get("before", int)
    await ctx.run("evil", stage.effect("evil"))


async def sleep_became_call(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    await CounterClient(ctx).add(AddRequest(name="other", amount=1))
    await CounterClient(ctx).add(AddRequest(name="evil", amount=1))


async def call_became_sleep(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    await ctx.sleep(milliseconds(1))
    await ctx.run("evil", stage.effect("evil"))


async def early_return(stage: Stage, ctx: KeyedContext) -> str:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    return "evil"


async def early_failure(stage: Stage, ctx: KeyedContext) -> str:
    ctx.set("before", 1)
    await ctx.run("charge", stage.effect("charge"))
    raise TerminalError("evil")


async def blocked_on_something_unrecorded(stage: Stage, ctx: KeyedContext) -> None:
    ctx.set("before", 1)
    ctx.awakeable(str)  # the one that is settled
    await ctx.awakeable(str)
    await ctx.run("evil", stage.effect("evil"))


async def caught_everything(stage: Stage, ctx: KeyedContext) -> str:
    """A handler that swallows what the difference raises goes on, and nothing that it does counts."""
    try:
        ctx.set("evil", 1)
    except BaseException:
        ctx.set("evil", 2)
        CounterClient(ctx).add.in_background(AddRequest(name="evil", amount=1))
        try:
            await ctx.run("evil", stage.effect("evil"))
        finally:
            ctx.clear_all()
    return "evil"


# Each with the index of the entry, what it is, what is attempted, and the text of the two lines.
VARIANTS: list[tuple[Variant, int, str, str, str, str]] = [
    (reordered, 1, "set state 'before'", "run 'charge'", 'ctx.set("before"', 'ctx.run("charge"'),
    (inserted, 2, "run 'charge'", "run 'evil'", 'ctx.run("charge"', 'ctx.run("evil"'),
    (deleted, 2, "run 'charge'", "call sample.v1.Counter/Add of 'other'", 'ctx.run("charge"', ".add("),
    (renamed, 2, "run 'charge'", "run 'evil'", 'ctx.run("charge"', 'ctx.run("evil"'),
    (other_target, 3, "call sample.v1.Counter/Add of 'other'", "call sample.v1.Counter/Get of 'other'", ".add(", ".get("),
    (other_key, 3, "call sample.v1.Counter/Add of 'other'", "call sample.v1.Counter/Add of 'evil'", ".add(", ".add("),
    (no_longer_awaited, 3, "call sample.v1.Counter/Add of 'other'", "background call sample.v1.Counter/Add of 'evil'", ".add(", ".add."),
    (other_state_name, 1, "set state 'before'", "set state 'evil'", 'ctx.set("before"', 'ctx.set("evil"'),
    (state_became_read, 1, "set state 'before'", "get state 'before'", 'ctx.set("before"', 'ctx.get("before"'),
    (sleep_became_call, 4, "sleep", "call sample.v1.Counter/Add of 'evil'", "ctx.sleep(", 'name="evil"'),
    (call_became_sleep, 3, "call sample.v1.Counter/Add of 'other'", "sleep", ".add(", "ctx.sleep("),
    (early_return, 3, "call sample.v1.Counter/Add of 'other'", "return", ".add(", ""),
    (early_failure, 3, "call sample.v1.Counter/Add of 'other'", "return", ".add(", ""),
    (
        blocked_on_something_unrecorded,
        2,
        "run 'charge'",
        "await of a result that is not recorded",
        'ctx.run("charge"',
        "await ctx.awakeable",
    ),
    (caught_everything, 1, "set state 'before'", "set state 'evil'", 'ctx.set("before"', 'ctx.set("evil", 1)'),
]


def place(variant: Variant, text: str) -> str:
    """`folder/file.py:12` of the first line of a handler with that text."""
    lines, first = inspect.getsourcelines(variant)
    number = first + next(index for index, line in enumerate(lines) if text in line)
    return f"durability/test_mismatch.py:{number}"


async def park(directory: Path, stage: Stage, options: dict[str, Any]) -> str:
    """Runs the original up to its awakeable, and stops."""
    async with app(lambda ctx, _: original(stage, ctx)).start(data_dir=directory, **options) as runtime:
        handle = CounterClient(runtime).script.in_background(KeyedText(key="k"))
        id = await handle.invocation_id()
        await until(lambda: stage.awakeable)
    assert stage.effects == ["charge"]
    return id


@pytest.mark.rule("R20")
@pytest.mark.parametrize(
    ("variant", "index", "recorded", "attempted", "there", "here"), VARIANTS, ids=[case[0].__name__ for case in VARIANTS]
)
async def test_a_code_change_pauses_and_performs_nothing(
    variant: Variant, index: int, recorded: str, attempted: str, there: str, here: str, tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    stage = Stage()
    id = await park(tmp_path, stage, runtime_options)
    code: Variant = variant

    async with app(lambda ctx, _: code(stage, ctx)).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.resolve_awakeable(stage.awakeable, "done")
        row = await until_status(runtime, id, "paused")
        assert row["last_failure_error_code"] == "RT0301"
        message = row["last_failure"]
        assert f"entry {index} of the journal is: {recorded} ({place(original, there)})" in message
        assert f"attempts: {attempted}" in message
        if here:
            assert f"attempts: {attempted} ({place(variant, here)})" in message

        # Who waits keeps waiting, and the key stays held.
        waiting = asyncio.ensure_future(runtime.invocation(id).result())
        behind = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
        assert await behind.status() == "inboxed"
        # Nothing after the difference was performed.
        assert (await CounterClient(runtime).get(CounterKey(name="evil"))).value == 0
        assert (await LedgerClient(runtime).lines()).lines == []
        assert stage.effects == ["charge"]
        assert [row["key"] for row in runtime.inspector.state("sample.v1.Counter", "k")] == ["before", "middle"]
        # Again, on the same code: the same.
        await runtime.resume(id)
        assert (await until_status(runtime, id, "paused"))["last_failure"] == message
        assert not waiting.done()
        assert stage.effects == ["charge"]

        code = original
        await runtime.resume(id)
        assert (await waiting).text == "done"
        assert (await behind.result()).value == 1
        await until(lambda: stage.effects == ["charge", "mail"])
        assert invocation(runtime, id)["retry_count"] == 0
    assert stage.effects == ["charge", "mail"]


@pytest.mark.rule("R20")
@pytest.mark.rule("R16")
async def test_a_paused_invocation_is_killed_and_its_key_is_free(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    stage = Stage()
    id = await park(tmp_path, stage, runtime_options)
    async with app(lambda ctx, _: renamed(stage, ctx)).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.resolve_awakeable(stage.awakeable, "done")
        await until_status(runtime, id, "paused")
        waiting = asyncio.ensure_future(runtime.invocation(id).result())
        behind = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
        await behind
        await runtime.kill(id)
        assert (await behind.result()).value == 1
        with pytest.raises(TerminalError, match="ABORTED"):
            await waiting
        row = invocation(runtime, id)
        assert (row["status"], row["completion_result"]) == ("completed", "failure")


@pytest.mark.rule("R20")
async def test_a_parent_waits_for_a_paused_child(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    stage = Stage()
    code: Variant = original

    async def script(ctx: Any, text: str) -> Any:
        if text == "parent":
            return (await CounterClient(ctx).script(KeyedText(key="k", text="child"))).text
        return await code(stage, ctx)

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        parent = await EchoClient(runtime).script.in_background(Text(text="parent")).invocation_id()
        await until(lambda: stage.awakeable)
    code = renamed
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.resolve_awakeable(stage.awakeable, "done")
        child = (await until(lambda: runtime.inspector.invocations(statuses=["paused"])))[0]["id"]
        assert runtime.status(parent) in ("running", "suspended")
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:  # it stays so through a restart
        assert runtime.status(child) == "paused"
        assert runtime.status(parent) in ("running", "suspended")
        code = original
        await runtime.resume(child)
        assert (await runtime.invocation(parent).result()).text == "done"


@pytest.mark.rule("R20")
async def test_a_change_of_values_alone_goes_on_with_the_recorded_ones(
    tmp_path: Path, runtime_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    id = await park(tmp_path, stage, runtime_options)

    async def other_values(ctx: KeyedContext, _: str) -> str:
        ctx.set("before", 2)
        await ctx.run("charge", stage.effect("charge"))
        await CounterClient(ctx).add(AddRequest(name="other", amount=100))
        await ctx.sleep(milliseconds(100_000))
        ctx.set("middle", 7)
        return await ctx.awakeable(str)

    async with app(other_values).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.resolve_awakeable(stage.awakeable, "done")
        assert (await runtime.invocation(id).result()).text == "done"
        assert (await CounterClient(runtime).get(CounterKey(name="other"))).value == 1
        state = {row["key"]: row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", "k")}
    assert state == {"before": 1, "middle": 1}
    assert stage.effects == ["charge"]
    assert "entry 1 (set state 'before') carries another value than recorded" in caplog.text


@pytest.mark.rule("R19")
async def test_a_method_that_is_gone_is_tried_until_it_is_back(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    stage = Stage()
    id = await park(tmp_path, stage, runtime_options)
    async with App(Ledger()).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.resolve_awakeable(stage.awakeable, "done")
        row = await until_status(runtime, id, "backing-off")
        assert row["last_failure_error_code"] == "RT0304"
        assert "there is no service 'sample.v1.Counter'" in row["last_failure"]
        await LedgerClient(runtime).append(Text(text="others go on"))
    async with app(lambda ctx, _: original(stage, ctx)).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await runtime.invocation(id).result()).text == "done"
