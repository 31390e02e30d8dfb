"""The forms and options of calls, handles, methods by name; in and outside handlers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, LineList, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import Code, Runtime, SerdeError, TerminalError, gather, race
from restate_runtime.handler.client import OutgoingCall
from restate_runtime.handler.outside import OutsideCall, finished

from .services import LONG, MOMENT, Sample, begin, described, journal, play, reached, send, until

FORMS: dict[str, Callable[..., Any]] = {
    "awaited": lambda method, request, **options: method(request, **options),
    "background": lambda method, request, **options: method.in_background(request, **options).result(),
    "delayed": lambda method, request, **options: method.delayed(request, MOMENT, **options).result(),
}
form = pytest.mark.parametrize("form", list(FORMS.values()), ids=list(FORMS))


# --- options


@form
@pytest.mark.rule("R2")
async def test_an_idempotency_key_makes_two_calls_one_outside(sample: Sample, form: Callable[..., Any]) -> None:
    async with sample.start() as runtime:
        add = CounterClient(runtime).add
        request = AddRequest(name="k", amount=2)
        assert [(await form(add, request, idempotency_key="once")).value for _ in range(3)] == [2, 2, 2]
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 2


@form
@pytest.mark.rule("R2")
async def test_an_idempotency_key_makes_two_calls_one_inside(sample: Sample, form: Callable[..., Any]) -> None:
    @sample.script
    async def twice(ctx: Any) -> list[int]:
        request = AddRequest(name="k", amount=2)
        return [(await form(CounterClient(ctx).add, request, idempotency_key="once")).value for _ in range(2)]

    async with sample.start() as runtime:
        assert await play(runtime, twice) == [2, 2]
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=2), idempotency_key="once")).value == 2
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 2


@form
@pytest.mark.rule("R2")
async def test_headers_reach_the_handler(sample: Sample, form: Callable[..., Any]) -> None:
    @sample.script
    async def headers(ctx: Any) -> dict[str, str]:
        await ctx.sleep(MOMENT)
        return dict(ctx.headers)

    @sample.script
    async def passes_on(ctx: Any) -> str:
        reply: Text = await form(EchoClient(ctx).script, Text(text="headers"), headers={"tenant": "inner"})
        return reply.text

    async with sample.start() as runtime:
        assert (await form(EchoClient(runtime).script, Text(text="headers"), headers={"tenant": "outer"})).text == '{"tenant": "outer"}'
        assert await play(runtime, passes_on) == '{"tenant": "inner"}'


async def test_headers_cannot_be_changed_by_the_handler(sample: Sample) -> None:
    """A replay in the same process would see the change."""

    @sample.script
    async def writes(ctx: Any) -> Any:
        try:
            ctx.headers["tenant"] = "mine"
        except TypeError:
            return dict(ctx.headers)

    async with sample.start() as runtime:
        assert await play(runtime, writes, headers={"tenant": "theirs"}) == {"tenant": "theirs"}


@pytest.mark.rule("R2")
@pytest.mark.parametrize("bound", [0.01, timedelta(milliseconds=10)], ids=["seconds", "timedelta"])
async def test_a_timeout_bounds_the_wait_and_not_the_invocation(sample: Sample, bound: Any) -> None:
    @sample.script
    async def waits(ctx: Any) -> str:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return str(await promise)

    promises: list[str] = []
    async with sample.start() as runtime:
        with pytest.raises(TimeoutError, match="the invocation goes on"):
            await play(runtime, waits, timeout=bound, idempotency_key="same")
        call = begin(runtime, waits, idempotency_key="same")
        await until(lambda: promises)
        await runtime.resolve_awakeable(promises[0], "went on")
        assert (await call).text == '"went on"'
        assert len(promises) == 1


@pytest.mark.rule("R2")
async def test_a_timeout_of_any_size_and_kind(sample: Sample) -> None:
    async with sample.start() as runtime:
        echo: Any = EchoClient(runtime)
        for timeout in (timedelta.max, math.inf, 10**30, 60):
            assert await echo.call(Text(text="x"), timeout=timeout) == Text(text="x")
            assert await echo.call.in_background(Text(text="x"), timeout=timeout).result(timeout=timeout) == Text(text="x")
        for timeout in ("5", True, b""):
            with pytest.raises(TypeError, match=r"timeout is a datetime.timedelta, or a number of seconds, not a"):
                echo.call(Text(), timeout=timeout)
        with pytest.raises(ValueError, match="not NaN"):
            echo.call(Text(), timeout=math.nan)


async def test_a_timeout_of_a_background_call_and_of_its_result(sample: Sample) -> None:
    @sample.script
    async def sleeps(ctx: Any) -> None:
        await ctx.sleep(LONG)

    async with sample.start() as runtime:
        handle = send(runtime, sleeps, timeout=timedelta(seconds=60))
        assert await handle is handle
        with pytest.raises(TimeoutError, match="the invocation goes on"):
            await handle.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            await handle.result(timeout=timedelta(milliseconds=10))
        assert await handle.status() in ("running", "suspended")


@form
@pytest.mark.rule("R2")
async def test_a_timeout_inside_a_handler_is_refused(sample: Sample, form: Callable[..., Any]) -> None:
    @sample.script
    async def bounds(ctx: Any) -> str:
        try:
            await form(EchoClient(ctx).call, Text(), timeout=1)
        except TypeError as error:
            return str(error)
        return "taken"

    async with sample.start() as runtime:
        assert "or_timeout" in await play(runtime, bounds)


@form
@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    "options",
    [
        {"idempotency_key": ""},
        {"idempotency_key": 7},
        {"idempotency_key": "\ud800"},
        {"headers": {"a": 1}},
        {"headers": {1: "a"}},
        {"headers": {"a": "\ud800"}},
        {"headers": ["a"]},
    ],
    ids=str,
)
async def test_options_of_the_wrong_kind_fail_their_own_call_only(
    sample: Sample, form: Callable[..., Any], options: dict[str, Any]
) -> None:
    @sample.script
    async def inside(ctx: Any) -> str:
        with pytest.raises((TypeError, TerminalError)) as caught:
            await form(EchoClient(ctx).call, Text(), **options)
        return str(caught.value)

    async with sample.start() as runtime:
        with pytest.raises((TypeError, TerminalError), match=r"sample\.v1\.Echo/Call"):
            await form(EchoClient(runtime).call, Text(), **options)
        assert "sample.v1.Echo/Call" in await play(runtime, inside)
        assert (await EchoClient(runtime).call(Text(text="fine"))).text == "fine"
    async with sample.start() as runtime:
        assert (await EchoClient(runtime).call(Text(text="still fine"))).text == "still fine"


@pytest.mark.rule("R45")
async def test_requests_of_another_type_are_refused(sample: Sample) -> None:
    async with sample.start() as runtime:
        with pytest.raises(TypeError, match=r"sample\.v1\.Echo/Call takes a Text, not a Number"):
            EchoClient(runtime).call(Number())  # type: ignore[arg-type]
        # As another message library, or another generated copy, has it.
        other = type("Text", (), {"__module__": "gen.sample.v1"})
        with pytest.raises(TypeError, match=r"takes the Text of sample\.v1\.sample_pb2, not that of gen\.sample\.v1"):
            EchoClient(runtime).call(other())
        with pytest.raises(TypeError, match="takes the request's bytes"):
            runtime.method("sample.v1.Echo/Call")(Text())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="timedelta"):
            EchoClient(runtime).call.delayed(Text(), 5)  # type: ignore[arg-type]
        with pytest.raises(TerminalError, match="negative") as caught:
            EchoClient(runtime).call.delayed(Text(), timedelta(seconds=-1))
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert runtime.inspector.invocations() == []


@pytest.mark.rule("R3")
async def test_empty_is_left_out(sample: Sample) -> None:
    @sample.script
    async def inside(ctx: Any) -> Any:
        ledger: Any = LedgerClient(ctx)
        nothing = await ledger.append(Text(text="inside"))
        return [nothing, list((await ledger.lines()).lines), list((await ledger.lines.in_background().result()).lines)]

    async with sample.start() as runtime:
        assert await play(runtime, inside) == [None, ["inside"], ["inside"]]
        ledger: Any = LedgerClient(runtime)
        assert await ledger.append(Text(text="outside")) is None
        assert await ledger.append.in_background(Text(text="again")).result() is None
        assert list((await ledger.lines.delayed(delay=MOMENT).result()).lines) == ["inside", "outside", "again"]


# --- handles


@pytest.mark.rule("R5")
async def test_a_handle_outside(sample: Sample) -> None:
    async with sample.start() as runtime:
        handle = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=3))
        assert await handle is handle
        assert await handle.invocation_id() == await handle.invocation_id()
        assert [(await handle.result()).value for _ in range(2)] == [3, 3]
        assert await handle.status() == "completed"
        known = runtime.invocation(await handle.invocation_id())
        assert await known.result() == Number(value=3)
        assert await known.status() == "completed"


@pytest.mark.rule("R5")
async def test_a_handle_of_a_delayed_call_is_there_at_once(sample: Sample) -> None:
    async with sample.start() as runtime:
        handle = EchoClient(runtime).call.delayed(Text(text="later"), LONG)
        await handle
        assert await handle.status() == "scheduled"


@pytest.mark.rule("R5")
async def test_a_refused_background_call_fails_at_the_handle_or_at_the_end(sample: Sample) -> None:
    async with sample.start(max_message_size=100) as runtime:
        handle = EchoClient(runtime).call.in_background(Text(text="x" * 200))
        with pytest.raises(TerminalError, match="the limit is 100"):
            await handle
    with pytest.raises(TerminalError, match="the limit is 100"):
        async with sample.start(max_message_size=100) as runtime:
            EchoClient(runtime).call.in_background(Text(text="x" * 200))


@pytest.mark.rule("R5")
async def test_a_failed_invocation_fails_its_handles_result(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        raise TerminalError("sold out", Code.NOT_FOUND)

    @sample.script
    async def attaches(ctx: Any) -> Any:
        handle = send(ctx, fails)
        with pytest.raises(TerminalError) as caught:
            await handle.result()
        return [caught.value.message, caught.value.code.name]

    async with sample.start() as runtime:
        with pytest.raises(TerminalError, match="sold out"):
            await send(runtime, fails).result()
        assert await play(runtime, attaches) == ["sold out", "NOT_FOUND"]


@pytest.mark.rule("R5")
async def test_a_handle_inside_is_journaled(sample: Sample) -> None:
    @sample.script
    async def parent(ctx: Any) -> Any:
        handle = CounterClient(ctx).add.in_background(AddRequest(name="k", amount=3))
        first = await handle.invocation_id()
        await ctx.sleep(MOMENT)
        number = await handle.result()
        again = await ctx.invocation(first).result()
        return [first == await handle.invocation_id(), await handle is handle, number.value, Number.FromString(again).value]

    async with sample.start() as runtime:
        handle = send(runtime, parent)
        assert (await handle.result()).text == "[true, true, 3, 3]"
        entries = await journal(runtime, handle)
        assert entries[1:3] == ["background call sample.v1.Counter/Add of 'k'", "sleep"]
        assert [entry.split()[0] for entry in entries[3:]] == ["attach", "attach", "return"]


@pytest.mark.rule("R5")
@pytest.mark.rule("R10")
async def test_the_result_of_a_handle_inside_is_a_durable_future(sample: Sample) -> None:
    @sample.script
    async def parent(ctx: Any) -> Any:
        add: Any = CounterClient(ctx).add
        first = add.in_background(AddRequest(name="a", amount=1)).result()
        second = add.in_background(AddRequest(name="b", amount=2)).result()
        third = add.delayed(AddRequest(name="c", amount=3), LONG).result()
        both = await gather(first, second)
        winner = await race(third, first)
        with pytest.raises(TerminalError) as caught:
            await third.or_timeout(MOMENT)
        return [[number.value for number in both], winner.value, caught.value.code.name, (await first).value]

    async with sample.start() as runtime:
        assert await play(runtime, parent) == [[1, 2], 1, "DEADLINE_EXCEEDED", 1]


@pytest.mark.rule("R5")
async def test_unknown_and_malformed_ids(sample: Sample) -> None:
    async with sample.start() as runtime, sample_elsewhere(sample) as known:
        for id, code in ((known, Code.NOT_FOUND), ("nonsense", Code.INVALID_ARGUMENT), ("", Code.INVALID_ARGUMENT)):
            with pytest.raises(TerminalError) as caught:
                await runtime.invocation(id).result()
            assert caught.value.code is code
            with pytest.raises(TerminalError) as caught:
                await runtime.invocation(id).status()
            assert caught.value.code is code

        @sample.script
        async def asks(ctx: Any) -> Any:
            codes = []
            for id in (known, "nonsense", ""):
                with pytest.raises(TerminalError) as caught:
                    await ctx.invocation(id).result()
                codes.append(caught.value.code.name)
            return codes

        assert await play(runtime, asks) == ["NOT_FOUND", "INVALID_ARGUMENT", "INVALID_ARGUMENT"]


class sample_elsewhere:  # noqa: N801
    """The id of an invocation of another data directory."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    async def __aenter__(self) -> str:
        async with self._sample.start(data_dir=None) as elsewhere:
            return await EchoClient(elsewhere).call.in_background(Text()).invocation_id()

    async def __aexit__(self, *raised: object) -> None: ...


