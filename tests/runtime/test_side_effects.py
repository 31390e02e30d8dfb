"""Side effects: what is stored is what comes back; failures are tried again under a durable policy."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import functools
import threading
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sample.v1.sample_pb2 import Number, Text

from restate_runtime import Code, RetryPolicy, TerminalError, gather, race

from .services import LONG, MOMENT, Sample, described, journal, play, reached, send, until

pytestmark = pytest.mark.rule("R12")

QUICK = timedelta(milliseconds=1)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Seat:
    row: int
    taken: bool = False


class Place(msgspec.Struct):
    name: str
    at: datetime


class Upper:
    """A Serde."""

    name = "upper"

    def serialize(self, value: Any) -> bytes:
        return str(value).upper().encode()

    def deserialize(self, data: bytes) -> Any:
        return data.decode()


class Plain:
    """A class that nothing encodes."""


NOW = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
ID = uuid.UUID(int=7)


# --- results


def seat() -> Seat:
    return Seat(4)


def pair() -> tuple[int, str]:
    return (1, "a")


def color() -> Color:
    return Color.RED


def places() -> list[Place]:
    return [Place("here", NOW)]


def maybe() -> int | None:
    return None


def seats() -> dict[int, Seat]:
    return {1: Seat(1)}


def tags() -> set[str]:
    return {"a"}


def raw() -> bytes:
    return b"\x00\xff"


async def asynchronous() -> Seat:
    return Seat(5)


def later() -> Awaitable[Seat]:
    return asynchronous()


class Callable:
    def __call__(self) -> Seat:
        return Seat(6)

    def method(self) -> Seat:
        return Seat(7)


RESULTS: dict[str, tuple[Any, Any, Any]] = {
    "nothing": (lambda: None, None, None),
    "bool": (lambda: True, None, True),
    "int": (lambda: -(2**53) - 1, None, -(2**53) - 1),
    "int of any size": (lambda: 2**200, None, 2**200),
    "float": (lambda: 1.0, None, 1.0),
    "str": (lambda: "ä\x00", None, "ä\x00"),
    "list": (lambda: [1, [None, {"a": 1.5}]], None, [1, [None, {"a": 1.5}]]),
    "message": (lambda: Text(text="t"), None, Text(text="t")),
    "annotated dataclass": (seat, None, Seat(4)),
    "annotated tuple": (pair, None, (1, "a")),
    "annotated enum": (color, None, Color.RED),
    "annotated structs": (places, None, [Place("here", NOW)]),
    "annotated optional": (maybe, None, None),
    "annotated dict": (seats, None, {1: Seat(1)}),
    "annotated set": (tags, None, {"a"}),
    "annotated bytes": (raw, None, b"\x00\xff"),
    "async": (asynchronous, None, Seat(5)),
    "returns an awaitable": (later, None, Seat(5)),
    "object that is called": (Callable(), None, Seat(6)),
    "method": (Callable().method, None, Seat(7)),
    "partial": (functools.partial(seat), None, Seat(4)),
    "partial of async": (functools.partial(asynchronous), None, Seat(5)),
    "typed tuple": (lambda: (1, 2), tuple[int, ...], (1, 2)),
    "typed datetime": (lambda: NOW, datetime, NOW),
    "typed uuid": (lambda: ID, uuid.UUID, ID),
    "typed decimal": (lambda: Decimal("1.10"), Decimal, Decimal("1.10")),
    "typed float of an int": (lambda: 1, float, 1.0),
    "typed message": (lambda: Number(value=3), Number, Number(value=3)),
    "serde": (lambda: "loud", Upper(), "LOUD"),
    "serde of a message": (lambda: Text(text="loud"), Upper(), 'TEXT: "LOUD"\n'),
}


@pytest.mark.parametrize(("action", "type_", "expected"), list(RESULTS.values()), ids=list(RESULTS))
async def test_the_result_is_the_decoded_one_at_every_attempt(sample: Sample, action: Any, type_: Any, expected: Any) -> None:
    seen: list[Any] = []

    @sample.script
    async def runs(ctx: Any) -> None:
        seen.append(await ctx.run("effect", action, type=type_))
        if ctx.attempt == 1:
            raise RuntimeError("again, from the journal")

    async with sample.start() as runtime:
        await play(runtime, runs)
    assert len(seen) >= 2
    assert all(value == expected and type(value) is type(expected) for value in seen), seen


async def test_the_first_execution_sees_the_stored_value_too(sample: Sample) -> None:
    mine = [1, [2]]

    @sample.script
    async def runs(ctx: Any) -> Any:
        got = await ctx.run("effect", lambda: mine)
        mine[0] = 99
        return [got is mine, await ctx.run("effect", lambda: 1), got]

    async with sample.start() as runtime:
        assert await play(runtime, runs) == [False, 1, [1, [2]]]


REFUSED: dict[str, tuple[Any, Any]] = {
    "tuple": (lambda: (1, 2), None),
    "nested tuple": (lambda: [(1, 2)], None),
    "set": (lambda: {1}, None),
    "bytes": (lambda: b"a", None),
    "enum": (lambda: Color.RED, None),
    "int enum": (lambda: Level.HIGH, None),
    "dataclass": (lambda: Seat(1), None),
    "datetime": (lambda: NOW, None),
    "keys that are no strings": (lambda: {1: "a"}, None),
    "class of one's own": (lambda: Plain(), None),
    "function": (lambda: test_the_first_execution_sees_the_stored_value_too, None),
    "nan": (lambda: float("nan"), None),
    "infinity in a list": (lambda: [1.0, float("-inf")], None),
    "list of messages": (lambda: [Text()], None),
    "half a surrogate pair": (lambda: "\ud800", None),
    "another type than given": (lambda: "a", int),
    "another message than given": (lambda: Text(text="a"), Number),
    "a type that nothing restores": (lambda: Plain(), Plain),
    "no Serde's value": (lambda: object(), type("Broken", (Upper,), {"serialize": lambda self, value: 1 / 0})()),
    "a Serde that gives no bytes": (lambda: "a", type("Broken", (Upper,), {"serialize": lambda self, value: value})()),
    "a Serde that cannot read": (lambda: "a", type("Broken", (Upper,), {"deserialize": lambda self, data: 1 / 0})()),
}


@pytest.mark.parametrize(("action", "type_"), list(REFUSED.values()), ids=list(REFUSED))
async def test_what_cannot_be_restored_is_refused_once(sample: Sample, action: Any, type_: Any) -> None:
    executions: list[int] = []

    def counted() -> Any:
        executions.append(1)
        return action()

    @sample.script
    async def runs(ctx: Any) -> Any:
        try:
            await ctx.run("the-effect", counted, type=type_)
        except TerminalError as error:
            return [error.code.name, error.message]

    async with sample.start() as runtime:
        code, message = await play(runtime, runs)
        assert code == "INTERNAL"
        assert "side effect 'the-effect' cannot be restored" in message
    assert len(executions) == 1


MISUSES: dict[str, Any] = {
    "a coroutine": lambda ctx: ctx.run("effect", asynchronous()),
    "no callable": lambda ctx: ctx.run("effect", 5),
    "no name": lambda ctx: ctx.run(asynchronous, "effect"),
    "a name with half a surrogate pair": lambda ctx: ctx.run("\ud800", asynchronous),
    "no policy": lambda ctx: ctx.run("effect", asynchronous, retry=3),
}


@pytest.mark.parametrize("misuse", list(MISUSES.values()), ids=list(MISUSES))
async def test_misuse_is_refused_before_anything_is_recorded(sample: Sample, misuse: Any) -> None:
    @sample.script
    async def misuses(ctx: Any) -> str:
        with pytest.raises(TypeError) as caught:
            misuse(ctx)
        return str(caught.value)

    async with sample.start() as runtime:
        handle = send(runtime, misuses)
        assert "side effect" in (await handle.result()).text
        assert await journal(runtime, handle) == ["input", "return"]


# --- where it runs


async def test_a_sync_action_runs_in_a_daemon_thread_with_the_handlers_context(sample: Sample) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    @sample.script
    async def runs(ctx: Any) -> Any:
        tenant.set("mine")

        def sync() -> list[Any]:
            thread = threading.current_thread()
            return [tenant.get(), thread.daemon, thread is threading.main_thread()]

        async def asynchronously() -> list[Any]:
            return [tenant.get(), threading.current_thread() is threading.main_thread()]

        return [
            await ctx.run("sync", sync),
            await ctx.run("async", asynchronously),
            await ctx.run("lambda", lambda: asynchronously()),
            tenant.get(),
        ]

    async with sample.start() as runtime:
        assert await play(runtime, runs) == [["mine", True, False], ["mine", True], ["mine", True], "mine"]


async def test_sync_actions_run_side_by_side_in_a_bounded_pool(sample: Sample) -> None:
    together = threading.Barrier(8)

    @sample.script
    async def runs(ctx: Any) -> Any:
        meeting = [ctx.run(f"{number}", lambda: together.wait() >= 0) for number in range(8)]
        many = [ctx.run("name", lambda: threading.current_thread().name) for _ in range(100)]
        await gather(*meeting)
        return len(set(await gather(*many)))

    async with sample.start() as runtime:
        assert await play(runtime, runs) <= 32


# --- failures


class Flaky:
    """Fails a number of times."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.executions = 0
        self._failures = failures
        self._error = error or ValueError("not yet")

    def __call__(self) -> int:
        self.executions += 1
        if self.executions <= self._failures:
            raise self._error
        return self.executions

    async def asynchronously(self) -> int:
        return self()


