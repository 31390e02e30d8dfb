"""Doubles for tests of users: no runtime anywhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardClient, CartContext, CartSyncClient, SharedCartContext
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, CounterSyncClient, EchoClient, LedgerClient, LedgerSyncClient

from restate_runtime import (
    Code,
    DeadlineExceeded,
    KeyedContext,
    RetryPolicy,
    TerminalError,
    UnkeyedContext,
    as_completed,
    gather,
    race,
    select,
)
from restate_runtime.testing import Double, Form

from .carts import Cart

SECOND = timedelta(seconds=1)


@pytest.fixture
def double() -> Double:
    return Double()


async def test_it_answers_and_records(double: Double) -> None:
    counter = CounterClient(double)
    double.on(counter.add).returns(Number(value=1), Number(value=2))
    request = AddRequest(name="a", amount=5)
    assert [(await counter.add(request)).value for _ in range(3)] == [1, 2, 2]
    await counter.add(request, idempotency_key="k", headers={"x": "y"})
    first, *_, last = double.calls(counter.add)
    assert (first.method, first.form, first.request, first.key) == ("sample.v1.Counter/Add", Form.AWAITED, request, "a")
    assert first.request is not request
    assert (first.delay, first.idempotency_key, first.headers) == (None, None, {})
    assert (last.idempotency_key, last.headers) == ("k", {"x": "y"})
    assert double.calls(counter.get) == []


async def test_background_and_delayed_calls_need_no_answer(double: Double) -> None:
    counter = CounterClient(double)
    now = counter.add.in_background(AddRequest(name="a"))
    later = counter.add.delayed(AddRequest(name="a"), delay=SECOND)
    assert await now is now
    assert [(call.form, call.delay) for call in double.calls(counter.add)] == [(Form.BACKGROUND, None), (Form.DELAYED, SECOND)]
    assert [await now.invocation_id(), await later.invocation_id()] == [call.invocation_id for call in double.all_calls]
    assert [await now.status(), await later.status()] == ["completed", "scheduled"]
    await later.kill()
    assert double.killed == [await later.invocation_id()]
    await now.cancel()
    assert double.cancelled == [await now.invocation_id()]
    with pytest.raises(AssertionError, match=r"sample.v1.Counter/Add was called, and the test has no answer for it"):
        await now.result()
    double.on(counter.add).returns(Number(value=3))
    assert await counter.add.in_background(AddRequest(name="a")).result() == Number(value=3)


async def test_an_awaited_call_without_an_answer_says_what_to_do(double: Double) -> None:
    with pytest.raises(AssertionError, match=r"sample.v1.Echo/Call was called.*double.on\(client.method\).returns"):
        await EchoClient(double).call(Text())
    assert await LedgerClient(double).append(Text(text="nothing to answer")) is None


async def test_functions_answer(double: Double) -> None:
    async def slowly(text: Text) -> Text:
        await asyncio.sleep(0)
        return Text(text=text.text + "?")

    echo, ledger = EchoClient(double), BoardClient(double)
    double.on(echo.call).does(lambda text: Text(text=text.text + "!"))
    assert await echo.call(Text(text="a")) == Text(text="a!")
    double.on(echo.call).does(slowly)
    assert await echo.call(Text(text="a")) == Text(text="a?")
    handle = echo.call.in_background(Text(text="b"))
    assert [await handle.result(), await handle.result()] == [Text(text="b?")] * 2
    double.on(ledger.read).does(lambda: Items(names=["x"]))
    assert (await ledger.read()).names == ["x"]
    assert double.calls(ledger.read)[0].key is None


async def test_errors_and_silence(double: Double) -> None:
    echo = EchoClient(double)
    double.on(echo.call).raises(TerminalError("gone", Code.NOT_FOUND))
    with pytest.raises(TerminalError, match="gone"):
        await echo.call(Text())
    double.on(echo.call).raises(ConnectionError("no runtime"))
    with pytest.raises(ConnectionError):
        await echo.call(Text())
    double.on(echo.call).never()
    with pytest.raises(TimeoutError):
        await echo.call(Text(), timeout=0.001)


async def test_a_wrong_answer_or_request_is_refused(double: Double) -> None:
    echo: Any = EchoClient(double)
    double.on(echo.call).returns(Number())
    with pytest.raises(TypeError, match=r"sample.v1.Echo/Call answers a Text, not a Number"):
        await echo.call(Text())
    with pytest.raises(TypeError, match="takes a Text"):
        await echo.call(Number())


async def test_methods_by_name(double: Double) -> None:
    method = double.method("list.ListService/Append")
    double.on(method).returns(b"reply")
    assert await method(b"request") == b"reply"
    assert double.calls(method)[0].request == b"request"
    keyed = double.method("cart/add", key="k")
    double.on(keyed).returns(b"")
    await keyed(b"")
    assert [call.key for call in double.calls(keyed)] == ["k"]


def test_sync_clients(double: Double) -> None:
    counter, ledger = CounterSyncClient(double), LedgerSyncClient(double)
    double.on(counter.add).returns(Number(value=4))
    assert counter.add(AddRequest(name="a")) == Number(value=4)
    handle = counter.add.in_background(AddRequest(name="a"))
    assert (handle.invocation_id(), handle.result(), handle.status()) == (double.all_calls[1].invocation_id, Number(value=4), "completed")
    handle.kill()
    assert double.killed == [handle.invocation_id()]
    assert [call.form for call in double.calls(counter.add)] == [Form.AWAITED, Form.BACKGROUND]
    nothing: Any = ledger.append
    assert nothing(Text()) is None
    double.on(counter.add).never()
    with pytest.raises(TimeoutError):
        counter.add(AddRequest(name="a"), timeout=1)
    with pytest.raises(AssertionError, match="would wait for good"):
        counter.add(AddRequest(name="a"))
    with pytest.raises(AssertionError, match="no answer for it"):
        CartSyncClient(double).show(User(user="a"))

    async def awaited(_: AddRequest) -> Number:
        return Number()

    double.on(counter.add).does(awaited)
    with pytest.raises(TypeError, match="cannot be awaited"):
        counter.add(AddRequest(name="a"))


async def test_a_handler_with_declared_state(double: Double) -> None:
    cart = Cart({})
    ctx = double.context(CartContext, key="ann", state={"items": Items(names=["one"])})
    assert (await cart.add(ctx, Item(user="ann", name="two"))).names == ["one", "two"]
    assert (await ctx.state.items.get(), await ctx.state.total.get()) == (Items(names=["one", "two"]), 2)
    assert (ctx.key, await ctx.state_keys()) == ("ann", ["items", "total"])
    shared = double.context(SharedCartContext, key="ann", state={"items": Items(names=["one"])})
    assert (await cart.show(shared, User(user="ann"))).names == ["one"]
    ctx.clear_all()
    assert await ctx.state.items.get() is None


async def test_calls_of_a_handler(double: Double) -> None:
    ctx = double.context(KeyedContext, key="k", headers={"a": "b"}, attempt=3)
    echo = EchoClient(ctx)
    double.on(echo.call).does(lambda text: Text(text=text.text + "!"))
    assert await echo.call(Text(text="a")) == Text(text="a!")
    handle = echo.call.in_background(Text(text="b"))
    echo.call.delayed(Text(text="c"), delay=SECOND)
    assert [call.form for call in double.calls(echo.call)] == [Form.AWAITED, Form.BACKGROUND, Form.DELAYED]
    assert await handle.invocation_id() == double.all_calls[1].invocation_id
    assert await handle.result() == Text(text="b!")
    assert (ctx.headers, ctx.attempt, ctx.uuid() == ctx.uuid()) == ({"a": "b"}, 3, False)
    double.on(echo.call).raises(TerminalError("no"))
    with pytest.raises(TerminalError, match="no"):
        await gather(echo.call(Text()), ctx.sleep(SECOND))
    method = ctx.method("sample.v1.Counter/Add")
    double.on(method).returns(b"")
    await method(AddRequest(name="x").SerializeToString())
    assert double.calls(method)[0].key == "x"


async def test_time_passes_when_a_handler_waits_for_nothing_else(double: Double) -> None:
    ctx = double.context(UnkeyedContext, now=datetime(2026, 1, 1, tzinfo=UTC))
    await ctx.sleep(timedelta(days=1))
    assert await ctx.now() == datetime(2026, 1, 2, tzinfo=UTC)
    name, _ = await select(long=ctx.sleep(timedelta(hours=2)), short=ctx.sleep(SECOND))
    assert name == "short"
    assert [future is not None async for future in as_completed(ctx.sleep(SECOND), ctx.sleep(SECOND))] == [True, True]
    echo = EchoClient(ctx)
    double.on(echo.call).never()
    with pytest.raises(DeadlineExceeded):
        await echo.call(Text()).or_timeout(SECOND)
    with pytest.raises(AssertionError, match="never answers"):
        await echo.call(Text())


async def test_an_awakeable_is_settled_by_the_test(double: Double) -> None:
    async def handler(ctx: UnkeyedContext) -> str:
        approval = ctx.awakeable(str)
        try:
            return await approval.or_timeout(timedelta(days=1))
        except DeadlineExceeded:
            return "late"

    ctx = double.context(UnkeyedContext)
    running = asyncio.create_task(handler(ctx))
    await asyncio.sleep(0)
    (id,) = double.open_awakeables
    assert not running.done()
    await double.resolve_awakeable(id, "yes")
    assert await running == "yes"
    running = asyncio.create_task(handler(ctx))
    await asyncio.sleep(0)
    double.let_time_pass(timedelta(hours=23))
    await asyncio.sleep(0)
    assert not running.done()
    double.let_time_pass(timedelta(hours=1))
    assert await running == "late"
    rejected = ctx.awakeable(str)
    await double.reject_awakeable(rejected.id, "no")
    with pytest.raises(TerminalError, match="no"):
        await rejected
    ctx.resolve_awakeable(id, "again")
    assert double.settled[id] == "again"


async def test_side_effects_run_and_are_restored(double: Double) -> None:
    async def slow() -> dict[str, int]:
        await asyncio.sleep(0)
        return {"a": 1}

    def fails() -> int:
        tries.append(1)
        raise OSError("down")

    tries: list[int] = []
    ctx = double.context(UnkeyedContext)
    assert await ctx.run("sync", lambda: 1) == 1
    assert await ctx.run("async", slow) == {"a": 1}
    with pytest.raises(TerminalError, match=r"the result of side effect 'lossy' cannot be restored: .* comes back as"):
        await ctx.run("lossy", lambda: (1, 2))
    with pytest.raises(OSError, match="down"):
        await ctx.run("fails", fails)
    assert len(tries) == 10
    tries.clear()
    with pytest.raises(TerminalError, match="the side effect 'fails' failed 3 times"):
        await ctx.run("fails", fails, retry=RetryPolicy(max_attempts=3))
    assert len(tries) == 3
    assert await race(ctx.run("slow", slow), ctx.sleep(SECOND)) == {"a": 1}


async def test_a_side_effect_that_fails_at_first_is_executed_again(double: Double) -> None:
    executions: list[int] = []

    def pay() -> int:
        executions.append(1)
        if len(executions) < 3:
            raise OSError("down")
        return len(executions)

    async def slowly() -> int:
        await asyncio.sleep(0)
        return pay()

    ctx = double.context(UnkeyedContext)
    assert await ctx.run("pay", pay) == 3
    executions.clear()
    assert await ctx.run("pay", slowly, retry=RetryPolicy(max_attempts=3)) == 3


@pytest.mark.rule("R12")
async def test_the_context_is_refused_inside_a_side_effect(double: Double) -> None:
    ctx = double.context(KeyedContext, key="k")

    async def slowly(use: Any) -> None:
        await asyncio.sleep(0)
        use()

    uses: list[Any] = [
        lambda: ctx.set("a", 1),
        lambda: ctx.get("a", int),
        lambda: ctx.sleep(SECOND),
        lambda: ctx.uuid(),
        lambda: ctx.now(),
        lambda: EchoClient(ctx).call(Text()),
        lambda: EchoClient(ctx).call.in_background(Text()),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="cannot be used inside a side effect"):
            await ctx.run("sync", use)
        with pytest.raises(RuntimeError, match="cannot be used inside a side effect"):
            await ctx.run("async", lambda use=use: slowly(use))  # type: ignore[misc]
    assert (await ctx.state_keys(), double.all_calls) == ([], [])


@pytest.mark.rule("R10")
async def test_asyncio_is_refused_on_durable_futures(double: Double) -> None:
    ctx = double.context(UnkeyedContext)
    for misuse in (asyncio.gather(ctx.sleep(SECOND)), asyncio.wait_for(ctx.sleep(SECOND), 1)):
        with pytest.raises(RuntimeError, match="or_timeout"):
            await misuse


@pytest.mark.rule("R10")
async def test_a_result_is_a_copy_at_every_await_and_a_gather_may_be_empty(double: Double) -> None:
    ctx = double.context(UnkeyedContext)
    double.on(EchoClient(ctx).call).returns(Text(text="as it was"))
    assert await gather() == ()
    call = EchoClient(ctx).call(Text())
    (await call).text = "changed"
    assert (await call).text == "as it was"
    found = ctx.run("list", lambda: [1])
    (await found).append(2)
    assert await found == [1]


async def test_calls_by_name_in_a_handler(double: Double) -> None:
    ctx = double.context(UnkeyedContext)
    double.on(EchoClient(double).call).returns(Text(text="x"))
    assert await ctx.method("sample.v1.Echo/Call")(b"") == Text(text="x").SerializeToString()
    for name, request, code, message in (
        ("sample.v1.Echo/Nothing", b"", Code.NOT_FOUND, "has no method 'Nothing'"),
        ("sample.v1.Counter/Get", b"", Code.INVALID_ARGUMENT, "the key field 'name' is empty"),
        ("sample.v1.Counter/Get", b"\xff", Code.INVALID_ARGUMENT, "the request is no sample.v1.CounterKey"),
    ):
        with pytest.raises(TerminalError, match=message) as caught:
            ctx.method(name)(request)
        assert caught.value.code is code


async def test_what_a_context_checks_in_a_runtime_it_checks_here(double: Double) -> None:
    class Hex:
        name = "hex"

        def serialize(self, value: int) -> bytes:
            return b"%x" % value

        def deserialize(self, data: bytes) -> int:
            return int(data, 16)

    ctx: Any = double.context(KeyedContext, key="k", headers={"a": "b"})
    with pytest.raises(TypeError, match=r"takes a datetime.timedelta, not a int"):
        ctx.sleep(5)
    with pytest.raises(TypeError):
        ctx.headers["a"] = "c"
    assert await select(never=ctx.sleep(timedelta.max), soon=ctx.sleep(SECOND)) == ("soon", None)
    ctx.set("number", 255, serde=Hex())
    assert await ctx.get("number", Hex()) == 255


@pytest.mark.rule("R15")
async def test_cancellations_are_noted(double: Double) -> None:
    ctx = double.context(UnkeyedContext)
    counter = CounterClient(ctx)
    handle = counter.add.in_background(AddRequest(name="a"))
    id = await handle.invocation_id()
    handle.cancel()
    ctx.cancel(id)
    assert double.cancelled == [id, id]
    with pytest.raises(TerminalError, match="no invocation's id"):
        ctx.cancel("nonsense")
    counter_sync = CounterSyncClient(double)
    counter_sync.add.in_background(AddRequest(name="a")).cancel()
    assert double.cancelled[2:] == [double.all_calls[-1].invocation_id]