# --- methods by name


@pytest.mark.rule("R6")
async def test_methods_by_name_outside(sample: Sample) -> None:
    async with sample.start() as runtime:
        add = runtime.method("sample.v1.Counter/Add")
        request = AddRequest(name="k", amount=4).SerializeToString()
        assert Number.FromString(await add(request)).value == 4
        handle = add.in_background(request, idempotency_key="once")
        assert Number.FromString(await handle.result()).value == 8
        assert Number.FromString(await add.delayed(request, MOMENT).result()).value == 12
        assert await runtime.method("sample.v1.Ledger/Append")(Text(text="line").SerializeToString()) == b""
        assert LineList.FromString(await runtime.method("sample.v1.Ledger/Lines")(b"")).lines == ["line"]


@pytest.mark.rule("R6")
async def test_methods_by_name_inside(sample: Sample) -> None:
    @sample.script
    async def by_name(ctx: Any) -> Any:
        add = ctx.method("sample.v1.Counter/Add")
        request = AddRequest(name="k", amount=4).SerializeToString()
        replies = await gather(add(request), add.in_background(request).result())
        await ctx.method("sample.v1.Ledger/Append")(Text(text="line").SerializeToString())
        return [Number.FromString(reply).value for reply in replies]

    async with sample.start() as runtime:
        handle = send(runtime, by_name)
        assert (await handle.result()).text == "[4, 8]"
        assert (await journal(runtime, handle))[1] == "call sample.v1.Counter/Add of 'k'"
        assert list((await LedgerClient(runtime).lines()).lines) == ["line"]


