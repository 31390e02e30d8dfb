"""State and payloads: R14, awakeables: R34."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardClient, CartClient
from sample.v1.sample_pb2 import Number, Text

from restate_runtime import Code, TerminalError

from .engines import Outer, Running
from .services import Outside, play, script, send


class Point(msgspec.Struct):
    x: int
    y: list[Decimal]


class Upper:
    name = "upper"

    def serialize(self, value: str) -> bytes:
        return value.upper().encode()

    def deserialize(self, data: bytes) -> str:
        return data.decode().lower()


@script
async def keeps(ctx: Any, argument: Any) -> None:
    ctx.set("message", Text(text="hello"))
    ctx.set("point", Point(1, [Decimal("2.50")]))
    ctx.set("when", datetime(2026, 1, 2, 3, 4, 5))
    ctx.set("serde", "text", serde=Upper())
    ctx.set("gone", 1)
    ctx.clear("gone")


@script
async def reads(ctx: Any, argument: Any) -> list[Any]:
    point = await ctx.get("point", Point)
    return [
        (await ctx.get("message", Text)).text,
        point.x,
        [str(y) for y in point.y],
        (await ctx.get("when", datetime)).isoformat(),
        await ctx.get("serde", Upper()),
        await ctx.get("gone", int),
        await ctx.state_keys(),
    ]


@pytest.mark.smoke
@pytest.mark.rule("R14")
async def test_state_comes_back_as_what_it_was(caller: Outer, key: str) -> None:
    await play(caller, keeps, key=key)
    expected = ["hello", 1, ["2.50"], "2026-01-02T03:04:05", "text", None, ["message", "point", "serde", "when"]]
    assert await play(caller, reads, key=key) == expected


@pytest.mark.rule("R14")
async def test_state_survives_a_restart(running: Running, key: str) -> None:
    await play(running.caller, keeps, key=key)
    await running.restart()
    assert (await play(running.caller, reads, key=key))[0] == "hello"


@script
async def sees_its_own_writes(ctx: Any, argument: Any) -> list[Any]:
    ctx.set("b", 1)
    ctx.set("a", 2)
    before = await ctx.state_keys()
    ctx.set("a", 3)
    value = await ctx.get("a", int)
    ctx.clear_all()
    return [before, value, await ctx.state_keys(), await ctx.get("a", int)]


@pytest.mark.rule("R14")
async def test_a_handler_sees_its_own_writes(caller: Outer, key: str) -> None:
    assert await play(caller, sees_its_own_writes, key=key) == [["a", "b"], 3, [], None]


@script
async def reads_wrong_types(ctx: Any, argument: Any) -> list[str]:
    ctx.set("number", 5)
    ctx.set("message", Text(text="x"))
    problems = []
    for name, wanted in (("number", Text), ("message", Number), ("number", str), ("message", int)):
        try:
            await ctx.get(name, wanted)
        except TypeError as error:
            problems.append(str(error))
    for broken in (None, float("nan"), object()):
        try:
            ctx.set("bad", broken)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
    return problems


@pytest.mark.rule("R14")
async def test_types_that_do_not_fit(caller: Outer, key: str) -> None:
    number, message, as_text, as_int, none, nan, unknown = await play(caller, reads_wrong_types, key=key)
    assert "state 'number'" in number
    assert "sample.v1.Text" in number
    assert "message:sample.v1.Text" in message
    assert "sample.v1.Number" in message
    assert "state 'number'" in as_text
    assert "message:sample.v1.Text" in as_int
    assert "use clear('bad')" in none
    assert "NaN" in nan
    assert "object" in unknown


@pytest.mark.rule("R14")
async def test_declared_state_and_shared_handlers(caller: Outer, key: str) -> None:
    cart = CartClient(caller)
    await cart.add(Item(user=key, name="apple"))
    assert (await cart.add(Item(user=key, name="pear"))).names == ["apple", "pear"]
    assert (await cart.show(User(user=key))).names == ["apple", "pear"]
    assert (await cart.show(User(user=f"{key}-other"))) == Items()


@script
async def keeps_much(ctx: Any, size: int) -> None:
    ctx.set("large", "x" * size)
    ctx.set("small", 1)


@script
async def reads_much(ctx: Any, argument: Any) -> list[Any]:
    small = ctx.get("small", int)
    large = ctx.get("large", str)
    names = ctx.state_keys()
    return [len(await large), await small, await names, await ctx.get("none", int)]


@pytest.mark.rule("R14")
async def test_large_state(caller: Outer, key: str) -> None:
    """An engine may keep it from an attempt until it is asked for."""
    await play(caller, keeps_much, 200_000, key=key)
    assert await play(caller, reads_much, key=key) == [200_000, 1, ["large", "small"], None]


@pytest.mark.rule("R14")
async def test_state_of_a_singleton(caller: Outer, key: str) -> None:
    board = BoardClient(caller)
    await board.write(Item(user="x", name=key))
    assert key in (await board.read()).names


@script
async def waits_for(ctx: Any, key: str) -> Any:
    awakeable = ctx.awakeable(Text)
    await ctx.run("tell", lambda: Outside(key).write(awakeable.id), type=int)
    return (await awakeable).text


async def told(key: str) -> str:
    while not (lines := Outside(key).lines()):
        await asyncio.sleep(0.005)
    return lines[0]


@pytest.mark.smoke
@pytest.mark.rule("R34")
async def test_awakeables_are_settled_from_outside(caller: Outer, key: str) -> None:
    handle = send(caller, waits_for, key)
    await caller.resolve_awakeable(await told(key), Text(text="hello"))
    assert (await handle.result()).text == '"hello"'


@pytest.mark.rule("R34")
async def test_awakeables_are_rejected(caller: Outer, key: str) -> None:
    handle = send(caller, waits_for, key)
    await caller.reject_awakeable(await told(key), "not today")
    with pytest.raises(TerminalError, match="not today") as caught:
        await handle.result()
    assert caught.value.code is Code.ABORTED


@pytest.mark.rule("R14")
async def test_a_payload_that_does_not_fit(caller: Outer, key: str) -> None:
    handle = send(caller, waits_for, key)
    await caller.resolve_awakeable(await told(key), Number(value=1))
    with pytest.raises(TerminalError, match="does not fit") as caught:
        await handle.result()
    assert caught.value.code is Code.INVALID_ARGUMENT


@script
async def settles(ctx: Any, key: str) -> list[str]:
    first, second = ctx.awakeable(str), ctx.awakeable(str)
    await ctx.run("tell", lambda: [Outside(key).write(awakeable.id) for awakeable in (first, second)], type=list[int])
    send(ctx, settles_both, key)
    out = [await first]
    try:
        await second
    except TerminalError as error:
        out += [error.code.name, error.message]
    return out


@script
async def settles_both(ctx: Any, key: str) -> None:
    first, second = await ctx.run("read", lambda: Outside(key).lines()[:2], type=list[str])
    ctx.resolve_awakeable(first, "yes")
    ctx.reject_awakeable(second, "no")


@pytest.mark.rule("R34")
async def test_awakeables_are_settled_by_handlers(caller: Outer, key: str) -> None:
    assert await play(caller, settles, key) == ["yes", "ABORTED", "no"]
