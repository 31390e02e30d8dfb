"""Services of an endpoint and of this process call each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from sample.v1.sample_pb2 import AddRequest, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import Code, TerminalError

from ..durability.harness import app, milliseconds
from .conftest import OPTIONS, Endpoint, Foreign

Scripts = dict[str, Any]


@pytest.fixture
def scripts() -> Scripts:
    return {}


@pytest.fixture
async def runtime(endpoint: Endpoint, tmp_path: Path, scripts: Scripts) -> AsyncIterator[Any]:
    async def play(ctx: Any, name: str) -> Any:
        return await scripts[name](ctx)

    async with app(play).start(data_dir=tmp_path / "data", inactivity_timeout=milliseconds(300), **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        yield runtime


def raw(service: str, handler: str, request: Any, key: str | None = None) -> dict[str, Any]:
    return {"service": service, "handler": handler, "request": request.SerializeToString().hex(), "key": key}


async def test_it_calls_services_of_this_process(runtime: Any, foreign: Foreign) -> None:
    reply = await foreign("Greeter/calls_raw", raw("sample.v1.Echo", "Call", Text(text="hello")))
    assert Text.FromString(bytes.fromhex(reply)).text == "hello"
    # The key stands beside the request, and is filled in where the message does not hold it.
    for request in (AddRequest(name="k", amount=2), AddRequest(amount=3)):
        reply = await foreign("Greeter/calls_raw", raw("sample.v1.Counter", "Add", request, "k"))
    assert Number.FromString(bytes.fromhex(reply)).value == 5
    assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 6
    # A singleton has one key for everybody.
    await foreign("Greeter/calls_raw", raw("sample.v1.Ledger", "Append", Text(text="one"), "_"))
    reply = await foreign("Greeter/calls_raw", raw("sample.v1.Ledger", "Lines", Empty(), "_"))
    assert list(LineList.FromString(bytes.fromhex(reply)).lines) == ["one"]
    assert list((await LedgerClient(runtime).lines()).lines) == ["one"]


async def test_a_call_without_a_key_is_the_same_on_a_replay(runtime: Any, foreign: Foreign) -> None:
    """Over HTTP/1.1 every await is one. A singleton needs no key, and a message may hold it."""
    await foreign("Greeter/calls_raw", raw("sample.v1.Ledger", "Append", Text(text="one")))
    assert list((await LedgerClient(runtime).lines()).lines) == ["one"]
    reply = await foreign("Greeter/calls_raw", raw("sample.v1.Counter", "Add", AddRequest(name="k", amount=2)))
    assert Number.FromString(bytes.fromhex(reply)).value == 2
    assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 3


@pytest.mark.parametrize(
    ("service", "method", "key", "message"),
    [
        ("sample.v1.Counter", "Add", None, "the key field 'name' is empty"),
        ("sample.v1.Echo", "Call", "k", "takes no key: the service is UNKEYED"),
        ("sample.v1.Ledger", "Append", "k", "takes no key: the service is SINGLETON"),
        ("Counter", "add", None, "needs a key"),
        ("Greeter", "greet", "k", "takes no key"),
    ],
)
async def test_a_key_that_does_not_fit_fails_the_call(foreign: Foreign, service: str, method: str, key: str | None, message: str) -> None:
    with pytest.raises(TerminalError, match=message) as raised:
        await foreign("Greeter/calls_raw", {"service": service, "handler": method, "request": "", "key": key})
    assert raised.value.code is Code.INVALID_ARGUMENT


async def test_a_key_that_differs_is_refused(foreign: Foreign) -> None:
    with pytest.raises(TerminalError, match="is 'other', the call's key is 'k'") as raised:
        await foreign("Greeter/calls_raw", raw("sample.v1.Counter", "Add", AddRequest(name="other", amount=2), "k"))
    assert raised.value.code is Code.INVALID_ARGUMENT


async def test_codes_survive_the_way_through_an_endpoint(foreign: Foreign, scripts: Scripts) -> None:
    async def fails(ctx: Any) -> None:
        raise TerminalError("sold out", Code.FAILED_PRECONDITION)

    scripts["fails"] = fails
    with pytest.raises(TerminalError, match="sold out") as raised:
        await foreign("Greeter/calls_raw", raw("sample.v1.Echo", "Script", Text(text="fails")))
    assert raised.value.code is Code.FAILED_PRECONDITION


async def test_services_of_this_process_call_it(runtime: Any, scripts: Scripts, endpoint: Endpoint) -> None:
    async def calls(ctx: Any) -> str:
        greeting = json.loads(await ctx.method("Greeter/greet")(b'"you"'))
        one = ctx.method("Counter/add", key="p")(b"1")
        two = ctx.method("Counter/add", key="q")(b"2")
        handle = ctx.method("Counter/add", key="p").in_background(b"3")
        try:
            await ctx.method("Greeter/fails")(b"409")
        except TerminalError as error:
            code = error.code.name
        return json.dumps(
            [
                greeting,
                int(await one),
                int(await two),
                int(await handle.result()),
                int(await ctx.method("Counter/value", key="p")(b"")),
                code,
            ]
        )

    scripts["calls"] = calls
    reply = await EchoClient(runtime).script(Text(text="calls"))
    assert json.loads(reply.text) == ["Hello you!", 1, 2, 4, 4, "ALREADY_EXISTS"]


async def test_cancelling_goes_through_both(runtime: Any, scripts: Scripts, endpoint: Endpoint) -> None:
    async def calls(ctx: Any) -> str:
        try:
            await ctx.method("Greeter/cancelled")(b'"deep"')
        except TerminalError as error:
            return error.code.name
        return "not cancelled"

    scripts["calls"] = calls
    handle = EchoClient(runtime).script.in_background(Text(text="calls"))
    await endpoint.logged("never deep")
    await handle.cancel()
    assert (await handle.result()).text == "CANCELLED"
    await endpoint.logged("compensated deep 409")


async def test_a_service_that_nobody_hosts_yet(runtime: Any, scripts: Scripts, endpoint: Endpoint, foreign: Foreign) -> None:
    """Registering its endpoint lets the call go on."""

    async def calls(ctx: Any) -> str:
        return (await ctx.method("Counter/add", key="later")(b"7")).decode()

    scripts["calls"] = calls
    (row,) = runtime.inspector.deployments()
    await runtime.remove_deployment(row["id"])
    handle = EchoClient(runtime).script.in_background(Text(text="calls"))
    await handle.invocation_id()
    while not [row for row in runtime.inspector.invocations(service="Counter") if row["status"] == "backing-off"]:
        await asyncio.sleep(0.005)
    await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
    assert (await handle.result()).text == "7"


async def test_a_deadlock_through_an_endpoint(runtime: Any, scripts: Scripts, foreign: Foreign) -> None:
    """It is found when the endpoint suspends."""

    async def closes(ctx: Any) -> str:
        return (await ctx.method("Greeter/calls_raw")(json.dumps(again).encode())).decode()

    scripts["closes"] = closes
    again = raw("sample.v1.Counter", "Add", AddRequest(name="d", amount=1), "d")
    handle = CounterClient(runtime).script.in_background(_keyed("d", "closes"))
    with pytest.raises(TerminalError, match="Counter/Add of 'd'") as raised:
        await handle.result()
    assert raised.value.code is Code.FAILED_PRECONDITION


def _keyed(key: str, text: str) -> Any:
    return KeyedText(key=key, text=text)