@pytest.mark.rule("R6")
@pytest.mark.parametrize(
    ("name", "payload", "code", "words"),
    [
        ("sample.v1.Conuter/Add", b"", Code.NOT_FOUND, "did you mean 'sample.v1.Counter'"),
        ("sample.v1.Counter/Ad", b"", Code.NOT_FOUND, "did you mean 'Add'"),
        ("sample.v1.Counter/Add", b"", Code.INVALID_ARGUMENT, "the key field 'name' is empty"),
        ("sample.v1.Counter/Add", b"\xff", Code.INVALID_ARGUMENT, "AddRequest"),
        ("sample.v1.Echo/Call", b"\x0a\x01\xff", Code.INVALID_ARGUMENT, "Text"),
    ],
)
async def test_methods_by_name_that_are_refused(sample: Sample, name: str, payload: bytes, code: Code, words: str) -> None:
    @sample.script
    async def inside(ctx: Any) -> Any:
        with pytest.raises(TerminalError) as caught:
            await ctx.method(name)(payload)
        return [caught.value.code.name, caught.value.message]

    async with sample.start() as runtime:
        with pytest.raises(TerminalError) as caught:
            await runtime.method(name)(payload)
        assert caught.value.code is code
        assert words in caught.value.message
        if code is not Code.NOT_FOUND:
            assert await play(runtime, inside) == [code.name, caught.value.message]
            return
        handle = send(runtime, inside)  # it may be hosted later (R19)
        await reached(handle, "backing-off")
        assert words in (await described(runtime, handle))["last_failure"]


