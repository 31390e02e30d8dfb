"""Calls between services and from outside: R1 to R3, R5 to R7, R41."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import Code, TerminalError

from .engines import Outer, Running, check_effects, reached, until
from .services import Outside, answer, answer_of, begin, play, script, send

LONG = timedelta(hours=1)


@script
async def calls_side_by_side(ctx: Any, key: str) -> list[int]:
    first = CounterClient(ctx).add(AddRequest(name=f"{key}/a", amount=1))
    second = CounterClient(ctx).add(AddRequest(name=f"{key}/b", amount=2))
    return [(await second).value, (await first).value]


@pytest.mark.rule("R1")
async def test_calls_begin_when_they_are_made(caller: Outer, key: str) -> None:
    assert await play(caller, calls_side_by_side, key) == [2, 1]


@script
async def never_awaits(ctx: Any, key: str) -> str:
    CounterClient(ctx).add(AddRequest(name=key, amount=1))
    CounterClient(ctx).add.in_background(AddRequest(name=key, amount=10))
    CounterClient(ctx).add.delayed(AddRequest(name=key, amount=100), delay=timedelta(milliseconds=20))
    return "done"


@pytest.mark.smoke
@pytest.mark.rule("R1")
@pytest.mark.rule("R10")
async def test_calls_that_nobody_awaits_run_to_their_end(caller: Outer, key: str) -> None:
    assert await play(caller, never_awaits, key) == "done"
    while (await CounterClient(caller).get(CounterKey(name=key))).value != 111:
        await asyncio.sleep(0.01)


@script
async def adds_in_order(ctx: Any, key: str) -> None:
    for line in range(20):
        LedgerClient(ctx).append.in_background(Text(text=f"{key}:{line}"))


@pytest.mark.rule("R1")
@pytest.mark.rule("R42")
async def test_background_calls_take_their_place_in_program_order(caller: Outer, key: str) -> None:
    await play(caller, adds_in_order, key)
    lines: list[str] = []
    while len(lines) < 20:
        lines = [line for line in (await LedgerClient(caller).lines()).lines if line.startswith(key)]
    assert lines == [f"{key}:{line}" for line in range(20)]


@script
async def echoes_headers(ctx: Any, argument: Any) -> str | None:
    assert ctx.headers["X-Tenant"] == ctx.headers["x-tenant"]
    assert "x-tenant" in set(ctx.headers)
    return ctx.headers.get("X-TENANT")  # type: ignore[no-any-return]


@script
async def passes_headers(ctx: Any, argument: Any) -> Any:
    return await play(ctx, echoes_headers, headers={"X-Tenant": "ada"})


@pytest.mark.rule("R2")
async def test_headers_reach_the_handler(caller: Outer) -> None:
    assert await play(caller, echoes_headers, headers={"X-Tenant": "bob"}) == "bob"
    assert await play(caller, passes_headers) == "ada"


@pytest.mark.rule("R2")
async def test_timeout_bounds_the_wait_and_not_the_invocation(caller: Outer, key: str) -> None:
    with pytest.raises(TimeoutError):
        await play(caller, sleeps_then_writes, key, timeout=0.01)
    while not Outside(key).lines():
        await asyncio.sleep(0.01)


@script
async def sleeps_then_writes(ctx: Any, key: str) -> None:
    await ctx.sleep(timedelta(milliseconds=60))
    await ctx.run("write", lambda: Outside(key).write("written"), type=int)


@script
async def uses_idempotency_keys(ctx: Any, key: str) -> list[int]:
    counter = CounterClient(ctx)
    first = counter.add(AddRequest(name=key, amount=1), idempotency_key="once")
    second = counter.add(AddRequest(name=key, amount=1), idempotency_key="once")
    return [(await first).value, (await second).value, (await counter.get(CounterKey(name=key))).value]


@pytest.mark.rule("R2")
@pytest.mark.rule("R22")
async def test_the_same_idempotency_key_is_the_same_invocation(caller: Outer, key: str) -> None:
    assert await play(caller, uses_idempotency_keys, key) == [1, 1, 1]
    counter = CounterClient(caller)
    ids = [await counter.add.in_background(AddRequest(name=key, amount=1), idempotency_key="out").invocation_id() for _ in range(2)]
    assert ids[0] == ids[1]
    assert (await counter.add(AddRequest(name=key, amount=1), idempotency_key="out")).value == 2
    assert (await counter.get(CounterKey(name=key))).value == 2


@pytest.mark.rule("R22")
async def test_a_key_counts_for_its_service_method_and_key(caller: Outer, key: str) -> None:
    counter = CounterClient(caller)
    for name in (f"{key}/a", f"{key}/b"):
        assert (await counter.add(AddRequest(name=name, amount=1), idempotency_key=key)).value == 1
        assert (await counter.get(CounterKey(name=name), idempotency_key=key)).value == 1
    assert (await EchoClient(caller).call(Text(text="x"), idempotency_key=key)).text == "x"


@script
async def waits_to_be_told(ctx: Any, key: str) -> str:
    awakeable = ctx.awakeable(str)
    await ctx.run("tell", lambda: Outside(key).write(awakeable.id), type=int)
    return str(await awakeable)


@pytest.mark.rule("R22")
async def test_a_second_call_attaches_to_the_first(caller: Outer, key: str) -> None:
    calls = [begin(caller, waits_to_be_told, key, idempotency_key=key) for _ in range(3)]
    id = await send(caller, waits_to_be_told, key, idempotency_key=key).invocation_id()
    await until(Outside(key).lines)
    await caller.resolve_awakeable(Outside(key).lines()[0], "told")
    assert [answer(await call) for call in calls] == ["told"] * 3
    assert await answer_of(caller, id) == "told"


@pytest.mark.rule("R22")
@pytest.mark.not_on("cluster", "cluster-http1", "gateway", "three-nodes", reason="a cluster does not compare requests: docs/scaling.md")
async def test_the_same_key_with_another_request_is_refused(caller: Outer, key: str) -> None:
    counter = CounterClient(caller)
    await counter.add(AddRequest(name=key, amount=1), idempotency_key=key)
    with pytest.raises(TerminalError) as caught:
        await counter.add(AddRequest(name=key, amount=2), idempotency_key=key)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert (await counter.get(CounterKey(name=key))).value == 1


@script
async def uses_a_key_for_something_else(ctx: Any, key: str) -> str:
    counter = CounterClient(ctx)
    await counter.add(AddRequest(name=key, amount=1), idempotency_key=key)
    try:
        handle = counter.add.in_background(AddRequest(name=key, amount=2), idempotency_key=key)
        handle.cancel()
        await handle.result()
    except TerminalError as error:
        return error.code.name
    return "taken"


@pytest.mark.rule("R22")
@pytest.mark.not_on("cluster", "cluster-http1", "gateway", "three-nodes", reason="a cluster does not compare requests: docs/scaling.md")
async def test_the_same_key_with_another_request_in_the_background(caller: Outer, key: str) -> None:
    """Where the handler is at an endpoint, its handle tells it."""
    assert await play(caller, uses_a_key_for_something_else, key) == "ALREADY_EXISTS"
    assert (await CounterClient(caller).get(CounterKey(name=key))).value == 1


@pytest.mark.rule("R3")
async def test_empty_requests_and_responses(caller: Outer, key: str) -> None:
    ledger = LedgerClient(caller)
    append: Any = ledger.append
    assert await append(Text(text=key)) is None
    assert key in (await ledger.lines()).lines


@pytest.mark.rule("R3")
async def test_a_request_with_every_field_at_its_default(caller: Outer) -> None:
    assert await EchoClient(caller).call(Text()) == Text()


@script
async def uses_a_handle(ctx: Any, key: str) -> list[Any]:
    handle = CounterClient(ctx).add.in_background(AddRequest(name=key, amount=3))
    by_id = ctx.invocation(await handle.invocation_id())
    result, raw = await handle.result(), await by_id.result()
    return [result.value, Number.FromString(raw).value, await by_id.invocation_id() == await handle.invocation_id()]


@pytest.mark.rule("R5")
@pytest.mark.rule("R6")
async def test_handles_in_handlers(caller: Outer, key: str) -> None:
    assert await play(caller, uses_a_handle, key) == [3, 3, True]


@pytest.mark.rule("R5")
async def test_handles_outside(running: Running, key: str) -> None:
    caller = running.caller
    handle = send(caller, sleeps_then_writes, key)
    await handle
    assert answer(await handle.result()) is None
    assert await handle.status() == "completed"
    check_effects(running, Outside(key).lines(), ["written"])
    again: Any = caller.invocation(await handle.invocation_id())
    assert await again.status() == "completed"


@script
async def takes_a_nap(ctx: Any, argument: Any) -> str:
    await ctx.sleep(LONG)
    return "late"


@pytest.mark.rule("R5")
async def test_a_delayed_call_waits_for_its_time(caller: Outer, key: str) -> None:
    handle = CounterClient(caller).add.delayed(AddRequest(name=key, amount=1), delay=LONG)
    await handle
    assert await reached(handle, "scheduled") == "scheduled"
    await handle.cancel()
    assert await reached(handle, "completed") == "completed"
    assert (await CounterClient(caller).get(CounterKey(name=key))).value == 0


@script
async def cancels_at_once(ctx: Any, key: str) -> None:
    send(ctx, takes_a_nap, key=key).cancel()


@pytest.mark.smoke
@pytest.mark.rule("R5")
async def test_a_handle_is_cancelled_before_its_id_is_there(caller: Outer, key: str) -> None:
    """The handler has ended by then."""
    await play(caller, cancels_at_once, key)
    assert (await CounterClient(caller).get(CounterKey(name=key), timeout=60)).value == 0, "the key is free"


@script
async def calls_by_name(ctx: Any, key: str) -> int:
    request = AddRequest(name=key, amount=4)
    response = await ctx.method("sample.v1.Counter/Add")(request.SerializeToString())
    return Number.FromString(response).value


@pytest.mark.rule("R6")
async def test_methods_by_name(caller: Outer, key: str) -> None:
    assert await play(caller, calls_by_name, key) == 4


@pytest.mark.rule("R7")
async def test_all_of_asyncio_works_outside(caller: Outer, key: str) -> None:
    echo = EchoClient(caller)
    answers = await asyncio.gather(*(echo.call(Text(text=f"{key}{number}")) for number in range(10)))
    assert [text.text for text in answers] == [f"{key}{number}" for number in range(10)]
    assert (await asyncio.wait_for(echo.call(Text(text="x")), 30)).text == "x"


@script
async def counts_once(ctx: Any, key: str) -> None:
    await ctx.run("effect", lambda: Outside(key).write("effect"), type=int)
    await CounterClient(ctx).add(AddRequest(name=key, amount=1))
    await ctx.sleep(timedelta(milliseconds=100))
    await CounterClient(ctx).add(AddRequest(name=key, amount=10))
    await ctx.sleep(timedelta(milliseconds=100))
    CounterClient(ctx).add.in_background(AddRequest(name=key, amount=100))
    await ctx.sleep(timedelta(milliseconds=100))


@pytest.mark.smoke
@pytest.mark.rule("R31")
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_a_restart_repeats_nothing(running: Running, key: str) -> None:
    handle = send(running.caller, counts_once, key)
    id = await handle.invocation_id()
    for _ in range(2):
        await asyncio.sleep(0.08)
        await running.restart()
    await running.caller.invocation(id).result()
    while (total := (await CounterClient(running.caller).get(CounterKey(name=key))).value) < 111:
        await asyncio.sleep(0.01)
    assert total == 111
    check_effects(running, Outside(key).lines(), ["effect"])


@pytest.mark.rule("R23")
async def test_an_empty_key_is_refused(caller: Outer) -> None:
    with pytest.raises(TerminalError, match="key field 'name' is empty") as caught:
        await CounterClient(caller).add(AddRequest(amount=1))
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.smoke
@pytest.mark.rule("R42")
async def test_one_at_a_time_for_a_key(caller: Outer, key: str) -> None:
    calls = [begin(caller, reads_waits_writes, key=key) for _ in range(8)]
    await asyncio.gather(*calls)
    assert await play(caller, reads_total, key=key) == 8


@script
async def reads_waits_writes(ctx: Any, argument: Any) -> None:
    before = await ctx.get("total", int) or 0
    await ctx.sleep(timedelta(milliseconds=5))
    ctx.set("total", before + 1)


@script
async def reads_total(ctx: Any, argument: Any) -> int | None:
    return await ctx.get("total", int)  # type: ignore[no-any-return]