class OwnBase(BaseException):
    """As pytest and trio have them."""


ERRORS = [
    ValueError("plain"),
    asyncio.CancelledError(),
    SystemExit(2),
    OwnBase("own"),
    TimeoutError(),
    StopIteration(1),
    ExceptionGroup("several", [ValueError()]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_any_exception_is_tried_again(sample: Sample, error: BaseException, sync: bool) -> None:
    flaky = Flaky(2, error)

    @sample.script
    async def runs(ctx: Any) -> Any:
        return await ctx.run("flaky", flaky if sync else flaky.asynchronously, retry=RetryPolicy(initial_interval=QUICK))

    async with sample.start() as runtime:
        assert await play(runtime, runs) == 3
        assert (await play(runtime, runs)) == 4


async def test_a_terminal_error_is_the_recorded_result_at_once(sample: Sample) -> None:
    flaky = Flaky(99, TerminalError("declined", Code.PERMISSION_DENIED))

    @sample.script
    async def runs(ctx: Any) -> Any:
        with pytest.raises(TerminalError) as caught:
            await ctx.run("pay", flaky)
        await ctx.sleep(MOMENT)
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return [caught.value.message, caught.value.code.name]

    async with sample.start() as runtime:
        handle = send(runtime, runs)
        assert (await handle.result()).text == '["declined", "PERMISSION_DENIED"]'
        assert (await described(runtime, handle))["journal"][1]["failure"] == "PERMISSION_DENIED: declined"
    assert flaky.executions == 1


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_max_attempts_counts_the_first_execution(sample: Sample, attempts: int) -> None:
    flaky = Flaky(99, ValueError("no luck"))

    @sample.script
    async def runs(ctx: Any) -> Any:
        with pytest.raises(TerminalError) as caught:
            await ctx.run("pay", flaky, retry=RetryPolicy(initial_interval=QUICK, max_attempts=attempts))
        return [caught.value.code.name, caught.value.message]

    async with sample.start() as runtime:
        code, message = await play(runtime, runs)
        assert code == "INTERNAL"
        assert "no luck" in message
        assert "'pay'" in message
    assert flaky.executions == attempts


async def test_max_duration_bounds_the_executions(sample: Sample) -> None:
    flaky = Flaky(10**9)

    @sample.script
    async def runs(ctx: Any) -> Any:
        policy = RetryPolicy(initial_interval=QUICK, max_interval=QUICK, max_duration=timedelta(milliseconds=50))
        with pytest.raises(TerminalError, match="not yet"):
            await ctx.run("pay", flaky, retry=policy)
        return "spent"

    async with sample.start() as runtime:
        assert await play(runtime, runs) == "spent"
    assert flaky.executions >= 2


async def test_no_execution_begins_after_max_duration(sample: Sample) -> None:
    """The second one would begin after the hour that the first wait takes."""
    flaky = Flaky(10**9)

    @sample.script
    async def runs(ctx: Any) -> Any:
        with pytest.raises(TerminalError, match="not yet"):
            await ctx.run("pay", flaky, retry=RetryPolicy(initial_interval=LONG, max_interval=LONG, max_duration=timedelta(minutes=1)))
        return "spent"

    async with sample.start() as runtime:
        assert await play(runtime, runs) == "spent"
    assert flaky.executions == 1


def test_waits_grow_to_the_longest() -> None:
    default = RetryPolicy()
    assert [default.delay_ms(failures, 0) for failures in (1, 2, 3, 9, 10_000)] == [50, 100, 200, 10_000, 10_000]
    assert RetryPolicy(factor=1).delay_ms(5000, 0) == 50
    assert RetryPolicy(factor=1000).delay_ms(5000, 0) == 10_000
    assert RetryPolicy(initial_interval=timedelta(0), factor=1000).delay_ms(5000, 0) == 0
    assert RetryPolicy(max_attempts=3).delay_ms(2, 0) == 100
    assert RetryPolicy(max_attempts=3).delay_ms(3, 0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_interval": timedelta(-1)},
        {"max_interval": timedelta(-1)},
        {"factor": 0.5},
        {"max_attempts": 0},
        {"on_exhausted": "give up"},
    ],
    ids=str,
)
def test_policies_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RetryPolicy(**wrong)


async def test_attempts_are_durable_across_a_restart(sample: Sample) -> None:
    flaky = Flaky(99)
    slowly = RetryPolicy(initial_interval=timedelta(milliseconds=300), factor=1, max_attempts=3)

    @sample.script
    async def runs(ctx: Any) -> Any:
        with pytest.raises(TerminalError, match="failed 3 times"):
            await ctx.run("pay", flaky, retry=slowly)
        return ctx.attempt

    async with sample.start() as runtime:
        handle = send(runtime, runs)
        await until(lambda: flaky.executions == 1)
    async with sample.start() as runtime:
        assert (await runtime.invocation(await handle.invocation_id()).result()).text == "1"
    assert flaky.executions == 3


async def test_the_wait_for_the_next_execution_is_durable_across_a_restart(sample: Sample) -> None:
    flaky = Flaky(1)

    @sample.script
    async def runs(ctx: Any) -> Any:
        return await ctx.run("pay", flaky, retry=RetryPolicy(initial_interval=LONG, max_interval=LONG))

    async with sample.start() as runtime:
        handle = send(runtime, runs)
        await until(lambda: flaky.executions == 1)
    async with sample.start() as runtime:
        again = runtime.invocation(await handle.invocation_id())
        await reached(again, "running", "suspended")
        await asyncio.sleep(0.05)
        assert flaky.executions == 1


async def test_one_fails_and_the_other_goes_on(sample: Sample) -> None:
    flaky, slow = Flaky(3), threading.Event()

    @sample.script
    async def runs(ctx: Any) -> Any:
        other = ctx.run("slow", lambda: slow.wait())
        first = await race(other, ctx.run("flaky", flaky, retry=RetryPolicy(initial_interval=QUICK)))
        slow.set()
        return [first, await other]

    async with sample.start() as runtime:
        assert await play(runtime, runs) == [4, True]


async def test_a_result_is_recorded_once_and_a_replay_does_not_execute(sample: Sample) -> None:
    executions: list[int] = []

    def count() -> int:
        executions.append(1)
        return len(executions)

    @sample.script
    async def runs(ctx: Any) -> Any:
        results = [await ctx.run("count", count) for _ in range(3)]
        await ctx.sleep(MOMENT)
        if ctx.attempt < 3:
            raise RuntimeError("again")
        return results

    async with sample.start() as runtime:
        assert await play(runtime, runs) == [1, 2, 3]
    assert len(executions) == 3


async def test_an_action_without_a_result_runs_again_after_a_restart(sample: Sample) -> None:
    began, release = threading.Event(), threading.Event()
    executions: list[int] = []

    @sample.script
    async def runs(ctx: Any) -> Any:
        def effect() -> int:
            executions.append(1)
            began.set()
            release.wait(20)
            return len(executions)

        return await ctx.run("effect", effect)

    async with sample.start(shutdown_timeout=timedelta(milliseconds=20)) as runtime:
        handle = send(runtime, runs)
        await until(began.is_set)
    release.set()
    async with sample.start() as runtime:
        assert (await runtime.invocation(await handle.invocation_id()).result()).text == "2"