@pytest.mark.rule("R6")
@pytest.mark.parametrize("name", ["", "Add", "/", "a/", "/b", "a/b/c"])
async def test_names_of_another_form(sample: Sample, name: str) -> None:
    async with sample.start() as runtime:
        with pytest.raises(ValueError, match="SERVICE/METHOD"):
            runtime.method(name)


@pytest.mark.rule("R5")
async def test_status_while_it_goes_on(sample: Sample) -> None:
    @sample.script
    async def waits(ctx: Any) -> None:
        await ctx.sleep(LONG)

    async with sample.start() as runtime:
        first, second = send(runtime, waits, "k"), send(runtime, waits, "k")
        await reached(first, "running", "suspended")
        assert await second.status() == "inboxed"
        await first.kill()
        with pytest.raises(TerminalError) as caught:
            await first.result()
        assert caught.value.code is Code.ABORTED
        await reached(second, "running", "suspended")


async def test_an_answer_that_is_no_message_of_the_method_says_so(sample: Sample) -> None:
    class Strange:
        def begin_call(self, call: OutgoingCall) -> Any:
            return OutsideCall(finished(b"\xff"), call.decode_response)

    strange: Any = Strange()
    with pytest.raises(SerdeError, match=r"sample.v1.Echo/Call: the response cannot be read: "):
        await EchoClient(strange).call(Text())


