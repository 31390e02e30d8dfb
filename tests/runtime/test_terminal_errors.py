"""Outcomes: terminal errors reach the caller unchanged, everything else is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import Code, DeadlineExceeded, RetryPolicy, TerminalError, gather

from .services import MOMENT, Sample, begin, described, play, send

pytestmark = pytest.mark.rule("R11")


class Own(BaseException):
    """As pytest has them."""


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
async def test_it_reaches_the_caller_unchanged_through_several_services(sample: Sample, code: Code) -> None:
    message = "sold out: 'Ω' \n\t\"{}\" 🎫"

    @sample.script
    async def deepest(ctx: Any) -> None:
        await ctx.sleep(MOMENT)
        raise TerminalError(message, code)

    @sample.script
    async def middle(ctx: Any) -> None:
        await begin(ctx, deepest, "deep")

    @sample.script
    async def outer(ctx: Any) -> None:
        await gather(begin(ctx, middle, "middle"), ctx.sleep(MOMENT))

    async with sample.start() as runtime:
        with pytest.raises(TerminalError) as caught:
            await play(runtime, outer)
        assert (caught.value.message, caught.value.code) == (message, code)
        assert caught.value == TerminalError(message, code)
        assert {row["completion_failure"] for row in runtime.inspector.invocations()} == {f"{code.name}: {message}"}


async def test_state_writes_before_it_are_kept(sample: Sample) -> None:
    @sample.script
    async def writes_and_fails(ctx: Any) -> None:
        ctx.set("kept", 1)
        ctx.set("cleared", 1)
        ctx.clear("cleared")
        LedgerClient(ctx).append.in_background(Text(text="sent"))
        raise TerminalError("after the writes")

    @sample.script
    async def looks(ctx: Any) -> Any:
        return await ctx.state_keys()

    async with sample.start() as runtime:
        with pytest.raises(TerminalError, match="after the writes"):
            await play(runtime, writes_and_fails, "k")
        assert await play(runtime, looks, "k") == ["kept"]
        while not (await LedgerClient(runtime).lines()).lines:
            pass


async def test_it_can_be_caught_and_compensated(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        raise TerminalError("no", Code.RESOURCE_EXHAUSTED)

    @sample.script
    async def compensates(ctx: Any) -> Any:
        try:
            await begin(ctx, fails)
        except TerminalError as error:
            await CounterClient(ctx).add(AddRequest(name="undo", amount=1))
            return error.code.name

    async with sample.start() as runtime:
        assert await play(runtime, compensates) == "RESOURCE_EXHAUSTED"


async def test_any_other_exception_is_tried_again(sample: Sample) -> None:
    @sample.script
    async def flaky(ctx: Any) -> int:
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return int(ctx.attempt)

    async with sample.start() as runtime:
        assert await play(runtime, flaky) == 3


@pytest.mark.parametrize("error", [SystemExit(3), BaseException("bare"), Own("own")], ids=repr)
async def test_what_is_no_exception_is_tried_again_too(sample: Sample, error: BaseException) -> None:
    @sample.script
    async def exits(ctx: Any) -> int:
        if ctx.attempt < 2:
            raise error
        return int(ctx.attempt)

    async with sample.start() as runtime:
        assert await play(runtime, exits) == 2


async def test_an_error_that_wraps_another(sample: Sample) -> None:
    @sample.script
    async def wraps(ctx: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise TerminalError(error, Code.INVALID_ARGUMENT) from error

    async with sample.start() as runtime:
        with pytest.raises(TerminalError) as caught:
            await play(runtime, wraps)
        assert (caught.value.message, caught.value.code) == ("'inner'", Code.INVALID_ARGUMENT)


@pytest.mark.parametrize("kind", [TerminalError, ValueError])
async def test_texts_that_cannot_be_stored(sample: Sample, kind: type[Exception]) -> None:
    """Names of files may hold half a surrogate pair."""

    @sample.script
    async def fails(ctx: Any) -> None:
        raise kind("no file b\udcffd")

    @sample.script
    async def effect_fails(ctx: Any) -> None:
        def effect() -> None:
            raise kind("no file b\udcffd")

        await ctx.run("effect", effect, retry=RetryPolicy(initial_interval=MOMENT, max_attempts=2))

    async with sample.start() as runtime:
        for body in (fails, effect_fails):
            with pytest.raises(TerminalError, match=r"no file b\?d"):
                await play(runtime, body)


def test_errors_are_values() -> None:
    error = TerminalError("no", Code.NOT_FOUND)
    assert error == TerminalError("no", Code.NOT_FOUND)
    assert error != TerminalError("no")
    assert str(error) == "NOT_FOUND: no"
    assert TerminalError("x").code is Code.INTERNAL
    assert DeadlineExceeded().code is Code.DEADLINE_EXCEEDED
    with pytest.raises(ValueError):
        TerminalError("fine", Code.OK)
    with pytest.raises(TypeError, match="carries a Code"):
        TerminalError("number", 5)  # type: ignore[arg-type]


async def test_a_response_over_the_limit_is_terminal(sample: Sample) -> None:
    @sample.script
    async def big(ctx: Any) -> str:
        return "x" * 3000

    @sample.script
    async def big_state(ctx: Any) -> None:
        ctx.set("big", "x" * 3000)

    @sample.script
    async def big_effect(ctx: Any) -> None:
        await ctx.run("big", lambda: "x" * 3000)

    @sample.script
    async def big_request(ctx: Any) -> None:
        await EchoClient(ctx).call(Text(text="x" * 3000))

    async with sample.start(max_message_size=2000) as runtime:
        for body in (big, big_state, big_effect, big_request):
            with pytest.raises(TerminalError, match=r"has \d+ bytes, the limit is 2000") as caught:
                await play(runtime, body, "k")
            assert caught.value.code is Code.RESOURCE_EXHAUSTED, body.__name__


@pytest.mark.rule("R45")
async def test_a_response_of_another_type_fails_the_attempt(sample: Sample) -> None:
    @sample.script
    async def unserializable(ctx: Any) -> Any:
        return {1, 2}

    async with sample.start() as runtime:
        handle = send(runtime, unserializable)
        with pytest.raises(TerminalError, match="set is not JSON serializable"):
            await handle.result()
        assert (await described(runtime, handle))["retry_count"] == 3
        assert isinstance(await CounterClient(runtime).add(AddRequest(name="k", amount=1)), Number)
