"""Terminal errors, cancellation and kills: R11, R15, R16."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from restate_runtime import Code, TerminalError, gather

from .engines import WITH_ADMIN, Outer, Running, check_effects, reached, resume, until
from .services import Outside, answer_of, begin, play, script, send

LONG = timedelta(hours=1)


@script
async def fails(ctx: Any, argument: Any) -> None:
    code, message = argument
    raise TerminalError(message, Code[code])


@script
async def passes_on(ctx: Any, argument: Any) -> None:
    await begin(ctx, fails, argument)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
async def test_errors_reach_the_caller_unchanged(caller: Outer, code: Code) -> None:
    with pytest.raises(TerminalError) as caught:
        await play(caller, passes_on, [code.name, f"because {code.name} ü"])
    assert caught.value == TerminalError(f"because {code.name} ü", code)


@pytest.mark.rule("R11")
async def test_a_message_that_is_no_unicode_reaches_the_caller_all_the_same(caller: Outer) -> None:
    with pytest.raises(TerminalError, match=r"half: .") as caught:
        await play(caller, passes_on, ["DATA_LOSS", "half: \ud800"])
    assert caught.value.code is Code.DATA_LOSS


@script
async def uses_what_is_no_id(ctx: Any, which: str) -> list[str]:
    """Each fails its own call, and the handler goes on."""
    codes = []
    for use in (
        lambda: ctx.cancel(f"inv_1{which}"),
        lambda: ctx.invocation(f"inv_1{which}").result(),
        lambda: ctx.resolve_awakeable(f"sign_1{which}", 1),
        lambda: ctx.reject_awakeable(f"sign_1{which}", "no"),
    ):
        try:
            use()
        except TerminalError as error:
            codes.append(error.code.name)
    await ctx.sleep(timedelta(milliseconds=1))
    return codes


@pytest.mark.rule("R45")
@pytest.mark.parametrize("which", ["", "nope", "Z" * 22, "Z" * 33, "Z" * 38])  # of the right lengths, and yet none
async def test_an_id_that_is_none_fails_the_call_that_has_it(caller: Outer, which: str) -> None:
    assert await play(caller, uses_what_is_no_id, which) == ["INVALID_ARGUMENT"] * 4


@script
async def keeps_too_much(ctx: Any, key: str) -> str:
    try:
        ctx.set("much", "x" * 40_000_000)
    except TerminalError as error:
        return error.code.name
    return "kept"


@pytest.mark.rule("R14")
@pytest.mark.not_on("lambda", reason="AWS Lambda itself takes no answer above 6 MB: docs/guide/lambda.md")
async def test_a_value_that_is_too_large_fails_the_write(caller: Outer, key: str) -> None:
    assert await play(caller, keeps_too_much, key=key) == "RESOURCE_EXHAUSTED"
    assert await play(caller, reads_kept, key=key) is None, "the key is free"


@script
async def writes_and_fails(ctx: Any, argument: Any) -> None:
    ctx.set("kept", True)
    raise TerminalError("failed")


@script
async def reads_kept(ctx: Any, argument: Any) -> bool | None:
    return await ctx.get("kept", bool)  # type: ignore[no-any-return]


@pytest.mark.smoke
@pytest.mark.rule("R11")
async def test_state_written_before_a_terminal_error_stays(caller: Outer, key: str) -> None:
    with pytest.raises(TerminalError):
        await play(caller, writes_and_fails, key=key)
    assert await play(caller, reads_kept, key=key) is True


@script
async def is_cancelled(ctx: Any, key: str) -> list[str]:
    try:
        await ctx.run("begun", lambda: Outside(key).write("begun"), type=int)
        await ctx.sleep(LONG)
    except TerminalError as error:
        await ctx.sleep(timedelta(milliseconds=1))
        return [error.code.name, await ctx.run("compensate", lambda: "compensated", type=str)]
    return []


async def begun(key: str) -> None:
    await until(Outside(key).lines)


@pytest.mark.smoke
@pytest.mark.rule("R15")
async def test_cancel_raises_once_and_later_awaits_work(caller: Outer, key: str) -> None:
    handle = send(caller, is_cancelled, key)
    await begun(key)
    await handle.cancel()
    assert (await handle.result()).text == '["CANCELLED", "compensated"]'


@script
async def waits_below(ctx: Any, argument: Any) -> None:
    key, name = argument
    try:
        await ctx.run("begun", lambda: Outside(key).write(f"{name} begun"), type=int)
        await ctx.sleep(LONG)
    except TerminalError as error:
        line = f"{name} {error.code.name}"
        await ctx.run("cancelled", lambda: Outside(key).write(line), type=int)
        raise


@script
async def calls_below(ctx: Any, key: str) -> str:
    background = send(ctx, waits_below, [key, "background"])
    await background.invocation_id()
    try:
        await gather(begin(ctx, waits_below, [key, "first"]), begin(ctx, waits_below, [key, "second"]))
    except TerminalError as error:
        return error.code.name
    return ""


@pytest.mark.rule("R15")
async def test_awaited_calls_are_cancelled_and_background_calls_are_not(running: Running, key: str) -> None:
    handle = send(running.caller, calls_below, key)
    await until(lambda: {"first begun", "second begun", "background begun"} <= set(Outside(key).lines()))
    await handle.cancel()
    assert (await handle.result()).text == '"CANCELLED"'
    await until(lambda: {"first CANCELLED", "second CANCELLED"} <= set(Outside(key).lines()))
    expected = ["background begun", "first CANCELLED", "first begun", "second CANCELLED", "second begun"]
    check_effects(running, sorted(Outside(key).lines()), expected)


@script
async def holds(ctx: Any, key: str) -> None:
    await ctx.run("begun", lambda: Outside(key).write("begun"), type=int)
    await ctx.sleep(LONG)


@pytest.mark.rule("R15")
async def test_an_invocation_in_an_inbox_ends_at_once(caller: Outer, key: str) -> None:
    holder = send(caller, holds, key, key=key)
    await begun(key)
    # Awaited, and under a key that gives its id: a cluster keeps nothing of one that never began and that nobody waits for.
    call = begin(caller, holds, f"{key}-waiting", key=key, idempotency_key=key)
    waiting = send(caller, holds, f"{key}-waiting", key=key, idempotency_key=key)
    await reached(waiting, "inboxed")
    await waiting.cancel()
    with pytest.raises(TerminalError) as caught:
        await call
    assert caught.value.code is Code.CANCELLED
    assert await holder.status() in ("running", "suspended")
    assert Outside(f"{key}-waiting").lines() == []


@script
async def cancels(ctx: Any, key: str) -> str:
    handle = send(ctx, is_cancelled, key)
    id = await handle.invocation_id()
    await _wait(ctx, key)
    ctx.cancel(id)
    return (await handle.result()).text


@script
async def cancels_by_handle(ctx: Any, key: str) -> str:
    handle = send(ctx, is_cancelled, key)
    await ctx.sleep(timedelta(milliseconds=1))  # a function of AWS Lambda says what it asked when it has ended
    await _wait(ctx, key)
    await handle.cancel()
    return (await handle.result()).text


async def _wait(ctx: Any, key: str) -> None:
    async def until_begun() -> int:
        await begun(key)
        return 1

    await ctx.run("until begun", until_begun)


@pytest.mark.rule("R15")
@pytest.mark.parametrize("body", [cancels, cancels_by_handle])
async def test_handlers_cancel(caller: Outer, key: str, body: Any) -> None:
    assert await play(caller, body, key) == '["CANCELLED", "compensated"]'


@pytest.mark.smoke
@script
async def returns_although_its_effect_runs(ctx: Any, key: str) -> str:
    async def effect() -> int:
        Outside(key).write("begun")
        await asyncio.sleep(0.3)
        return Outside(key).write("ended")

    try:
        await ctx.run("effect", effect)
    except TerminalError as error:
        return error.code.name
    return ""


@pytest.mark.rule("R15")
async def test_a_cancel_does_not_interrupt_a_side_effect(caller: Outer, key: str) -> None:
    handle = send(caller, returns_although_its_effect_runs, key)
    await begun(key)
    await handle.cancel()
    assert (await handle.result()).text == '"CANCELLED"'
    await until(lambda: Outside(key).lines() == ["begun", "ended"])


@pytest.mark.rule("R16")
async def test_a_kill_frees_the_key_at_once(caller: Outer, key: str) -> None:
    holder = send(caller, holds, key, key=key)
    await begun(key)
    await holder.kill()
    with pytest.raises(TerminalError) as caught:
        await holder.result()
    assert caught.value.code is Code.ABORTED
    assert await play(caller, reads_kept, key=key) is None


@script
async def changes_its_mind(ctx: Any, key: str) -> str:
    awakeable = ctx.awakeable(str)
    await ctx.run("tell", lambda: Outside(key).write(awakeable.id), type=int)
    if Outside(f"{key}-changed").lines():
        await ctx.run("other", lambda: Outside(f"{key}-effects").write("effect"), type=int)
    else:
        await ctx.sleep(timedelta(milliseconds=1))
    return str(await awakeable)


@pytest.mark.rule("R20")
@WITH_ADMIN
async def test_a_mismatch_pauses_performs_nothing_and_is_resumed_on_the_code_of_the_moment(running: Running, key: str) -> None:
    id = await send(running.caller, changes_its_mind, key, key=key).invocation_id()
    await begun(key)
    await asyncio.sleep(0.2)  # the sleep is recorded
    Outside(f"{key}-changed").write("changed")
    await running.restart()
    behind = send(running.caller, reads_kept, key=key)
    await running.caller.resolve_awakeable(Outside(key).lines()[0], "settled")
    await reached(running.caller.invocation(id), "paused")
    assert await behind.status() == "inboxed", "a paused invocation holds its key"
    assert Outside(f"{key}-effects").lines() == []
    Outside(f"{key}-changed").erase()
    await resume(running, id)
    assert await answer_of(running.caller, id) == "settled"
    await behind.result()
