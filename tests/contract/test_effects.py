"""Side effects, retries, what is deterministic: R12, R13, R17, R41."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sample.v1.cart_pb2 import Item
from sample.v1.cart_restate import CartClient
from sample.v1.sample_pb2 import Text

from restate_runtime import Code, RetryPolicy, TerminalError

from .engines import WITH_ADMIN, Outer, Running, check_effects, check_times, reached, resume
from .services import Outside, answer, begin, line, play, script, send

QUICK = timedelta(milliseconds=2)


@script
async def results(ctx: Any, argument: Any) -> list[Any]:
    async def asynchronous() -> dict[str, list[int]]:
        return {"a": [1, 2]}

    text = await ctx.run("message", lambda: Text(text="hello"), type=Text)
    return [await ctx.run("sync", lambda: 7), await ctx.run("async", asynchronous), text.text, await ctx.run("nothing", lambda: None)]


@pytest.mark.rule("R12")
async def test_results_are_what_was_stored(caller: Outer) -> None:
    assert await play(caller, results) == [7, {"a": [1, 2]}, "hello", None]


@script
async def cannot_be_restored(ctx: Any, argument: Any) -> None:
    await ctx.run("odd", lambda: (1, 2))


@pytest.mark.rule("R12")
async def test_a_result_that_would_come_back_as_something_else(caller: Outer) -> None:
    with pytest.raises(TerminalError, match="the result of side effect 'odd' cannot be restored") as caught:
        await play(caller, cannot_be_restored)
    assert caught.value.code is Code.INTERNAL


@script
async def fails_twice(ctx: Any, key: str) -> int:
    def body() -> int:
        times = Outside(key).write("tried")
        if times < 3:
            raise ValueError(f"no {times}")
        return times

    return await ctx.run("flaky", body, retry=RetryPolicy(initial_interval=QUICK))  # type: ignore[no-any-return]


@pytest.mark.smoke
@pytest.mark.rule("R12")
async def test_failed_side_effects_are_tried_again(running: Running, key: str) -> None:
    check_times(running, await play(running.caller, fails_twice, key), 3)
    check_times(running, len(Outside(key).lines()), 3)


@script
async def gives_up(ctx: Any, key: str) -> list[str]:
    def body() -> int:
        raise ValueError(f"no {Outside(key).write('tried')}")

    try:
        await ctx.run("hopeless", body, retry=RetryPolicy(initial_interval=QUICK, max_attempts=3))
    except TerminalError as error:
        return [error.code.name, error.message]
    return []


@pytest.mark.rule("R12")
async def test_a_spent_policy_is_a_terminal_error(running: Running, key: str) -> None:
    code, message = await play(running.caller, gives_up, key)
    assert code == "INTERNAL"
    times = len(Outside(key).lines())
    assert f"the side effect 'hopeless' failed 3 times; the last with: ValueError: no {times}" in message
    check_times(running, times, 3)


@script
async def fails_for_good(ctx: Any, key: str) -> list[str]:
    def body() -> None:
        Outside(key).write("tried")
        raise TerminalError("declined", Code.FAILED_PRECONDITION)

    try:
        await ctx.run("charge", body)
    except TerminalError as error:
        return [error.code.name, error.message]
    return []


@pytest.mark.rule("R12")
async def test_a_terminal_error_of_an_action_is_the_result_at_once(running: Running, key: str) -> None:
    assert await play(running.caller, fails_for_good, key) == ["FAILED_PRECONDITION", "declined"]
    check_effects(running, Outside(key).lines(), ["tried"])


@script
async def uses_the_context_inside(ctx: Any, argument: Any) -> str:
    def synchronous() -> str:
        try:
            ctx.sleep(QUICK)
        except RuntimeError as error:
            return str(error)
        return ""

    async def asynchronous() -> str:
        return synchronous()

    return str(await ctx.run("sync", synchronous)) + "|" + str(await ctx.run("async", asynchronous))


@pytest.mark.rule("R12")
async def test_the_context_cannot_be_used_inside_an_action(caller: Outer) -> None:
    for problem in (await play(caller, uses_the_context_inside)).split("|"):
        assert problem == "the context cannot be used inside a side effect: do it before or after ctx.run"


@script
async def draws(ctx: Any, key: str) -> list[Any]:
    drawn = [ctx.random.random(), str(ctx.uuid()), (await ctx.now()).isoformat(), str(ctx.uuid())]
    Outside(key).write(repr(drawn))
    if len(Outside(key).lines()) == 1:
        raise ValueError("again")
    await ctx.sleep(timedelta(milliseconds=1))
    return drawn


@pytest.mark.rule("R12")
async def test_chance_and_time_are_the_same_on_every_replay(caller: Outer, key: str) -> None:
    drawn = await play(caller, draws, key)
    assert set(Outside(key).lines()) == {repr(drawn)}
    assert len(Outside(key).lines()) > 1
    assert drawn[1] != drawn[3]
    assert abs(datetime.fromisoformat(drawn[2]) - datetime.now(UTC)) < timedelta(minutes=1)


@script
async def fails_at_first(ctx: Any, key: str) -> int:
    times = Outside(key).write("tried")
    if times < 3:
        raise ValueError("not yet")
    return times


@pytest.mark.rule("R13")
async def test_failed_attempts_are_retried(running: Running, key: str) -> None:
    check_times(running, await play(running.caller, fails_at_first, key), 3)


@script
async def always_fails(ctx: Any, key: str) -> None:
    Outside(key).write("tried")
    raise ValueError("never")


@pytest.mark.rule("R13")
async def test_spent_attempts_fail_where_the_policy_says_so(running: Running, key: str) -> None:
    with pytest.raises(TerminalError):
        await CartClient(running.caller).turn(Item(user=key, name=line(always_fails, key)))
    check_times(running, len(Outside(key).lines()), 2)


@script
async def fails_until_mended(ctx: Any, key: str) -> str:
    Outside(key).write("tried")
    if not Outside(f"{key}-mended").lines():
        raise ValueError("not yet")
    return "mended"


@pytest.mark.rule("R13")
@WITH_ADMIN
async def test_spent_attempts_pause_where_the_policy_says_nothing_else(running: Running, key: str) -> None:
    handle = send(running.caller, fails_until_mended, key, key=key)
    behind = send(running.caller, draws, f"{key}-behind", key=key)
    await reached(handle, "paused")
    check_times(running, len(Outside(key).lines()), 4)
    assert await behind.status() == "inboxed", "a paused invocation holds its key"
    Outside(f"{key}-mended").write("mended")
    await resume(running, await handle.invocation_id())
    assert answer(await handle.result()) == "mended"
    await behind.result()


@script
async def waits_once_mended(ctx: Any, key: str) -> None:
    await fails_until_mended(ctx, key)
    await ctx.sleep(timedelta(hours=1))


@pytest.mark.rule("R15")
@WITH_ADMIN
async def test_a_cancellation_resumes_what_is_paused(running: Running, key: str) -> None:
    handle = send(running.caller, waits_once_mended, key, key=key)
    await reached(handle, "paused")
    Outside(f"{key}-mended").write("mended")
    await handle.cancel()
    with pytest.raises(TerminalError) as raised:
        await handle.result()
    assert raised.value.code is Code.CANCELLED


@script
async def cleans_up(ctx: Any, key: str) -> str:
    awakeable = ctx.awakeable(str)
    try:
        await ctx.run("id", lambda: Outside(key).write(awakeable.id), type=int)
        return str(await awakeable)
    finally:
        ctx.set("cleaned", True)
        Outside(key).write("finally")
        await ctx.run("after", lambda: Outside(f"{key}-after").write("after"), type=int)


@pytest.mark.rule("R17")
async def test_cleaning_up_after_an_attempt_that_is_over_is_inert(running: Running, key: str) -> None:
    call = send(running.caller, cleans_up, key, key=key)
    id = await call.invocation_id()
    while not Outside(key).lines():
        await asyncio.sleep(0.01)
    await running.restart()
    assert Outside(f"{key}-after").lines() == []
    await running.caller.resolve_awakeable(Outside(key).lines()[0], "settled")
    await running.caller.invocation(id).result()
    check_effects(running, Outside(f"{key}-after").lines(), ["after"])
    assert Outside(key).lines().count("finally") >= 2


class ToOutside(logging.Handler):
    """Writes what handlers log where the test finds it, whichever process they run in."""

    def emit(self, record: logging.LogRecord) -> None:
        key, _, said = record.getMessage().rpartition("] ")[2].partition(" ")
        Outside(f"{key}-log").write(said)


LOGGER = logging.getLogger("restate_runtime.handler")
TO_OUTSIDE = ToOutside()


@script
async def speaks(ctx: Any, key: str) -> None:
    LOGGER.addHandler(TO_OUTSIDE)  # the same one again is none
    LOGGER.setLevel(logging.INFO)
    ctx.logger.info("%s before", key)
    await ctx.sleep(timedelta(milliseconds=1))
    ctx.logger.info("%s between", key)
    await begin(ctx, fails_silently)
    ctx.logger.info("%s after", key)


@script
async def fails_silently(ctx: Any, argument: Any) -> None:
    pass


@pytest.mark.rule("R10")
async def test_the_logger_says_everything_once(running: Running, key: str) -> None:
    try:
        await play(running.caller, speaks, key)
    finally:
        LOGGER.removeHandler(TO_OUTSIDE)
        LOGGER.setLevel(logging.NOTSET)
    check_effects(running, Outside(f"{key}-log").lines(), ["before", "between", "after"])


@script
async def uses_its_context_in_an_effect(ctx: Any, key: str) -> str:
    mended = bool(Outside(f"{key}-mended").lines())

    async def effect() -> str:
        Outside(key).write("effect")
        return "mended" if mended else str(await ctx.get("name", str))

    return str(await ctx.run("effect", effect, retry=RetryPolicy(max_attempts=1)))


@pytest.mark.rule("R12")
@WITH_ADMIN
async def test_a_context_inside_an_effect_fails_the_attempt_and_not_the_effect(running: Running, key: str) -> None:
    handle = send(running.caller, uses_its_context_in_an_effect, key, key=key)
    await reached(handle, "paused")
    check_times(running, len(Outside(key).lines()), 4)
    Outside(f"{key}-mended").write("mended")
    await resume(running, await handle.invocation_id())
    assert answer(await handle.result()) == "mended"


@script
async def two_effects_fail(ctx: Any, key: str) -> list[str]:
    messages = []
    for name in ("first", "second"):
        try:
            await ctx.run(name, breaks, retry=RetryPolicy(initial_interval=QUICK, max_attempts=2 if name == "first" else 1))
        except TerminalError as error:
            messages.append(error.message.partition(";")[0])
    return messages


def breaks() -> None:
    raise ValueError("broken")


@pytest.mark.rule("R12")
async def test_each_effect_counts_its_own_failures(caller: Outer, key: str) -> None:
    assert await play(caller, two_effects_fail, key) == [
        "the side effect 'first' failed 2 times",
        "the side effect 'second' failed 1 times",
    ]
