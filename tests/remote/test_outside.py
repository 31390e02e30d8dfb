"""Services without a .proto, as callers outside and services of this process reach them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import Code, TerminalError, connect, connect_sync

from ..durability.harness import app
from .conftest import OPTIONS, Endpoint

JSON = {"content-type": "application/json"}


@pytest.fixture
async def runtime(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Any]:
    """One with ports, whose own service calls the foreign ones."""

    async def script(ctx: Any, text: str) -> Any:
        add = ctx.method("Counter/add", key=text)
        first = await add(b"1")
        second = await add.in_background(b"2", headers=JSON).result()
        greeting = await ctx.method("Greeter/greet")(b'"Ada"')
        return " ".join(part.decode() for part in (first, second, greeting))

    ports = {"ingress": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    async with app(script).start(data_dir=tmp_path / "data", **ports, **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        yield runtime


async def post(url: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
    given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=json.dumps(body), headers=given) as response:
        return response.status, await response.json(), response.headers


async def patch(runtime: Any, service: str, public: bool | None) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.patch(f"{runtime.admin_url}/services/{service}", json={"public": public}) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.json()


@pytest.mark.rule("R6")
async def test_every_caller_outside(runtime: Any) -> None:
    async with connect(runtime.ingress_url) as connection:
        for caller in (runtime, connection):
            key = type(caller).__name__
            add = caller.method("Counter/add", key=key)
            assert await add(b"2", headers=JSON) == b"2"
            assert await add.in_background(b"3").result() == b"5"
            assert await caller.method("Greeter/greet")(b'"Ada"') == b'"Hello Ada!"'

    def call() -> list[bytes]:
        with connect_sync(runtime.ingress_url) as connection:
            add = connection.method("Counter/add", key="a/ä")
            return [add(b"2"), add.in_background(b"3").result(), connection.method("Greeter/greet")(b'"Ada"')]

    assert await asyncio.to_thread(call) == [b"2", b"5", b'"Hello Ada!"']
    url = runtime.ingress_url
    status, answer, headers = await post(f"{url}/restate/call/Counter/a%2F%C3%A4/add", 1)
    assert (status, answer, headers["content-type"]) == (200, 6, "application/json")
    assert (await post(f"{url}/Greeter/greet", "Ada"))[1] == "Hello Ada!"
    status, answer, _ = await post(f"{url}/restate/send/Counter/a%2F%C3%A4/add", 1, idempotency_key="k")
    assert (status, answer["status"]) == (202, "Accepted")
    again = await post(f"{url}/restate/send/Counter/a%2F%C3%A4/add", 1, idempotency_key="k")
    assert again[1] == {"invocationId": answer["invocationId"], "status": "PreviouslyAccepted"}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/restate/invocation/{answer['invocationId']}/attach") as response:
        assert (await response.json(), response.headers["content-type"]) == (7, "application/json")
    with pytest.raises(TerminalError) as caught:
        await runtime.method("Counter/add", key="a/ä")(b"2", idempotency_key="k")
    assert caught.value.code is Code.ALREADY_EXISTS


@pytest.mark.rule("R6")
async def test_a_service_of_this_process(runtime: Any) -> None:
    assert (await EchoClient(runtime).script(Text(text="k"))).text == '1 3 "Hello Ada!"'


@pytest.mark.rule("R36")
async def test_closing_a_foreign_service(runtime: Any) -> None:
    row = await patch(runtime, "Counter", False)
    assert (row["name"], row["ty"], row["public"]) == ("Counter", "keyed", False)
    assert {item["name"]: item["public"] for item in runtime.inspector.services()}["Counter"] is False
    with pytest.raises(TerminalError) as caught:
        await runtime.method("Counter/add", key="k")(b"1")
    assert caught.value.code is Code.PERMISSION_DENIED
    status, answer, _ = await post(f"{runtime.ingress_url}/restate/call/Counter/k/add", 1)
    assert (status, answer["code"]) == (403, "permission_denied")
    assert (await EchoClient(runtime).script(Text(text="k"))).text == '1 3 "Hello Ada!"'  # services reach it
    assert json.loads(await runtime.method("Greeter/counts")(b'"x"')) == [1, 2, 3, 11]  # those of the endpoint too
    await patch(runtime, "Counter", None)
    assert await runtime.method("Counter/add", key="k")(b"1") == b"4"


@pytest.mark.rule("R35")
async def test_a_foreign_service_takes_no_events(runtime: Any) -> None:
    status, answer, _ = await post(f"{runtime.ingress_url}/Greeter/greet/event", "x")
    assert (status, answer["message"]) == (400, "Greeter/greet takes no events: it has no .proto here")
