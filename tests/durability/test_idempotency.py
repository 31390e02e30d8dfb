"""Idempotency keys in all their forms (R22), and empty keys (R23)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.protobuf.message import Message
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from dev.restate.events_pb2 import Event
from restate_runtime import Code, TerminalError
from restate_runtime.engine.idempotency import request_digest

from .harness import Clock, app, invocation, milliseconds, start, until

ONE = AddRequest(name="k", amount=1)


class Script:
    """Counts its executions outside the runtime."""

    def __init__(self) -> None:
        self.executions: list[str] = []
        self.open = asyncio.Event()

    async def __call__(self, ctx: Any, text: str) -> Any:
        if text == "gate":
            await ctx.run("count", lambda: self.executions.append(text))
            await ctx.run("gate", self.open.wait)
            return f"result of {ctx.invocation_id}"
        if text == "fail":
            await ctx.run("count", lambda: self.executions.append(text))
            raise TerminalError("as recorded", Code.OUT_OF_RANGE)
        if text == "caller":
            request = Text(text="gate")
            awaited = EchoClient(ctx).script(request, idempotency_key="same")
            again = EchoClient(ctx).script(request, idempotency_key="same")
            handle = EchoClient(ctx).script.in_background(request, idempotency_key="same")
            results = {(await awaited).text, (await again).text, (await handle.result()).text}
            return " ".join([*results, await handle.invocation_id()])
        if text == "other request":
            try:
                await EchoClient(ctx).call(Text(text="a"), idempotency_key="used")
                await EchoClient(ctx).call(Text(text="b"), idempotency_key="used")
            except TerminalError as error:
                first = error.code.name
            try:
                EchoClient(ctx).call.in_background(Text(text="b"), idempotency_key="used")
            except TerminalError as error:
                return f"{first} {error.code.name}"
        return "unexpected"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.mark.rule("R22")
async def test_a_hundred_at_once_are_one(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = EchoClient(runtime)
        calls = [client.script(Text(text="gate"), idempotency_key="one") for _ in range(50)]
        handles = [client.script.in_background(Text(text="gate"), idempotency_key="one") for _ in range(50)]
        ids = {await handle.invocation_id() for handle in handles}
        script.open.set()
        results = {reply.text for reply in await asyncio.gather(*calls)} | {(await handle.result()).text for handle in handles}
        assert results == {f"result of {id}" for id in ids}
        assert len(ids) == 1
        assert len(runtime.inspector.invocations()) == 1
        assert invocation(runtime, ids.pop())["idempotency_key"] == "one"
    assert script.executions == ["gate"]


@pytest.mark.rule("R22")
@pytest.mark.parametrize("text", ["gate", "fail"])
async def test_the_recorded_result_answers_after_completion_and_after_a_restart(
    text: str, script: Script, tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    script.open.set()

    async def outcome(runtime: Any) -> str:
        try:
            return (await EchoClient(runtime).script(Text(text=text), idempotency_key="one")).text
        except TerminalError as error:
            return str(error)

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        outcomes = {await outcome(runtime), await outcome(runtime)}
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        outcomes.add(await outcome(runtime))
        handle = EchoClient(runtime).script.in_background(Text(text=text), idempotency_key="one")
        assert await handle.status() == "completed"
        assert len(runtime.inspector.invocations()) == 1
    assert len(outcomes) == 1
    assert script.executions == [text]


@pytest.mark.rule("R22")
async def test_a_call_attaches_to_one_that_a_restart_took_up(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(20), **runtime_options}
    async with app(script).start(**options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="gate"), idempotency_key="one").invocation_id()
        await until(lambda: script.executions)
    async with app(script).start(**options) as runtime:
        call = EchoClient(runtime).script(Text(text="gate"), idempotency_key="one")
        script.open.set()
        assert (await call).text == f"result of {id}"
    assert script.executions == ["gate"]


@pytest.mark.rule("R22")
async def test_a_delayed_call_shares_keys_too(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        delayed = client.add.delayed(ONE, delay=milliseconds(20), idempotency_key="one")
        awaited = client.add(ONE, idempotency_key="one")  # the delay is aside: the same request
        assert (await awaited).value == (await delayed.result()).value == 1
        assert (await client.get(CounterKey(name="k"))).value == 1


@pytest.mark.rule("R22")
async def test_handlers_share_keys_with_everybody(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    script.open.set()
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        result, id = (await EchoClient(runtime).script(Text(text="caller"))).text.rsplit(" ", 1)
        assert result == f"result of {id}"
        assert (await EchoClient(runtime).script(Text(text="gate"), idempotency_key="same")).text == result
        assert (await EchoClient(runtime).script(Text(text="caller"))).text == f"{result} {id}"  # after its completion
    assert script.executions == ["gate"]


@pytest.mark.rule("R22")
async def test_handlers_attach_to_one_that_runs(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(20), **runtime_options}
    async with app(script).start(**options) as runtime:
        first = await EchoClient(runtime).script.in_background(Text(text="gate"), idempotency_key="same").invocation_id()
        callers = [await EchoClient(runtime).script.in_background(Text(text="caller")).invocation_id() for _ in range(3)]
    async with app(script).start(**options) as runtime:  # who waits for whom is on disk
        script.open.set()
        for caller in callers:
            assert (await runtime.invocation(caller).result()).text == f"result of {first} {first}"
    assert script.executions == ["gate"]


@pytest.mark.rule("R22")
async def test_another_request_is_refused_and_changes_nothing(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        await client.add(ONE, idempotency_key="one")
        other = AddRequest(name="k", amount=2)
        for attempt in (lambda: client.add(other, idempotency_key="one"), lambda: client.add.in_background(other, idempotency_key="one")):
            with pytest.raises(TerminalError, match="'one' was used with another request") as error:
                await attempt()
            assert error.value.code is Code.ALREADY_EXISTS
            digests = [request_digest(request).hex() for request in (ONE, other)]
            assert error.value.message.endswith(": its digest was {}, this one's is {}".format(*digests))
        assert (await client.get(CounterKey(name="k"))).value == 1
        assert len(runtime.inspector.invocations()) == 2


@pytest.mark.rule("R22")
async def test_another_request_from_a_handler_is_refused(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await EchoClient(runtime).script(Text(text="other request"))).text == "ALREADY_EXISTS ALREADY_EXISTS"


@pytest.mark.rule("R22")
async def test_the_scope_is_service_method_and_key(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        await client.add(ONE, idempotency_key="one")
        assert (await client.add(AddRequest(name="other", amount=7), idempotency_key="one")).value == 7
        assert (await client.get(CounterKey(name="k"), idempotency_key="one")).value == 1
        assert (await EchoClient(runtime).call(Text(text="hi"), idempotency_key="one")).text == "hi"
        assert (await client.add(ONE)).value == 2
        assert (await client.add(ONE, idempotency_key="two")).value == 3


@pytest.mark.rule("R22")
async def test_headers_are_aside(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        await client.add(ONE, idempotency_key="one", headers={"x-trace": "1"})
        assert (await client.add(ONE, idempotency_key="one", headers={"x-trace": "2"})).value == 1


@pytest.mark.rule("R22")
def test_requests_are_compared_as_messages() -> None:
    """Map fields in any order, and fields in any order on the wire, are the same request."""
    names = [f"name{n}" for n in range(40)]

    def event(order: list[str]) -> Message:
        message = Event(ordering_key="k")
        for name in order:
            message.attributes[name] = name
        return message

    assert request_digest(event(names)) == request_digest(event(names[::-1]))
    assert request_digest(event(names)) != request_digest(event(names[1:]))
    backwards = AddRequest.FromString(b"\x10\x05" + b"\x0a\x01k")
    assert request_digest(backwards) == request_digest(AddRequest(name="k", amount=5))


@pytest.mark.rule("R22")
async def test_a_new_execution_after_the_retention(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    hour = timedelta(hours=1)
    options = {"data_dir": tmp_path, "idempotency_retention": hour, **runtime_options}
    async with start(app(), clock, **options) as runtime:
        client = CounterClient(runtime)
        assert (await client.add(ONE, idempotency_key="one")).value == 1
        clock.advance(hour / 2)
        assert (await client.add(ONE, idempotency_key="one")).value == 1
        clock.advance(hour)
        assert (await client.add(ONE, idempotency_key="one")).value == 2
        other = AddRequest(name="k", amount=5)
        clock.advance(hour * 2)
        assert (await client.add(other, idempotency_key="one")).value == 7
    async with start(app(), clock, **options) as runtime:
        clock.advance(hour * 2)
        assert (await CounterClient(runtime).add(ONE, idempotency_key="one")).value == 8


@pytest.mark.rule("R22")
async def test_the_retention_begins_with_the_completion(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with start(app(script), clock, data_dir=tmp_path, idempotency_retention=timedelta(hours=1), **runtime_options) as runtime:
        first = EchoClient(runtime).script(Text(text="gate"), idempotency_key="one")
        clock.advance(timedelta(hours=10))
        second = EchoClient(runtime).script(Text(text="gate"), idempotency_key="one")
        script.open.set()
        assert (await first).text == (await second).text
    assert script.executions == ["gate"]


@pytest.mark.rule("R22")
async def test_retention_for_one_call(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with (
        start(app(), clock, data_dir=tmp_path, ingress="127.0.0.1:0", **runtime_options) as runtime,
        aiohttp.ClientSession(runtime.ingress_url) as session,
    ):

        async def add(key: str, **headers: str) -> int:
            sent = {"idempotency-key": key} | {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.post("/sample.v1.Counter/Add", json={"name": "k", "amount": 1}, headers=sent) as response:
                assert response.status == 200, await response.text()
                return int((await response.json())["value"])

        assert await add("short", idempotency_retention_period="60") == 1
        assert await add("long") == 2
        clock.advance(timedelta(hours=2))
        assert await add("short") == 3
        assert await add("long") == 2


@pytest.mark.rule("R23")
@pytest.mark.parametrize("form", ["awaited", "background", "delayed"])
async def test_an_empty_key_is_refused(form: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        forms: dict[str, Callable[[AddRequest], Awaitable[object]]] = {
            "awaited": client.add,
            "background": client.add.in_background,
            "delayed": lambda request: client.add.delayed(request, delay=milliseconds(1)),
        }
        with pytest.raises(TerminalError, match="key field 'name' is empty") as error:
            await forms[form](AddRequest(amount=1))
        assert error.value.code is Code.INVALID_ARGUMENT
        assert runtime.inspector.invocations() == []


@pytest.mark.rule("R23")
async def test_an_empty_key_is_refused_in_a_handler(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async def script(ctx: Any, text: str) -> Any:
        codes = []
        for form in ("awaited", "background"):
            try:
                if form == "awaited":
                    await CounterClient(ctx).script(KeyedText(text="x"))
                else:
                    CounterClient(ctx).script.in_background(KeyedText(text="x"))
            except TerminalError as error:
                codes.append(error.code.name)
        return " ".join(codes)

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await EchoClient(runtime).script(Text(text="go"))).text == "INVALID_ARGUMENT INVALID_ARGUMENT"
        assert len(runtime.inspector.invocations()) == 1


@pytest.mark.rule("R23")
@pytest.mark.parametrize("key", [" ", "\0", "ä€😀", "a/b'\"c", "k" * 1_000_000])
async def test_any_other_key_is_taken_as_it_is(key: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name=key, amount=2))).value == 2
    async with app().start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name=key))).value == 2
        assert runtime.inspector.state("sample.v1.Counter", key)[0]["service_key"] == key
