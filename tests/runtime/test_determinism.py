"""What a handler sees is the same on every replay, and its log says everything once."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import gather, race

from .services import MOMENT, Sample, journal, play, send, until

pytestmark = pytest.mark.rule("R10")


async def test_random_and_uuid_are_the_same_at_every_attempt(sample: Sample) -> None:
    seen: dict[str, set[str]] = {}

    @sample.script
    async def draws(ctx: Any) -> Any:
        drawn: list[Any] = [ctx.random.random(), str(ctx.uuid())]
        await ctx.sleep(MOMENT)
        drawn += [ctx.random.randint(0, 10**9), str(ctx.uuid()), ctx.random.sample(range(100), 5)]
        await ctx.sleep(MOMENT)
        drawn += [ctx.random.random(), str(ctx.uuid())]
        seen.setdefault(ctx.invocation_id, set()).add(str(drawn))
        if ctx.attempt < 3:
            raise ValueError("again")
        return drawn

    async with sample.start() as runtime:
        first, second = await play(runtime, draws), await play(runtime, draws)
    assert [len(attempts) for attempts in seen.values()] == [1, 1]
    assert len({str(value) for value in first + second}) == 14
    assert all(uuid.UUID(first[place]).version == 4 for place in (1, 3, 6))


async def test_random_and_uuid_do_not_disturb_each_other(sample: Sample) -> None:
    """A uuid that is added between two random numbers leaves them as they were."""

    @sample.script
    async def draws(ctx: Any) -> Any:
        numbers = [ctx.random.random()]
        if ctx.attempt == 2:
            ctx.uuid()
        numbers.append(ctx.random.random())
        seen.append(numbers)
        if ctx.attempt == 1:
            raise ValueError("again")

    seen: list[list[float]] = []
    async with sample.start() as runtime:
        await play(runtime, draws)
    assert seen[0] == seen[-1]


async def test_now_is_recorded(sample: Sample) -> None:
    seen: set[datetime] = set()

    @sample.script
    async def looks(ctx: Any) -> None:
        seen.add(now := await ctx.now())
        await ctx.sleep(timedelta(milliseconds=20))
        assert await ctx.now() > now
        assert await ctx.run("effect", lambda: 1) == 1
        if ctx.attempt < 3:
            raise ValueError("again")

    before = datetime.now(UTC) - timedelta(milliseconds=1)
    async with sample.start() as runtime:
        handle = send(runtime, looks)
        await handle.result()
        assert await journal(runtime, handle) == ["input", "run 'now'", "sleep", "run 'now'", "run 'effect'", "return"]
    (now,) = seen
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


async def test_the_same_after_a_restart(sample: Sample) -> None:
    seen: list[list[Any]] = []
    promises: list[str] = []

    @sample.script
    async def draws(ctx: Any) -> Any:
        promise = ctx.awakeable(str)
        drawn = [ctx.random.random(), ctx.uuid(), await ctx.now(), promise.id, ctx.invocation_id, ctx.key, dict(ctx.headers)]
        await ctx.run("publish", lambda: promises.append(promise.id))
        await promise
        seen.append(drawn)

    @sample.script
    async def peeks(ctx: Any) -> Any:
        return None

    async with sample.start() as runtime:
        handle = send(runtime, draws, "k", headers={"a": "b"})
        await until(lambda: promises)
        await play(runtime, peeks)
    async with sample.start() as runtime:
        await runtime.resolve_awakeable(promises[0], "go")
        known = runtime.invocation(await handle.invocation_id())
        await known.result()
    assert seen[0][3:] == [promises[0], await handle.invocation_id(), "k", {"a": "b"}]


# --- the log


class Lines(logging.Handler):
    """What the handlers' logger let through."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self.records.append(record)

    def said(self) -> list[str]:
        return [record.getMessage().rsplit(" ", 1)[-1] for record in self.records]


@pytest.fixture
def lines() -> Any:
    handler, logger = Lines(), logging.getLogger("restate_runtime.handler")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


