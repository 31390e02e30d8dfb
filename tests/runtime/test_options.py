"""Options of a contract, and declared state, at run time."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import CART, CartClient

from restate_runtime import App, KeyedContext, OnExhausted, RetryOptions, RetryPolicy, State, StateDescriptor, StateValue, TerminalError
from restate_runtime.testing import Double

from .carts import Board, Cart, Shop
from .services import described, reached, until


@pytest.fixture
def shop(tmp_path: Path, runtime_options: dict[str, Any]) -> Shop:
    return Shop(tmp_path / "data", runtime_options)


def item(name: Any) -> Item:
    return Item(user="ann", name=name if isinstance(name, str) else name.__name__)


def test_descriptors_carry_what_the_contract_says() -> None:
    assert CART.retry == RetryOptions(initial_interval=timedelta(milliseconds=1), max_attempts=2, on_exhausted=OnExhausted.FAIL)
    assert CART.method("Look").retry == RetryOptions(max_attempts=3)
    assert [method.shared for method in CART.methods] == [False, False, True, True, False]
    sleepy = CART.method("Sleepy")
    assert (sleepy.private, sleepy.inactivity_timeout, sleepy.retention) == (True, timedelta(milliseconds=1), timedelta(days=1))
    assert (CART.private, CART.method("Add").private) == (False, None)
    assert [(state.name, state.type) for state in CART.states] == [("items", Items), ("total", int)]


def test_retry_options_go_over_a_policy() -> None:
    policy = RetryPolicy(max_attempts=70, factor=3.0)
    assert RetryOptions().over(policy) == policy
    assert RetryOptions(max_attempts=0).over(policy) == RetryPolicy(factor=3.0)
    full = RetryOptions(
        initial_interval=timedelta(0),
        max_interval=timedelta(hours=1),
        factor=1.0,
        max_attempts=2,
        max_duration=timedelta(days=1),
        on_exhausted=OnExhausted.FAIL,
    )
    assert full.over(policy) == RetryPolicy(
        initial_interval=timedelta(0),
        max_interval=timedelta(hours=1),
        factor=1.0,
        max_attempts=2,
        max_duration=timedelta(days=1),
        on_exhausted=OnExhausted.FAIL,
    )


def test_the_first_wait_is_as_long_as_it_says_although_the_longest_was_left_as_it_is() -> None:
    policy = RetryOptions(initial_interval=timedelta(minutes=1)).over(RetryPolicy())
    assert [policy.delay_ms(failures, 0) for failures in (1, 2, 70)] == [60_000] * 3
    assert RetryPolicy(initial_interval=timedelta(seconds=4)).delay_ms(3, 0) == 10_000


@pytest.mark.rule("R13")
async def test_a_methods_retry_goes_over_the_services_and_that_over_the_apps(shop: Shop, tmp_path: Path) -> None:
    @shop.script
    async def fails(ctx: Any) -> list[str]:
        attempts.append(ctx.attempt)
        raise OSError("broken")

    attempts: list[int] = []
    app = App(Cart(shop.scripts), Board(), retry=RetryPolicy(max_attempts=9, on_exhausted=OnExhausted.PAUSE))
    async with app.start(data_dir=tmp_path / "other") as runtime:
        cart = CartClient(runtime)
        with pytest.raises(TerminalError, match="broken"):
            await cart.turn(item(fails))
        assert attempts == [1, 2]
        attempts.clear()
        with pytest.raises(TerminalError, match="broken"):
            await cart.look(item(fails))
        assert attempts == [1, 2, 3]


async def test_a_method_has_an_inactivity_timeout_of_its_own(shop: Shop) -> None:
    @shop.script
    async def waits(ctx: Any) -> list[str]:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return [await promise]

    @shop.script
    async def hands_over(ctx: Any) -> list[str]:  # Sleepy is private: callers outside do not reach it
        handle = CartClient(ctx).sleepy.in_background(Item(user="bob", name=waits.__name__))
        return [await handle.invocation_id()]

    promises: list[str] = []
    async with shop.start(inactivity_timeout=timedelta(hours=1), always_suspend=False) as runtime:
        cart = CartClient(runtime)
        sleepy = runtime.invocation((await cart.look(item(hands_over))).names[0])
        await reached(sleepy, "suspended")
        patient = cart.look.in_background(item(waits))
        await until(lambda: len(promises) == 2)
        assert await patient.status() == "running"
        for promise in promises:
            await runtime.resolve_awakeable(promise, "go")
        assert (await sleepy.result()).names == (await patient.result()).names == ["go"]


async def test_it_does_not_suspend_what_goes_on_in_time_nor_what_has_a_side_effect(shop: Shop) -> None:
    @shop.script
    async def works(ctx: Any) -> list[str]:
        lives.append(ctx.attempt)
        await ctx.run("slow", lambda: time.sleep(0.05))
        return ["done"]

    @shop.script
    async def asks(ctx: Any) -> list[str]:
        return list((await CartClient(ctx).sleepy(Item(user="bob", name=works.__name__))).names)

    lives: list[int] = []
    async with shop.start(always_suspend=False) as runtime:
        assert (await CartClient(runtime).look(item(asks))).names == ["done"]
    assert lives == [1]


@pytest.mark.rule("R14")
async def test_declared_state_is_stored_typed(shop: Shop) -> None:
    @shop.script
    async def clears(ctx: Any) -> list[str]:
        ctx.state.items.clear()
        return [repr(await ctx.state.items.get()), repr(await ctx.state.total.get()), *await ctx.state_keys()]

    async with shop.start() as runtime:
        cart = CartClient(runtime)
        await cart.add(item("one"))
        rows = runtime.inspector.state("sample.v1.Cart", "ann")
        assert [(row["key"], row["type"], row["value_json"]) for row in rows] == [
            ("items", "sample.v1.Items", {"names": ["one"]}),
            ("total", "json", 1),
        ]
        assert (await cart.turn(item(clears))).names == ["None", "1", "total"]
        assert (await cart.show(User(user="ann"))).names == []


@pytest.mark.rule("R14")
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("items", User(user="ann"), "state 'items' is declared as Items, not User"),
        ("items", None, "state 'items' is declared as Items, not NoneType"),
        ("total", "many", "state 'total' is declared as int, not str"),
        ("total", True, "state 'total' is declared as int, not bool"),
        ("total", 2**63, "state 'total' is declared as int64, which cannot hold 9223372036854775808"),
    ],
)
async def test_a_value_of_another_type_is_refused(shop: Shop, name: str, value: Any, reason: str) -> None:
    @shop.script
    async def sets(ctx: Any) -> list[str]:
        with pytest.raises(TypeError) as caught:
            getattr(ctx.state, name).set(value)
        return [str(caught.value), *await ctx.state_keys()]

    async with shop.start() as runtime:
        handle = CartClient(runtime).turn.in_background(item(sets))
        assert (await handle.result()).names == [reason]
        assert [row["entry"] for row in (await described(runtime, handle))["journal"]] == ["input", "get state keys", "return"]


@pytest.mark.rule("R14")
async def test_a_declared_double_takes_every_number_that_it_can_give_back() -> None:
    ctx = Double().context(KeyedContext, key="k")
    ratio = StateValue(State(ctx), StateDescriptor(name="ratio", python_name="ratio", type=float))
    for value in (3, 2**60, -0.0, 1e308):
        ratio.set(value)
        got = await ratio.get()
        assert (got, type(got)) == (value, float)
    refused: list[Any] = [10**400, True, "1", None, math.nan, math.inf]
    for value in refused:
        with pytest.raises(TypeError, match=r"ratio|NaN or infinite"):
            ratio.set(value)
    assert await ratio.get() == 1e308
