"""What happens to an invocation that fails: attempts, waits, pause or failure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest
from sample.v1.sample_restate import CounterClient

from restate_runtime import Code, OnExhausted, RetryPolicy, TerminalError
from restate_runtime.engine.options import Options

from .services import LONG, MOMENT, Sample, described, play, reached, send, until

pytestmark = pytest.mark.rule("R13")


def test_the_defaults() -> None:
    policy = Options().retry
    assert (policy.initial_interval, policy.factor, policy.max_interval) == (timedelta(milliseconds=50), 2.0, timedelta(seconds=10))
    assert (policy.max_attempts, policy.on_exhausted) == (70, OnExhausted.PAUSE)
    assert policy.delay_ms(69, 0) == 10_000
    assert policy.delay_ms(70, 0) is None


async def test_attempts_are_counted(sample: Sample) -> None:
    @sample.script
    async def flaky(ctx: Any) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt < 5:
            raise OSError("again")
        return int(ctx.attempt)

    attempts: list[int] = []
    async with sample.start(retry_max_attempts=10) as runtime:
        assert await play(runtime, flaky) == 5
    assert attempts == [1, 2, 3, 4, 5]


async def test_a_suspension_a_restart_and_a_resume_are_no_attempts(sample: Sample) -> None:
    broken = True
    attempts: set[int] = set()

    @sample.script
    async def waits(ctx: Any) -> int:
        promise = ctx.awakeable(int)
        await ctx.run("publish", lambda: promises.append(promise.id))
        attempts.add(ctx.attempt)
        return int(await promise + ctx.attempt)

    promises: list[str] = []
    async with sample.start() as runtime:
        handle = send(runtime, waits)
        await until(lambda: promises)
    async with sample.start() as runtime:
        await runtime.resolve_awakeable(promises[0], 10)
        assert (await runtime.invocation(await handle.invocation_id()).result()).text == "11"
    assert attempts == {1}

    @sample.script
    async def mended(ctx: Any) -> int:
        if broken:
            raise ValueError("broken")
        return int(ctx.attempt)

    async with sample.start(retry_max_attempts=1, retry_on_exhausted="pause") as runtime:
        handle = send(runtime, mended)
        await reached(handle, "paused")
        broken = False
        await runtime.resume(await handle.invocation_id())
        assert (await handle.result()).text == "1"


async def test_spent_attempts_pause_and_keep_everything(sample: Sample) -> None:
    broken = True

    @sample.script
    async def adds(ctx: Any) -> int:
        ctx.set("total", (await ctx.get("total", int) or 0) + 1)
        if broken:
            raise ValueError("broken on purpose")
        return int(ctx.attempt)

    async with sample.start(retry_max_attempts=3, retry_on_exhausted="pause") as runtime:
        handle = send(runtime, adds, "k")
        await reached(handle, "paused")
        behind = CounterClient(runtime).add(AddRequest(name="k", amount=10))
        row = await described(runtime, handle)
        assert row["retry_count"] == 3
        assert row["last_failure_error_code"] == "RT0302"
        assert "broken on purpose" in row["last_failure"]
        assert "test_invocation_retry.py:" in row["last_failure"]
    async with sample.start(retry_max_attempts=3, retry_on_exhausted="pause") as runtime:
        handle = runtime.invocation(await handle.invocation_id())
        assert await handle.status() == "paused"
        await runtime.resume(await handle.invocation_id())
        await reached(handle, "running", "backing-off")
        await reached(handle, "paused")
        broken = False
        await runtime.resume(await handle.invocation_id())
        assert int((await handle.result()).text) >= 3
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=100))).value == 111
    with pytest.raises(ConnectionError):
        await behind


async def test_spent_attempts_fail_where_that_is_wanted(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        attempts.append(ctx.attempt)
        ctx.set("kept", 1)
        raise ValueError("for good")

    @sample.script
    async def keys(ctx: Any) -> Any:
        return await ctx.state_keys()

    attempts: list[int] = []
    async with sample.start(retry_max_attempts=4, retry_on_exhausted=OnExhausted.FAIL) as runtime:
        with pytest.raises(TerminalError, match="ValueError: for good") as caught:
            await play(runtime, fails, "k")
        assert caught.value.code is Code.INTERNAL
        assert await play(runtime, keys, "k") == ["kept"]
    assert attempts == [1, 2, 3, 4]


async def test_the_apps_policy_comes_before_the_options(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("for good")

    attempts: list[int] = []
    policy = RetryPolicy(initial_interval=MOMENT, max_attempts=2, on_exhausted="fail")  # type: ignore[arg-type]
    async with sample.start(retry=policy, retry_max_attempts=50) as runtime:
        with pytest.raises(TerminalError, match="for good"):
            await play(runtime, fails)
    assert attempts == [1, 2]


async def test_the_options_as_text(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        raise ValueError("for good")

    text: dict[str, Any] = {"retry_initial_interval": "1ms", "retry_max_interval": "2ms", "retry_factor": "1.5", "retry_max_attempts": "2"}
    async with sample.start(**text, retry_on_exhausted="fail") as runtime:
        with pytest.raises(TerminalError, match="for good"):
            await play(runtime, fails)


async def test_backing_off_keeps_the_key_and_can_be_resumed_or_killed(sample: Sample) -> None:
    broken = True

    @sample.script
    async def flaky(ctx: Any) -> int:
        if broken:
            raise ValueError("later")
        return int(ctx.attempt)

    async with sample.start(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        first, second = send(runtime, flaky, "k"), send(runtime, flaky, "k")
        await reached(first, "backing-off")
        assert await second.status() == "inboxed"
        assert (await described(runtime, first))["next_retry_at"]
    async with sample.start(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        first, second = [runtime.invocation(await handle.invocation_id()) for handle in (first, second)]
        assert [await first.status(), await second.status()] == ["backing-off", "inboxed"]
        await first.kill()
        await reached(second, "backing-off")
        broken = False
        await runtime.resume(await second.invocation_id())
        assert (await second.result()).text == "2"
        with pytest.raises(TerminalError) as caught:
            await runtime.resume(await second.invocation_id())
        assert caught.value.code is Code.FAILED_PRECONDITION


async def test_what_the_failed_attempt_had_done_is_not_done_again(sample: Sample) -> None:
    @sample.script
    async def flaky(ctx: Any) -> int:
        total = (await CounterClient(ctx).add(AddRequest(name="other", amount=1))).value
        effect = await ctx.run("effect", count)
        ctx.set("total", (await ctx.get("total", int) or 0) + 1)
        if ctx.attempt < 3:
            raise ValueError("again")
        return int(total + effect + await ctx.get("total", int))

    effects: list[int] = []

    def count() -> int:
        effects.append(1)
        return len(effects)

    async with sample.start() as runtime:
        assert await play(runtime, flaky, "k") == 3
    assert effects == [1]