# --- who called


async def test_introspection_names_the_caller_of_every_call(sample: Sample) -> None:
    @sample.script
    async def calls(ctx: Any) -> list[str]:
        echo = EchoClient(ctx).call
        await echo(Text(text="awaited"))
        sent, later = echo.in_background(Text()), echo.delayed(Text(), LONG)
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        await promise
        return [await sent.invocation_id(), await later.invocation_id()]

    def callers(runtime: Any) -> dict[str, tuple[Any, ...]]:
        return {
            row["id"]: (row["invoked_by"], row["invoked_by_id"], row["invoked_by_service_name"], row["invoked_by_target"])
            for row in runtime.inspector.invocations()
        }

    promises: list[str] = []
    async with sample.start() as runtime:
        handle = send(runtime, calls, "k")
        await until(lambda: promises)
        id = await handle.invocation_id()
        killed = send(runtime, calls, "other")
        await until(lambda: len(promises) == 2)
        await killed.kill()
        while (await described(runtime, killed))["status"] != "completed":
            await asyncio.sleep(0.002)
        other = await killed.invocation_id()
    async with sample.start() as runtime:
        await runtime.resolve_awakeable(promises[0], "go")
        await runtime.invocation(id).result()
        found = callers(runtime)
        nobody = ("ingress", None, None, None)
        assert (found.pop(id), found.pop(other)) == (nobody, nobody)
        by_key = {
            key: ("service", of, "sample.v1.Counter", f"sample.v1.Counter/Script of '{key}'") for key, of in (("k", id), ("other", other))
        }
        assert sorted(found.values()) == sorted([by_key["k"]] * 3 + [by_key["other"]] * 3)


@pytest.mark.rule("R5")
@pytest.mark.rule("R15")
async def test_a_handle_cancels_inside_and_outside(sample: Sample) -> None:
    @sample.script
    async def waits(ctx: Any) -> None:
        await ctx.sleep(LONG)

    @sample.script
    async def cancels(ctx: Any) -> Any:
        first, second = send(ctx, waits), send(ctx, waits)
        first.cancel()  # recorded when it is made (R1)
        await second.cancel()
        await ctx.invocation(await first.invocation_id()).cancel()
        codes = []
        for handle in (first, second):
            with pytest.raises(TerminalError) as caught:
                await handle.result()
            codes.append(caught.value.code.name)
        return codes

    async with sample.start() as runtime:
        handle = send(runtime, cancels)
        assert (await handle.result()).text == '["CANCELLED", "CANCELLED"]'
        kinds = [entry.split()[0] for entry in await journal(runtime, handle)]
        assert kinds == ["input", "background", "background", "cancel", "cancel", "cancel", "attach", "attach", "return"]
        outside = send(runtime, waits)
        await runtime.invocation(await outside.invocation_id()).cancel()
        with pytest.raises(TerminalError) as caught:
            await outside.result(timeout=10)
        assert caught.value.code is Code.CANCELLED


@pytest.mark.rule("R5")
async def test_what_changes_meanwhile_is_not_asked_inside(sample: Sample) -> None:
    runtimes: list[Runtime] = []

    @sample.script
    async def asks(ctx: Any) -> Any:
        handle = CounterClient(ctx).add.in_background(AddRequest(name="k", amount=1))
        for ask in (handle.status, handle.kill):
            with pytest.raises(RuntimeError, match="outside handlers"):
                await ask()
        with pytest.raises(TypeError, match="or_timeout"):
            handle.result(timeout=1)
        id = await handle.invocation_id()
        await handle.result()

        async def ask_outside() -> str:
            return await runtimes[0].invocation(id).status()

        return await ctx.run("ask", ask_outside)

    async with sample.start() as runtime:
        runtimes.append(runtime)
        assert await play(runtime, asks) == "completed"
