"""Handlers that do not do the same again: R20."""

from __future__ import annotations

from typing import Any

import pytest
from sample.v1.cart_pb2 import Item
from sample.v1.cart_restate import CartClient
from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from restate_runtime import Code, TerminalError

from .engines import WITH_ADMIN, Outer, Running, check_effects, reached, resume
from .services import Outside, answer, line, play, script, send


@script
async def changes_its_mind(ctx: Any, key: str) -> str:
    """Fails after a step that the next attempt does not know; with the old code back, it goes on."""
    stored = Outside(f"{key}-stored")  # an attempt that is interrupted before that leaves nothing that could not match
    changed = bool(stored.lines())
    if not changed or Outside(f"{key}-mended").lines():
        await ctx.run("first", lambda: Outside(key).write("first"), type=int)
        if not changed:
            stored.write("first")
            raise ValueError("again")
        return "mended"
    Outside(key).write("changed")
    CounterClient(ctx).add.in_background(AddRequest(name=key, amount=1))
    await ctx.run("second", lambda: Outside(key).write("second"), type=int)
    return "performed"


@script
async def nothing(ctx: Any, argument: Any) -> None:
    pass


@pytest.mark.rule("R20")
@WITH_ADMIN
async def test_a_mismatch_pauses_at_once_performs_nothing_and_holds_its_key(running: Running, key: str) -> None:
    handle = send(running.caller, changes_its_mind, key, key=key)
    behind = send(running.caller, nothing, key=key)
    await reached(handle, "paused")
    check_effects(running, Outside(key).lines(), ["first", "changed"])
    assert await behind.status() == "inboxed"
    Outside(f"{key}-mended").write("mended")
    await resume(running, await handle.invocation_id())
    assert answer(await handle.result()) == "mended"
    await behind.result()
    assert (await CounterClient(running.caller).get(CounterKey(name=key))).value == 0


@pytest.mark.rule("R20")
async def test_a_mismatch_pauses_where_spent_attempts_would_fail(running: Running, key: str) -> None:
    handle = CartClient(running.caller).turn.in_background(Item(user=key, name=line(changes_its_mind, key)))
    await reached(handle, "paused")
    check_effects(running, Outside(key).lines(), ["first", "changed"])
    await handle.kill()
    with pytest.raises(TerminalError) as caught:
        await handle.result()
    assert caught.value.code is Code.ABORTED


@script
async def other_values(ctx: Any, key: str) -> list[int]:
    """Every attempt writes and sends something else."""
    attempt = Outside(key).write("attempt")
    ctx.set("attempt", attempt)
    counter = CounterClient(ctx)
    total = (await counter.add(AddRequest(name=f"{key}-called", amount=attempt))).value
    counter.add.in_background(AddRequest(name=f"{key}-sent", amount=attempt))
    await ctx.run("step", lambda: None)
    if attempt == 1:
        raise ValueError("again")
    return [total, await ctx.get("attempt", int)]


@pytest.mark.rule("R20")
async def test_a_value_that_differs_is_no_mismatch(caller: Outer, key: str) -> None:
    """What the first attempt said counts."""
    assert (await play(caller, other_values, key, key=key))[0] == 1
    assert len(Outside(key).lines()) > 1
    assert (await CounterClient(caller).get(CounterKey(name=f"{key}-called"))).value == 1
