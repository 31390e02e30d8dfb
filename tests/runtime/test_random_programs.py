"""Programs drawn at random, with failures on the way: every attempt sees what the attempts before it saw."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import TerminalError, as_completed, gather, race, select

from .services import LONG, Sample, journal, play, send

STEPS = 14
ATTEMPTS = 5


class Program:
    """One handler's program, the same at every attempt, and what each attempt saw."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.traces: list[list[Any]] = []

    async def run(self, ctx: Any) -> Any:
        draw = random.Random(self._seed)
        trace: list[Any] = []
        self.traces.append(trace)
        futures: list[Any] = []
        for step in range(STEPS):
            try:
                trace.append(await self._step(ctx, draw, futures, step))
            except TerminalError as error:  # only a cancellation comes from where no future is asked for its outcome
                trace.append(error.code.name)
            if draw.random() < 0.25 and ctx.attempt == draw.randint(1, ATTEMPTS - 1):
                raise RuntimeError(f"attempt {ctx.attempt} ends after step {step}")
        return trace

    async def _step(self, ctx: Any, draw: random.Random, futures: list[Any], step: int) -> Any:
        some = [draw.choice(futures) for _ in range(draw.randint(1, 4))] if futures else []
        moment = timedelta(milliseconds=draw.randint(0, 8))
        match draw.randint(0, 12 if some else 4):
            case 0:
                futures.append(EchoClient(ctx).call(Text(text=str(step))))
            case 1:
                futures.append(CounterClient(ctx).add(AddRequest(name=draw.choice("ab"), amount=step)))
            case 2:
                futures.append(ctx.sleep(moment))
            case 3:
                futures.append(ctx.run(f"effect {step}", self._effect(draw.choice([None, "no luck"]), step)))
            case 4:
                promise = ctx.awakeable(int)
                ctx.resolve_awakeable(promise.id, draw.choice([step, "no int"]))
                futures.append(promise)
            case 5:
                return await outcome(gather(*some))
            case 6:
                return await outcome(race(*some))
            case 7:
                return await outcome(select(**{f"f{number}": future for number, future in enumerate(some)}))
            case 8:
                return await outcome(race(some[0], ctx.sleep(LONG)).or_timeout(moment))
            case 9:
                nested = gather(race(*some), select(a=some[0], b=race(*some)))
                futures.append(nested)
                return await outcome(select(nested=nested, plain=some[-1]))
            case 10:
                return [await outcome(future) async for future in as_completed(*some)]
            case 11:
                ctx.set(f"state {step % 3}", step)
                return [await ctx.state_keys(), await ctx.get(f"state {draw.randint(0, 2)}", int)]
            case 12:
                return [ctx.random.random(), str(ctx.uuid()), str(await ctx.now())]
        return None

    def _effect(self, failure: str | None, step: int) -> Any:
        def effect() -> int:
            if failure is not None:
                raise TerminalError(failure)
            return random.randint(0, 10**9) + step

        return effect


async def outcome(future: Any) -> str:
    """Result or failure, as text."""
    try:
        return str(await future)
    except TerminalError as error:
        return f"{error.code.name}: {error.message}"


@pytest.mark.rule("R10")
@pytest.mark.rule("R41")
@pytest.mark.parametrize("seed", range(12))
async def test_every_attempt_sees_the_same(sample: Sample, seed: int) -> None:
    program = Program(seed)

    @sample.script
    async def drawn(ctx: Any) -> Any:
        return await program.run(ctx)

    async with sample.start(retry_max_attempts=ATTEMPTS, inactivity_timeout=timedelta(milliseconds=3)) as runtime:
        result = await play(runtime, drawn, "k")
    for trace in program.traces:
        assert [str(seen) for seen in trace] == [str(seen) for seen in result[: len(trace)]]


@pytest.mark.rule("R15")
@pytest.mark.parametrize("seed", range(12))
async def test_every_attempt_is_cancelled_at_the_same_awaits(sample: Sample, seed: int) -> None:
    """Cancelled at any moment, any number of times, with failures and suspensions among them."""
    program = Program(seed)
    draw = random.Random(seed)

    @sample.script
    async def drawn(ctx: Any) -> Any:
        return await program.run(ctx)

    async with sample.start(retry_max_attempts=ATTEMPTS, inactivity_timeout=timedelta(milliseconds=3)) as runtime:
        handle = send(runtime, drawn, "k")
        for _ in range(draw.randint(1, 4)):
            await asyncio.sleep(draw.random() * 0.006)
            await handle.cancel()
        result = json.loads((await handle.result()).text)
        assert (await journal(runtime, handle))[-1] == "return"
    for trace in program.traces:
        assert [str(seen) for seen in trace] == [str(seen) for seen in result[: len(trace)]]
