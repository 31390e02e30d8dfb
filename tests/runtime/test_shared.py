"""Shared handlers take no turn: they read the state of their key beside whoever has it."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardClient, CartClient, CartContext

from restate_runtime import App, Code, TerminalError

from ..durability.test_upgrade import downgrade
from .carts import Board, Cart, Shop
from .services import described, journal, reached, until

LONG = timedelta(hours=1)


@pytest.fixture
def shop(tmp_path: Path, runtime_options: dict[str, Any]) -> Shop:
    return Shop(tmp_path / "data", runtime_options)


def item(name: Any, user: str = "ann") -> Item:
    return Item(user=user, name=name if isinstance(name, str) else name.__name__)


async def names(call: Any) -> list[str]:
    return list((await call).names)


async def test_a_shared_handler_runs_while_another_has_the_turn(shop: Shop) -> None:
    @shop.script
    async def holds(ctx: Any) -> list[str]:
        ctx.state.items.set(Items(names=["early"]))
        promises.append(ctx.awakeable(str))
        await promises[-1]
        return []

    promises: list[Any] = []
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        await cart.add(item("before"))
        turn = cart.turn.in_background(item(holds))
        await until(lambda: promises)
        assert await names(cart.show(User(user="ann"))) == ["early"]  # the holder's writes are seen when they are made
        assert await names(cart.show(User(user="bob"))) == []
        waiting = cart.add.in_background(item("after"))
        assert await reached(waiting, "inboxed") == "inboxed"
        assert await names(cart.show(User(user="ann"))) == ["early"]
        await runtime.resolve_awakeable(promises[0].id, "go")
        assert await names(turn.result()) == []
        assert await names(waiting.result()) == ["early", "after"]


async def test_any_number_of_them_runs_at_once_and_the_turn_goes_on_beside_them(shop: Shop) -> None:
    @shop.script
    async def meets(ctx: Any) -> list[str]:
        before = list((await ctx.state.items.get() or Items()).names)
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.add(promise.id))
        word = await promise
        return [*before, word, *(await ctx.state.items.get() or Items()).names]

    promises: set[str] = set()
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        looks = [cart.look.in_background(item(meets)) for _ in range(5)]
        await until(lambda: len(promises) == 5)
        for look in looks:
            await reached(look, "running", "suspended")
        assert await names(cart.add(item("one"))) == ["one"]
        for promise in promises:
            await runtime.resolve_awakeable(promise, "go")
        for look in looks:
            assert await names(look.result()) == ["go", "one"]


async def test_what_was_read_is_in_the_journal_and_survives_suspension_and_restart(shop: Shop) -> None:
    @shop.script
    async def reads(ctx: Any) -> list[str]:
        before = list((await ctx.state.items.get() or Items()).names)
        keys = await ctx.state_keys()
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        await promise
        return [*before, *keys, str(await ctx.state.total.get())]

    promises: list[str] = []
    async with shop.start(inactivity_timeout=timedelta(milliseconds=1)) as runtime:
        cart = CartClient(runtime)
        await cart.add(item("one"))
        look = cart.look.in_background(item(reads))
        await until(lambda: promises)
        await reached(look, "suspended")
        await cart.add(item("two"))
        id = await look.invocation_id()
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        await cart.add(item("three"))
        assert await runtime.invocation(id).status() == "suspended"
        await runtime.resolve_awakeable(promises[0], "go")
        assert await names(runtime.invocation(id).result()) == ["one", "items", "total", "3"]
        found = await described(runtime, runtime.invocation(id))
        assert [row["entry"] for row in found["journal"]][:3] == ["input", "get state 'items'", "get state keys"]


async def test_a_restart_does_not_give_a_shared_one_the_turn(shop: Shop) -> None:
    @shop.script
    async def waits(ctx: Any) -> list[str]:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return [await promise]

    promises: list[str] = []
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        look = await cart.look.in_background(item(waits))
        delayed = await cart.look.delayed(item(waits), delay=LONG)
        await until(lambda: promises)
        turn = await cart.turn.in_background(item(waits))
        await until(lambda: len(promises) == 2)
        ids = [await handle.invocation_id() for handle in (look, turn)]
        assert await delayed.status() == "scheduled"
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        blocked = cart.add.in_background(item("late"))
        assert await reached(blocked, "inboxed") == "inboxed"  # behind `turn`, not behind `look`
        await runtime.resolve_awakeable(promises[1], "turned")
        assert await names(runtime.invocation(ids[1]).result()) == ["turned"]
        assert await names(blocked.result()) == ["late"]
        await runtime.resolve_awakeable(promises[0], "looked")
        assert await names(runtime.invocation(ids[0]).result()) == ["looked"]


async def test_state_that_is_not_in_memory_is_read_from_disk(shop: Shop) -> None:
    large = "x" * 100_000  # beyond what the engine keeps of keys that nobody holds
    async with shop.start() as runtime:
        await CartClient(runtime).add(item(large))
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        first, second, third = await asyncio.gather(
            names(cart.show(User(user="ann"))), names(cart.add(item("small"))), names(cart.show(User(user="ann")))
        )
        assert first[0] == second[0] == third[0] == large
        assert second == [large, "small"]
        assert await names(cart.show(User(user="ann"))) == [large, "small"]


async def test_a_handler_may_look_at_its_own_key(shop: Shop) -> None:
    @shop.script
    async def looks(ctx: Any) -> list[str]:
        ctx.state.items.set(Items(names=["mine"]))
        return list((await CartClient(ctx).show(User(user="ann"))).names)

    async with shop.start() as runtime:
        cart = CartClient(runtime)
        handle = cart.turn.in_background(item(looks))
        assert await names(handle.result()) == ["mine"]
        assert await journal(runtime, handle) == ["input", "set state 'items'", "call sample.v1.Cart/Show of 'ann'", "return"]


async def test_a_singleton_has_shared_handlers_too(shop: Shop) -> None:
    async with shop.start() as runtime:
        board = BoardClient(runtime)
        await board.write(item("first"))
        assert await names(board.read()) == ["first"]
        assert Items.FromString(await runtime.method("sample.v1.Board/Read")(b"")).names == ["first"]


async def test_a_shared_handler_cannot_write(shop: Shop) -> None:
    @shop.script
    async def writes(ctx: Any) -> list[str]:
        attempts.append(ctx.attempt)
        for write in ("set", "clear", "clear_all"):
            assert not hasattr(ctx, write)
        ctx.state.items.set(Items())
        return []

    attempts: list[int] = []
    async with shop.start() as runtime:
        with pytest.raises(TerminalError, match="'ReadOnlyStateValue' object has no attribute 'set'"):
            await CartClient(runtime).look(item(writes))
    assert attempts == [1, 2, 3]  # the method's own bound, over the service's


async def test_a_call_that_was_made_as_shared_stays_shared(shop: Shop, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    """The contract was changed while a call was not yet due: its handler could write now, and is still not alone."""
    async with shop.start() as runtime:
        look = await CartClient(runtime).look.delayed(item("any"), delay=timedelta(milliseconds=50))
        id = await look.invocation_id()

    class Changed(Cart):
        __restate_shared_context__ = CartContext

        async def look(self, ctx: Any, request: Item) -> Items:
            ctx.state.items.set(Items())
            return Items()

    async with App(Changed({}), Board()).start(data_dir=tmp_path / "data", **runtime_options) as runtime:
        with pytest.raises(TerminalError, match="was called as a shared one, which only reads state") as caught:
            await runtime.invocation(id).result()
        assert caught.value.code is Code.INTERNAL


@pytest.mark.rule("R46")
async def test_a_data_directory_from_before_shared_handlers_opens(shop: Shop, tmp_path: Path) -> None:
    @shop.script
    async def waits(ctx: Any) -> list[str]:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return [await promise, *(await ctx.state.items.get() or Items()).names]

    promises: list[str] = []
    async with shop.start() as runtime:
        cart = CartClient(runtime)
        await cart.add(item("one"))
        turn = await cart.turn.in_background(item(waits))
        await until(lambda: promises)
        parked = await cart.add.in_background(item("two"))
        ids = [await handle.invocation_id() for handle in (turn, parked)]
    database = tmp_path / "data" / "restate.sqlite3"
    downgrade(database, 1)
    async with shop.start() as runtime:
        await runtime.resolve_awakeable(promises[0], "go")
        assert await names(runtime.invocation(ids[0]).result()) == ["go", "one"]
        assert await names(runtime.invocation(ids[1]).result()) == ["one", "two"]
        assert await names(CartClient(runtime).show(User(user="ann"))) == ["one", "two"]
    with sqlite3.connect(database.with_name("restate.sqlite3.schema-1")) as copy:
        assert copy.execute("SELECT schema_version FROM meta").fetchone() == (1,)
        assert "shared" not in [column[1] for column in copy.execute("PRAGMA table_info(invocation)")]