async def test_every_line_is_said_once_whatever_is_replayed(sample: Sample, lines: Lines) -> None:
    @sample.script
    async def speaks(ctx: Any) -> None:
        ctx.logger.info("begun")
        await ctx.sleep(MOMENT)
        ctx.logger.info("slept")
        await ctx.run("effect", lambda: 1)
        ctx.logger.info("ran")
        ctx.logger.info("still")
        ctx.set("name", 1)
        ctx.logger.info("set")
        await ctx.get("name", int)
        ctx.logger.info("got")
        await ctx.now()
        ctx.logger.info("timed")
        await gather(EchoClient(ctx).call(Text()), ctx.run("other", lambda: 1))
        ctx.logger.info("gathered")
        await race(ctx.sleep(MOMENT), ctx.sleep(timedelta(hours=1)))
        ctx.logger.info("raced")
        promise = ctx.awakeable(int)
        ctx.resolve_awakeable(promise.id, 1)
        await promise
        ctx.logger.info("settled")

    async with sample.start() as runtime:
        await play(runtime, speaks, "k")
    assert lines.said() == ["begun", "slept", "ran", "still", "set", "got", "timed", "gathered", "raced", "settled"]


async def test_a_restart_says_nothing_again(sample: Sample, lines: Lines) -> None:
    promises: list[str] = []

    @sample.script
    async def speaks(ctx: Any) -> None:
        ctx.logger.info("begun")
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        ctx.logger.info("published")
        await ctx.sleep(MOMENT)
        ctx.logger.info("waiting")
        await promise
        ctx.logger.info("settled")

    async with sample.start() as runtime:
        handle = send(runtime, speaks, "k")
        await until(lambda: "waiting" in lines.said())
    async with sample.start() as runtime:
        await runtime.resolve_awakeable(promises[0], "go")
        await runtime.invocation(await handle.invocation_id()).result()
    assert lines.said() == ["begun", "published", "waiting", "settled"]


async def test_a_failed_attempt_repeats_only_what_follows_the_journal(sample: Sample, lines: Lines) -> None:
    @sample.script
    async def speaks(ctx: Any) -> None:
        ctx.logger.info("begun")
        await ctx.run("effect", lambda: 1)
        ctx.logger.info("after")
        if ctx.attempt == 1:
            raise ValueError("again")
        ctx.set("name", 1)

    async with sample.start() as runtime:
        await play(runtime, speaks, "k")
    assert lines.said() == ["begun", "after", "after"]


async def test_a_line_carries_who_speaks(sample: Sample, lines: Lines) -> None:
    @sample.script
    async def speaks(ctx: Any) -> str:
        ctx.logger.info("with %s", "arguments", extra={"mine": 1})
        return str(ctx.invocation_id)

    async with sample.start() as runtime:
        id = await play(runtime, speaks, "the-key")
        await play(runtime, speaks)
    keyed, unkeyed = (vars(record) for record in lines.records)
    assert (keyed["service"], keyed["method"], keyed["key"], keyed["invocation_id"]) == ("sample.v1.Counter", "Script", "the-key", id)
    assert (unkeyed["service"], unkeyed["key"], keyed["mine"]) == ("sample.v1.Echo", "", 1)
    assert lines.records[0].getMessage().endswith("with arguments")
    assert "sample.v1.Counter/Script of 'the-key'" in lines.records[0].getMessage()
    assert keyed["filename"] == "test_determinism.py"


async def test_braces_and_percents_of_a_key_do_no_harm(sample: Sample, lines: Lines) -> None:
    @sample.script
    async def speaks(ctx: Any) -> None:
        ctx.logger.info("said %d", 1)
        ctx.logger.info("said")
        assert not ctx.logger.isEnabledFor(logging.DEBUG)

    async with sample.start() as runtime:
        await play(runtime, speaks, "100%s %d {}")
    assert ["100%s %d {}" in record.getMessage() for record in lines.records] == [True, True]
