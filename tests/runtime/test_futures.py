"""Durable futures and combinators: the order in which results were recorded decides, the same on every replay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, DeadlineExceeded, TerminalError, as_completed, gather, race, select

from .services import LONG, MOMENT, Sample, begin, described, journal, play, reached, send, until

pytestmark = pytest.mark.rule("R10")


class Promises:
    """Awakeables that a script opens and the test settles, one after the other."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def open(self, ctx: Any, count: int) -> list[Any]:
        opened = [ctx.awakeable(str) for _ in range(count)]
        ids = [promise.id for promise in opened]
        await ctx.run("publish", lambda: self.ids.extend(ids))
        return opened

    async def settle(self, runtime: Any, *order: int) -> None:
        """Resolves in this order; a negative number rejects that promise, counted from 1."""
        await until(lambda: self.ids)
        for number in order:
            if number > 0:
                await runtime.resolve_awakeable(self.ids[number - 1], str(number))
            else:
                await runtime.reject_awakeable(self.ids[-number - 1], str(-number))


@pytest.fixture
def promises() -> Promises:
    return Promises()


async def test_awaited_any_number_of_times(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def again_and_again(ctx: Any) -> Any:
        call = CounterClient(ctx).add(AddRequest(name="k", amount=1))
        effect = ctx.run("effect", lambda: 7)
        nap = ctx.sleep(MOMENT)
        (promise,) = await promises.open(ctx, 1)
        both = gather(call, effect)
        for _ in range(2):
            await nap
            await both
        return [(await call).value, (await call).value, await effect, await effect, await promise, await promise]

    async with sample.start() as runtime:
        handle = send(runtime, again_and_again)
        await promises.settle(runtime, 1)
        assert (await handle.result()).text == '[1, 1, 7, 7, "1", "1"]'
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1


async def test_a_failure_is_raised_at_every_await(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        raise TerminalError("no", Code.OUT_OF_RANGE)

    @sample.script
    async def awaits_twice(ctx: Any) -> Any:
        call = begin(ctx, fails)
        seen = []
        for _ in range(2):
            with pytest.raises(TerminalError) as caught:
                await call
            seen.append(caught.value.code.name)
        return seen

    async with sample.start() as runtime:
        assert await play(runtime, awaits_twice) == ["OUT_OF_RANGE", "OUT_OF_RANGE"]


async def test_gather_keeps_the_order_of_its_arguments(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def gathers(ctx: Any) -> Any:
        return list(await gather(*await promises.open(ctx, 3)))

    async with sample.start() as runtime:
        handle = send(runtime, gathers)
        await promises.settle(runtime, 3, 1, 2)
        assert (await handle.result()).text == '["1", "2", "3"]'


async def test_gather_of_nothing_and_of_one_twice(sample: Sample) -> None:
    @sample.script
    async def gathers(ctx: Any) -> Any:
        nobody: list[Any] = []
        nothing = [future async for future in as_completed(*nobody)]
        effect = ctx.run("effect", lambda: 1)
        return [list(await gather()), nothing, list(await gather(effect, effect)), await gather(effect)]

    async with sample.start() as runtime:
        assert await play(runtime, gathers) == [[], [], [1, 1], [1]]


async def test_gather_raises_the_first_failure_that_was_recorded_and_the_others_go_on(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def gathers(ctx: Any) -> Any:
        opened = await promises.open(ctx, 3)
        with pytest.raises(TerminalError) as caught:
            await gather(*opened)
        await ctx.sleep(MOMENT)
        with pytest.raises(TerminalError) as again:
            await gather(*opened)
        rest = []
        for promise in opened:
            try:
                rest.append(await promise)
            except TerminalError as error:
                rest.append(error.message + " failed")
        return [caught.value.message, again.value.message, rest]

    async with sample.start() as runtime:
        handle = send(runtime, gathers)
        await promises.settle(runtime, -3)
        await promises.settle(runtime, 2, -1)
        assert (await handle.result()).text == '["3", "3", ["1 failed", "2", "3 failed"]]'


async def test_race_gives_the_first_outcome_even_if_it_is_a_failure(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def races(ctx: Any) -> Any:
        first, second, third = await promises.open(ctx, 3)
        with pytest.raises(TerminalError) as caught:
            await race(first, second)
        return [caught.value.message, await race(first, third), await first, await third]

    async with sample.start() as runtime:
        handle = send(runtime, races)
        await promises.settle(runtime, -2, 3, 1)
        assert (await handle.result()).text == '["2", "3", "1", "3"]'


async def test_select_names_the_first(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def selects(ctx: Any) -> Any:
        yes, no = await promises.open(ctx, 2)
        first = await select(yes=yes, no=no)
        await yes
        return [first, await select(yes=yes, no=no), await select(yes=yes)]

    async with sample.start() as runtime:
        handle = send(runtime, selects)
        await promises.settle(runtime, 2, 1)
        assert (await handle.result()).text == '[["no", "2"], ["no", "2"], ["yes", "1"]]'


async def test_as_completed_gives_the_order_of_arrival(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def collects(ctx: Any) -> Any:
        opened = await promises.open(ctx, 4)
        seen = []
        async for future in as_completed(*opened):
            try:
                seen.append(await future)
            except TerminalError as error:
                seen.append(error.message + " failed")
            await ctx.sleep(MOMENT)
        return seen

    async with sample.start() as runtime:
        handle = send(runtime, collects)
        await promises.settle(runtime, 3, -1, 4, 2)
        assert (await handle.result()).text == '["3", "1 failed", "4", "2"]'


async def test_as_completed_may_be_left_early(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def takes_one(ctx: Any) -> Any:
        opened = await promises.open(ctx, 2)
        async for future in as_completed(*opened):
            first = await future
            break
        return [first, await opened[0]]

    async with sample.start() as runtime:
        handle = send(runtime, takes_one)
        await promises.settle(runtime, 2, 1)
        assert (await handle.result()).text == '["2", "1"]'


async def test_or_timeout(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def bounds(ctx: Any) -> Any:
        late, early = await promises.open(ctx, 2)
        in_time = await early.or_timeout(LONG)
        with pytest.raises(DeadlineExceeded) as caught:
            await late.or_timeout(MOMENT)
        await ctx.run("tell", lambda: told.append(True))
        assert isinstance(caught.value, TerminalError)
        return [in_time, caught.value.code.name, await late]

    told: list[bool] = []
    async with sample.start() as runtime:
        handle = send(runtime, bounds)
        await promises.settle(runtime, 2)
        await until(lambda: told)
        await promises.settle(runtime, 1)
        assert (await handle.result()).text == '["2", "DEADLINE_EXCEEDED", "1"]'


async def test_a_deadline_that_is_not_caught_reaches_the_caller(sample: Sample) -> None:
    @sample.script
    async def waits(ctx: Any) -> None:
        await ctx.awakeable(str).or_timeout(MOMENT)

    async with sample.start() as runtime:
        with pytest.raises(TerminalError) as caught:
            await play(runtime, waits)
        assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_what_was_awaited_goes_on_after_its_deadline(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def callee(ctx: Any) -> str:
        (promise,) = await promises.open(ctx, 1)
        return str(await promise)

    @sample.script
    async def bounds(ctx: Any) -> Any:
        call = begin(ctx, callee, "k")
        with pytest.raises(DeadlineExceeded):
            await call.or_timeout(timedelta(milliseconds=50))
        ctx.set("gave-up", True)
        return (await call).text

    async with sample.start() as runtime:
        handle = send(runtime, bounds, "parent")
        await until(lambda: runtime.inspector.state("sample.v1.Counter", "parent", "gave-up"))
        await promises.settle(runtime, 1)
        assert (await handle.result()).text == '"\\"1\\""'


async def test_nested(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def nests(ctx: Any) -> Any:
        a, b, c, d = await promises.open(ctx, 4)
        return await select(
            left=gather(a, race(b, c)),
            right=gather(a, d).or_timeout(LONG),
        )

    async with sample.start() as runtime:
        handle = send(runtime, nests)
        await promises.settle(runtime, 3, 1)
        assert (await handle.result()).text == '["left", ["1", "3"]]'


async def test_a_deadline_inside_gather_is_a_failure_that_wakes_it(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def nests(ctx: Any) -> Any:
        bounded, other = await promises.open(ctx, 2)
        with pytest.raises(DeadlineExceeded):
            await gather(other, gather(bounded.or_timeout(MOMENT), other))
        return "woken"

    async with sample.start() as runtime:
        assert await play(runtime, nests) == "woken"


async def test_a_tie_is_decided_the_same_way_on_a_replay(sample: Sample, promises: Promises) -> None:
    """A call and a combination of it alone finish with the same notification: the first named wins, before and after a replay."""
    winners: list[str] = []

    @sample.script
    async def ties(ctx: Any) -> Any:
        (promise,) = await promises.open(ctx, 1)
        alone, first = gather(promise), race(promise)
        chosen = select(plain=promise, gathered=alone, raced=first)
        turned = select(raced=first, gathered=alone, plain=promise)
        names = [(await chosen)[0], (await turned)[0]]
        winners.append(" ".join(names))
        await ctx.sleep(MOMENT)
        if ctx.attempt == 1:
            raise RuntimeError("once more, from the start")
        return names

    async with sample.start() as runtime:
        handle = send(runtime, ties)
        await promises.settle(runtime, 1)
        assert (await handle.result()).text == '["plain", "raced"]'
        assert set(winners) == {"plain raced"}


async def test_a_race_replays_with_its_first_winner(sample: Sample, promises: Promises) -> None:
    """By the time of the replay everything has arrived."""
    attempts: list[int] = []

    @sample.script
    async def races(ctx: Any) -> Any:
        first, second = await promises.open(ctx, 2)
        name, _ = await select(first=first, second=second)
        await ctx.run("note", lambda: None)
        await gather(first, second)
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise RuntimeError("again")
        return [name, await race(first, second)]

    async with sample.start() as runtime:
        handle = send(runtime, races)
        await promises.settle(runtime, 2, 1)
        assert (await handle.result()).text == '["second", "2"]'
        assert 3 in attempts


async def test_calls_after_a_combinator_follow_its_winner_on_a_restart(sample: Sample, promises: Promises) -> None:
    @sample.script
    async def branches(ctx: Any) -> Any:
        a, b, end = await promises.open(ctx, 3)
        name, _ = await select(a=a, b=b)
        reply = await EchoClient(ctx).call(Text(text=f"after {name}"))
        await end
        return reply.text

    async with sample.start() as runtime:
        handle = send(runtime, branches)
        id = await handle.invocation_id()
        await promises.settle(runtime, 2)
        while "call sample.v1.Echo/Call" not in await journal(runtime, handle):
            await asyncio.sleep(0.002)
        await promises.settle(runtime, 1)
    async with sample.start() as runtime:
        await promises.settle(runtime, 3)
        assert (await runtime.invocation(id).result()).text == '"after b"'


async def test_a_stop_between_a_result_and_its_await_loses_nothing(sample: Sample, promises: Promises) -> None:
    """Everything has arrived and the handler was told, when it has to leave memory in the same turn of the loop."""

    @sample.script
    async def gathers(ctx: Any) -> Any:
        a, b, c = await promises.open(ctx, 3)
        return list(await gather(a, race(b, gather(c))))

    async with sample.start() as runtime:
        handle = send(runtime, gathers)
        await until(lambda: promises.ids)
        await reached(handle, "running", "suspended")
        settling = [asyncio.create_task(promises.settle(runtime, number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        await runtime.stop()
        await asyncio.gather(*settling, return_exceptions=True)
    async with sample.start() as runtime:
        assert (await runtime.invocation(await handle.invocation_id()).result()).text == '["1", "2"]'


@pytest.mark.parametrize("combine", [gather, race, as_completed], ids=lambda function: function.__name__)
async def test_combinators_refuse_what_is_no_durable_future(sample: Sample, combine: Any) -> None:
    async def coroutine() -> None: ...

    @sample.script
    async def misuses(ctx: Any) -> Any:
        foreign = coroutine()
        try:
            combined = combine(ctx.sleep(MOMENT), foreign)
            if combine is as_completed:
                async for _ in combined:
                    pass
        except TypeError as error:
            return str(error)
        finally:
            foreign.close()

    async with sample.start() as runtime:
        assert "takes a handler's durable futures (calls, sleeps, runs, awakeables), not a coroutine" in await play(runtime, misuses)


@pytest.mark.parametrize("combine", [race, select], ids=lambda function: function.__name__)
async def test_the_first_of_nothing_is_refused(sample: Sample, combine: Any) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        with pytest.raises(ValueError, match="at least one") as caught:
            combine()
        return str(caught.value)

    async with sample.start() as runtime:
        await play(runtime, misuses)


@pytest.mark.parametrize("wrong", [5, 0.5, "1s", None], ids=repr)
async def test_sleep_and_or_timeout_take_timedeltas(sample: Sample, wrong: Any) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        with pytest.raises(TypeError, match=r"datetime\.timedelta"):
            ctx.sleep(wrong)
        with pytest.raises(TypeError, match=r"datetime\.timedelta"):
            ctx.run("effect", lambda: 1).or_timeout(wrong)
        return "refused"

    async with sample.start() as runtime:
        assert await play(runtime, misuses) == "refused"


async def test_sleeps_of_any_length(sample: Sample) -> None:
    @sample.script
    async def naps(ctx: Any) -> Any:
        await ctx.sleep(timedelta(0))
        await ctx.sleep(timedelta(seconds=-5))
        await ctx.sleep(timedelta(microseconds=1))
        name, _ = await select(for_ever=ctx.sleep(timedelta.max), moment=ctx.sleep(MOMENT))
        return name

    async with sample.start() as runtime:
        handle = send(runtime, naps)
        assert (await handle.result()).text == '"moment"'
        assert (await journal(runtime, handle)).count("sleep") == 5


# --- what a handler leaves behind


async def test_unawaited_sleeps_and_runs_are_dropped_with_a_warning(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    started: list[str] = []

    @sample.script
    async def leaves(ctx: Any) -> str:
        ctx.sleep(LONG)
        ctx.run("forgotten", lambda: started.append("forgotten"))
        gather(ctx.run("gathered", lambda: started.append("gathered")), ctx.sleep(LONG))
        return "left"

    async with sample.start() as runtime:
        handle = send(runtime, leaves)
        assert (await handle.result()).text == '"left"'
        assert (await described(runtime, handle))["completion_result"] == "success"
    warnings = [record.getMessage() for record in caplog.records if "without awaiting" in record.getMessage()]
    assert [sum(what in warning for warning in warnings) for what in ("run 'forgotten'", "run 'gathered'", "awaiting sleep")] == [1, 1, 2]
    assert all("test_futures.py:" in warning for warning in warnings)


async def test_what_was_awaited_is_not_warned_about(sample: Sample, promises: Promises, caplog: pytest.LogCaptureFixture) -> None:
    @sample.script
    async def tidy(ctx: Any) -> Any:
        await ctx.run("done", lambda: 1).or_timeout(LONG)
        await race(ctx.run("quick", lambda: 1), ctx.sleep(LONG))
        async for future in as_completed(ctx.sleep(LONG), ctx.run("first", lambda: 1)):
            await future
            break
        return "tidy"

    async with sample.start() as runtime:
        assert await play(runtime, tidy) == "tidy"
    assert not [record for record in caplog.records if "without awaiting" in record.getMessage()]


async def test_unawaited_calls_run_to_their_end(sample: Sample) -> None:
    @sample.script
    async def callee(ctx: Any) -> None:
        await ctx.sleep(MOMENT)
        await CounterClient(ctx).add(AddRequest(name="k", amount=1))

    @sample.script
    async def leaves(ctx: Any) -> str:
        begin(ctx, callee)
        begin(ctx, callee, "key")
        return "left"

    async with sample.start() as runtime:
        assert await play(runtime, leaves) == "left"
        while (await CounterClient(runtime).get(CounterKey(name="k"))).value < 2:
            pass


async def test_timers_of_what_is_completed_do_not_stay_until_they_are_due(sample: Sample) -> None:
    @sample.script
    async def bounded(ctx: Any) -> str:
        value: str = await ctx.run("done", lambda: "done").or_timeout(LONG)
        return value

    @sample.script
    async def waiting(ctx: Any) -> str:
        await ctx.awakeable(str).or_timeout(3 * MOMENT)
        return "never"

    async with sample.start() as runtime:
        for _ in range(30):
            delayed = EchoClient(runtime).call.delayed(Text(), delay=LONG)
            await delayed.kill()
        due = send(runtime, waiting)
        for _ in range(40):
            await asyncio.gather(*(play(runtime, bounded) for _ in range(50)))
        assert len(runtime._machinery.state.timers) < 1000
        with pytest.raises(TerminalError, match="not finished within"):  # what is due is due all the same
            await due.result()
