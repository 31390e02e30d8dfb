"""Private services: closed at every ingress, open to services (R36)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import Http
from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardBase, BoardClient, CartBase, CartClient
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Number, Text
from sample.v1.sample_restate import CounterBase, CounterClient, EchoBase, EchoClient, EchoSyncClient

from dev.restate.services_pb2 import InvokeRequest
from dev.restate.services_restate import IngressClient
from restate_runtime import App, Code, KeyedContext, RuntimeFault, TerminalError, UnkeyedContext, connect, connect_sync

pytestmark = pytest.mark.rule("R36")

COUNTER, ECHO, CART, BOARD = "sample.v1.Counter", "sample.v1.Echo", "sample.v1.Cart", "sample.v1.Board"
ONE = AddRequest(name="k", amount=1)
BODY = {"name": "k", "amount": 1}


class Counter(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text()


class Echo(EchoBase):
    """Calls the counter in every form that a handler has."""

    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        client = CounterClient(ctx)
        await client.add(ONE)
        await client.add.in_background(ONE).result()
        await ctx.method(f"{COUNTER}/Add")(ONE.SerializeToString())
        return Text(text=str((await client.add(ONE, idempotency_key="once")).value))


class Cart(CartBase):
    async def add(self, ctx: Any, request: Item) -> Items:
        return await CartClient(ctx).sleepy(Item(user="other", name=request.name))

    async def turn(self, ctx: Any, request: Item) -> Items:
        return Items()

    async def show(self, ctx: Any, request: User) -> Items:
        return Items()

    async def look(self, ctx: Any, request: Item) -> Items:
        return Items()

    async def sleepy(self, ctx: Any, request: Item) -> Items:
        return Items(names=[request.name])


class Board(BoardBase):
    async def write(self, ctx: Any, request: Item) -> None:
        return None

    async def read(self, ctx: Any) -> Items:
        return Items()


class Hosted:
    def __init__(self, runtime: Any, session: aiohttp.ClientSession) -> None:
        self.runtime = runtime
        self.http = Http(session, runtime.ingress_url)
        self.admin = Http(session, runtime.admin_url)

    async def services(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in (await self.admin.get("/services")).json}


@asynccontextmanager
async def hosting(tmp_path: Path, options: Mapping[str, Any], private: Any = ()) -> AsyncIterator[Hosted]:
    app = App(Counter(), Echo(), Cart(), Board(), private=private)
    ports = {"ingress": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    async with app.start(data_dir=tmp_path / "data", **ports, **options) as runtime, aiohttp.ClientSession() as session:
        yield Hosted(runtime, session)


async def check_closed(hosted: Hosted) -> None:
    """Nothing outside reaches the counter."""
    path = f"/{COUNTER}/Add"
    for there, body in (
        (path, BODY),
        (path + "/send", BODY),
        (path + "/send?delay=1h", BODY),
        (path + "/event", "x"),
        (f"/restate/call/{COUNTER}/k/Add", BODY),
        (f"/restate/send/{COUNTER}/k/Add", BODY),
        (path, "no JSON"),  # it is closed to everybody, whatever they send
        ("/dev.restate.Ingress/Invoke", {"service": COUNTER, "method": "Add", "argument": BODY}),
    ):
        reply = await hosted.http.post(there, body)
        assert reply.error == (403, "permission_denied", f"{COUNTER}/Add is private: only services can call it"), there
    bytes_ = ONE.SerializeToString()
    async with connect(hosted.runtime.ingress_url) as connection:
        for caller in (hosted.runtime, connection):
            client = CounterClient(caller)
            for attempt in (
                lambda client=client: client.add(ONE),
                lambda client=client: client.add(ONE, idempotency_key="once"),
                lambda client=client: client.add.in_background(ONE),
                lambda caller=caller: caller.method(f"{COUNTER}/Add")(bytes_),
                lambda caller=caller: caller.method(f"{COUNTER}/Add", key="k")(bytes_),
                lambda caller=caller: IngressClient(caller).invoke(InvokeRequest(service=COUNTER, method="Add", pb=bytes_)),
            ):
                with pytest.raises(TerminalError) as caught:
                    await attempt()
                assert caught.value.code is Code.PERMISSION_DENIED


async def total(hosted: Hosted) -> int:
    reply = await hosted.admin.get(f"/services/{COUNTER}/state/k/total")
    return int(reply.json["value_json"]) if reply.status == 200 else 0


@pytest.mark.parametrize("private", [[COUNTER], [Counter], [CounterBase], "instance"], ids=["name", "class", "base", "instance"])
async def test_the_app_closes_a_service(private: Any, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    if private == "instance":
        counter = Counter()
        app = App(counter, Echo(), private=[counter])
        async with app.start(**runtime_options) as runtime:
            with pytest.raises(TerminalError) as caught:
                await CounterClient(runtime).add(ONE)
            assert caught.value.code is Code.PERMISSION_DENIED
        return
    async with hosting(tmp_path, runtime_options, private) as hosted:
        await check_closed(hosted)
        assert await hosted.runtime.method(f"{ECHO}/Call")(b"") == b""
        assert [row["public"] for row in (await hosted.services()).values()] == [True, True, False, True]
        assert hosted.runtime.inspector.invocations(service=COUNTER) == []


async def test_services_reach_it_in_every_form(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options, [COUNTER]) as hosted:
        assert (await EchoClient(hosted.runtime).script(Text())).text == "4"
        assert (await EchoClient(hosted.runtime).script(Text())).text == "4"  # the idempotent one is the first one's
        await check_closed(hosted)
        assert await total(hosted) == 7


async def test_a_sync_connection_is_outside(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options, [ECHO]) as hosted:

        def call() -> Code:
            with connect_sync(hosted.runtime.ingress_url) as connection:
                with pytest.raises(TerminalError) as caught:
                    EchoSyncClient(connection).call(Text())
                return caught.value.code

        assert await asyncio.to_thread(call) is Code.PERMISSION_DENIED


async def test_an_rpc_that_its_contract_closes(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as hosted:
        reply = await hosted.http.post(f"/{CART}/Sleepy", {"user": "u"})
        assert reply.error == (403, "permission_denied", f"{CART}/Sleepy is private: only services can call it")
        assert list((await CartClient(hosted.runtime).add(Item(user="u", name="x"))).names) == ["x"]  # it calls Sleepy
        row = (await hosted.services())[CART]
        assert row["public"]
        assert {method["name"] for method in row["methods"] if not method["public"]} == {"Sleepy"}


async def test_what_is_stored_wins_until_it_is_changed(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as hosted:
        reply = await hosted.admin.request("PATCH", f"/services/{COUNTER}", '{"public": false}')
        assert (reply.status, reply.json["name"], reply.json["public"]) == (200, COUNTER, False)
        await check_closed(hosted)
    async with hosting(tmp_path, runtime_options) as hosted:
        await check_closed(hosted)  # after a restart too
        assert (await hosted.admin.request("PATCH", f"/services/{COUNTER}", '{"public": true}')).json["public"] is True
        assert (await hosted.http.post(f"/{COUNTER}/Add", BODY)).json == {"value": "1"}
    async with hosting(tmp_path, runtime_options, [Counter]) as hosted:  # the App's word does not count any more
        assert (await hosted.http.post(f"/{COUNTER}/Add", BODY)).json == {"value": "2"}
        assert (await hosted.admin.request("PATCH", f"/services/{COUNTER}", '{"public": null}')).json["public"] is False
        await check_closed(hosted)  # now it does
    async with hosting(tmp_path, runtime_options, [Counter]) as hosted:
        await check_closed(hosted)
    async with hosting(tmp_path, runtime_options) as hosted:
        assert (await hosted.http.post(f"/{COUNTER}/Add", BODY)).json == {"value": "3"}


async def test_opening_a_service_leaves_an_rpc_that_is_closed_by_its_own_option(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as hosted:
        for change, show, sleepy in (("true", 200, 403), ("false", 403, 403), ("null", 200, 403)):
            assert (await hosted.admin.request("PATCH", f"/services/{CART}", f'{{"public": {change}}}')).status == 200
            assert (await hosted.http.post(f"/{CART}/Show", {"user": "u"})).status == show
            assert (await hosted.http.post(f"/{CART}/Sleepy", {"user": "u"})).status == sleepy


async def test_two_runtimes_of_one_app_do_not_share_it(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    app = App(Counter(), Board())
    async with app.start(**runtime_options) as first, app.start(**runtime_options) as second:
        await first.set_public(BOARD, False)
        with pytest.raises(TerminalError, match="is private"):
            await BoardClient(first).read()
        await BoardClient(second).read()


@pytest.mark.parametrize(
    ("path", "body", "expected", "words"),
    [
        (f"/services/{COUNTER}", "{", (400, "invalid_argument"), "no change of a service"),
        (f"/services/{COUNTER}", "{}", (400, "invalid_argument"), "`public`"),
        (f"/services/{COUNTER}", '{"public": "no"}', (400, "invalid_argument"), "public"),
        (f"/services/{COUNTER}", '{"public": true, "x": 1}', (400, "invalid_argument"), "`x`"),
        ("/services/sample.v1.Counte", '{"public": true}', (404, "not_found"), f"did you mean '{COUNTER}'"),
    ],
)
async def test_changes_that_are_none(
    path: str, body: str, expected: tuple[int, str], words: str, tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    async with hosting(tmp_path, runtime_options) as hosted:
        status, code, said = (await hosted.admin.request("PATCH", path, body)).error
        assert (status, code) == expected
        assert words in said, said
        assert (await hosted.http.post(f"/{COUNTER}/Add", BODY)).status == 200
        assert (await hosted.admin.request("PUT", f"/services/{COUNTER}", body)).headers["Allow"] == "GET, PATCH"


@pytest.mark.parametrize(
    ("private", "words"),
    [
        (["sample.v1.Conter"], "did you mean 'sample.v1.Counter'"),
        ([Board], "which is no service of this App"),
        ([object()], "which is no service of this App"),
        (COUNTER, f"write private=['{COUNTER}']"),
    ],
)
def test_private_ones_that_the_app_does_not_have(private: Any, words: str) -> None:
    with pytest.raises(RuntimeFault) as caught:
        App(Counter(), private=private)
    assert caught.value.code == "RT0106"
    assert words in caught.value.message


async def test_results_of_invocations_made_before_stay_within_reach(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as hosted:
        handle = CounterClient(hosted.runtime).add.in_background(ONE)
        id = await handle.invocation_id()
        later = (await hosted.http.post(f"/{COUNTER}/Add/send?delay=1h", BODY)).json["invocationId"]
        await hosted.admin.request("PATCH", f"/services/{COUNTER}", json.dumps({"public": False}))
        assert (await hosted.http.get(f"/restate/invocation/{id}/attach")).json == {"value": "1"}
        assert (await hosted.http.get(f"/restate/invocation/{later}/output")).status == 470
