"""Calls through the gateway: the ingress of the contract."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import aiohttp
import pytest
from sample.v1.cart_pb2 import Item
from sample.v1.cart_restate import BoardClient
from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import App, Code, TerminalError, connect
from restate_runtime.cluster.gateway import Gateway, gateway

from ..cluster.hosted import Hosted, hosting
from ..contract.server import Server
from ..ports import free_port
from .conftest import Ask
from .shop import Wall

ADD = "/sample.v1.Counter/Add"
NOT_ASCII = "the header {} is not ASCII, and a Restate cluster takes no other from outside"


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.mark.rule("R32")
async def test_json_and_protobuf_with_the_key_taken_from_the_message(ask: Ask, key: str) -> None:
    first = await ask("POST", ADD, {"name": key, "amount": 2})
    assert (first.status, first.json, first.headers["Content-Type"]) == (200, {"value": "2"}, "application/json")
    assert first.headers["x-restate-id"].startswith("inv_1")
    second = await ask("POST", ADD, AddRequest(name=key, amount=3).SerializeToString(), content_type="application/proto")
    assert (second.status, second.body, second.headers["Content-Type"]) == (200, b"\x08\x05", "application/proto")


@pytest.mark.rule("R32")
async def test_a_background_call_and_its_result(ask: Ask, key: str) -> None:
    sent = await ask("POST", f"{ADD}/send", {"name": key, "amount": 1})
    assert sent.status == 202
    id = sent.json["invocationId"]
    attached = await ask("GET", f"/restate/invocation/{id}/attach")
    assert (attached.status, attached.json, attached.headers["x-restate-method"]) == (200, {"value": "1"}, "sample.v1.Counter/Add")
    assert (await ask("GET", f"/restate/invocation/{id}/output")).json == {"value": "1"}
    assert (await ask("GET", f"/restate/invocation/{id}/status")).json == {"status": "completed"}


@pytest.mark.rule("R7")
async def test_nobody_waits_for_clients_that_went(front: Gateway, connection: Any, key: str) -> None:
    call = CounterClient(connection).script
    request = KeyedText(key=key, text="wait")
    handle = call.in_background(request, idempotency_key=key)
    while not (rows := await front.engine.inspector.state("sample.v1.Counter", key, "awakeable")):
        await asyncio.sleep(0.02)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.1)
        with pytest.raises(TimeoutError):
            await call(request, idempotency_key=key, timeout=0.1)
    while front.engine._tasks:
        await asyncio.sleep(0.02)
    kept, left = (asyncio.ensure_future(handle.result(timeout=timeout)) for timeout in (None, 0.1))
    with pytest.raises(TimeoutError):  # of two that wait for one, one goes
        await left
    await connection.resolve_awakeable(rows[0]["value_json"], "here")
    assert (await kept).text == "here"


@pytest.mark.rule("R32")
async def test_a_delayed_call_has_no_result_yet(ask: Ask, key: str) -> None:
    id = (await ask("POST", f"{ADD}/send?delay=15m", {"name": key})).json["invocationId"]
    answer = await ask("GET", f"/restate/invocation/{id}/output")
    assert answer.status == 470
    assert answer.json["message"] == f"the invocation {id} has no result yet: it is scheduled"


@pytest.mark.rule("R22")
async def test_an_idempotency_key_makes_one_invocation(ask: Ask, key: str) -> None:
    answers = [await ask("POST", ADD, {"name": key, "amount": 1}, idempotency_key=key) for _ in range(2)]
    assert [answer.json for answer in answers] == [{"value": "1"}] * 2
    assert len({answer.headers["x-restate-id"] for answer in answers}) == 1


@pytest.mark.rule("R11")
async def test_a_failure_keeps_code_message_and_source(ask: Ask, connection: Any) -> None:
    answer = await ask("POST", "/sample.v1.Echo/Script", {"text": "too far"})
    assert (answer.status, answer.json) == (400, {"code": "out_of_range", "message": "too far"})
    assert answer.headers["x-restate-error-source"] == "invocation"
    with pytest.raises(TerminalError) as raised:
        await EchoClient(connection).script(Text(text="too far"))
    assert raised.value == TerminalError("too far", Code.OUT_OF_RANGE)
    answer = await ask("POST", "/sample.v1.Echo/Script", {"text": ""})
    assert answer.json == {"code": "out_of_range", "message": ""}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        (ADD, {"name": "k"}, {"idempotency_key": "Bücher"}, 400, NOT_ASCII.format("idempotency-key")),
        (ADD, {"name": "k"}, {"x_name": "Zoë"}, 400, NOT_ASCII.format("x-name")),
        ("/sample.v1.Countr/Add", {}, {}, 404, "there is no service 'sample.v1.Countr'; did you mean 'sample.v1.Counter'?"),
        ("/sample.v1.Counter/Ad", {}, {}, 404, "the service 'sample.v1.Counter' has no method 'Ad'; did you mean 'Add'?"),
        (ADD, {"name": ""}, {}, 400, "sample.v1.Counter/Add: the key field 'name' is empty"),
        (ADD, b"\xff", {"content_type": "application/proto"}, 400, None),
        (ADD, b"", {"content_type": "text/plain"}, 415, None),
        (ADD, {"name": "k"}, {"idempotency_retention_period": "5"}, 501, None),
    ],
)
@pytest.mark.rule("R45")
async def test_what_is_refused(ask: Ask, path: str, body: Any, headers: dict[str, str], status: int, message: str | None) -> None:
    answer = await ask("POST", path, body, **headers)
    assert answer.status == status
    assert message is None or answer.json["message"] == message


@pytest.mark.rule("R36")
async def test_a_private_service_is_refused(front: Gateway, ask: Ask) -> None:
    await front.engine.set_public("sample.v1.Echo", False)
    try:
        answer = await ask("POST", "/sample.v1.Echo/Call", {})
        assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    finally:
        await front.engine.set_public("sample.v1.Echo", True)
    assert (await ask("POST", "/sample.v1.Echo/Call", {"text": "a"})).json == {"text": "a"}


@pytest.mark.rule("R1")
async def test_calls_of_one_key_keep_their_order(connection: Any, key: str) -> None:
    counter = CounterClient(connection)
    found = await asyncio.gather(*(counter.add(AddRequest(name=key, amount=1)) for _ in range(30)))
    assert [number.value for number in found] == list(range(1, 31))


async def test_a_singleton_hides_its_key(connection: Any, ask: Ask) -> None:
    await LedgerClient(connection).append(Text(text="seen"))
    assert "seen" in (await LedgerClient(connection).lines()).lines
    assert (await ask("POST", "/restate/call/sample.v1.Ledger/_/Lines", {})).status == 400


@pytest.mark.rule("R6")
async def test_calls_by_name_in_binary(connection: Any, key: str) -> None:
    add = connection.method("sample.v1.Counter/Add")
    assert await add(AddRequest(name=key, amount=7).SerializeToString()) == b"\x08\x07"


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
async def test_cancel_and_kill(connection: Any, key: str) -> None:
    counter = CounterClient(connection)
    for end, code in (("cancel", Code.CANCELLED), ("kill", Code.ABORTED)):
        handle = counter.script.in_background(KeyedText(key=key))
        waiting = asyncio.ensure_future(handle.result())
        while await handle.status() not in ("running", "suspended"):
            await asyncio.sleep(0.02)
        await getattr(handle, end)()
        with pytest.raises(TerminalError) as raised:
            await waiting
        assert raised.value.code is code
        await getattr(handle, end)()  # nothing more to do


@pytest.mark.rule("R34")
@pytest.mark.parametrize("end", ["cancel", "kill"])
async def test_an_awakeable_of_what_is_completed_cannot_be_settled(front: Gateway, connection: Any, key: str, end: str) -> None:
    handle = CounterClient(connection).script.in_background(KeyedText(key=key))
    while not (rows := await front.engine.inspector.state("sample.v1.Counter", key, "awakeable")):
        await asyncio.sleep(0.02)
    await getattr(handle, end)()
    with pytest.raises(TerminalError):
        await handle.result()
    id = rows[0]["value_json"]
    for settling in (connection.resolve_awakeable(id, "late"), connection.reject_awakeable(id, "late")):
        with pytest.raises(TerminalError, match="belongs to an invocation that is completed") as raised:
            await settling
        assert raised.value.code is Code.NOT_FOUND


async def test_a_result_that_was_asked_for_as_json_at_the_cluster(hosted: Hosted, connection: Any, key: str) -> None:
    """An endpoint answers in the form in which it was asked, and labels everything as protobuf."""
    async with aiohttp.ClientSession(hosted.server.ingress) as session:
        url, headers = "/restate/call/sample.v1.Echo/Call", {"idempotency-key": key, "content-type": "application/json"}
        async with session.post(url, json={"text": "{}"}, headers=headers) as response:
            assert (response.status, await response.json(content_type="application/proto")) == (200, {"text": "{}"})
            id = response.headers["x-restate-id"]
    assert await EchoClient(connection).call(Text(text="{}"), idempotency_key=key) == Text(text="{}")
    assert await connection.invocation(id).result() == Text(text="{}")


@pytest.mark.parametrize(("id", "code"), [("inv_1" + "0" * 33, Code.NOT_FOUND), ("x' or 1=1 --", Code.INVALID_ARGUMENT)])
async def test_ids_that_lead_nowhere(connection: Any, id: str, code: Code) -> None:
    handle = connection.invocation(id)
    for asked in (handle.status, handle.result, handle.cancel, handle.kill):
        with pytest.raises(TerminalError) as raised:
            await asked()
        assert raised.value.code is code


@pytest.mark.rule("R34")
async def test_awakeables(front: Gateway, connection: Any, key: str) -> None:
    handle = CounterClient(connection).script.in_background(KeyedText(key=key))
    while not (rows := await front.engine.inspector.state("sample.v1.Counter", key, "awakeable")):
        await asyncio.sleep(0.02)
    id = rows[0]["value_json"]
    await connection.resolve_awakeable(id, "here")
    assert (await handle.result()).text == "here"
    await connection.resolve_awakeable(id, "here")
    for settle, code in (
        (connection.resolve_awakeable(id, "there"), Code.ALREADY_EXISTS),
        (connection.reject_awakeable(id, "no"), Code.ALREADY_EXISTS),
        (connection.resolve_awakeable("sign_1" + "A" * 38, "x"), Code.NOT_FOUND),
        (connection.resolve_awakeable("prom_1", "x"), Code.NOT_FOUND),
    ):
        with pytest.raises(TerminalError) as raised:
            await settle
        assert raised.value.code is code


async def test_a_service_that_comes_later_is_found(server: Server) -> None:
    async with (
        gateway(server.ingress, server.admin) as front,
        connect(front.ingress_url) as connection,
        hosting(server, App(Wall())),
    ):
        await BoardClient(connection).write(Item(user="ada", name="new"))
        assert (await BoardClient(connection).read()).names == ["new"]


async def test_a_cluster_that_is_away(ask: Ask, hosted: Hosted) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with gateway(gone, gone) as front, connect(front.ingress_url) as connection:
        with pytest.raises(ConnectionError, match=f"no Restate cluster can be reached at {gone} \\(--cluster-admin\\)"):
            await EchoClient(connection).call(Text(text="x"))
    async with gateway(gone, hosted.server.admin) as front, connect(front.ingress_url) as connection:
        with pytest.raises(ConnectionError, match=f"no Restate cluster can be reached at {gone} \\(--cluster\\)"):
            await EchoClient(connection).call(Text(text="x"))


@pytest.mark.rule("R36")
async def test_what_the_app_closes_stays_closed(server: Server) -> None:
    async with (
        hosting(server, App(Wall(), private=[Wall])),
        gateway(server.ingress, server.admin) as front,
        connect(front.ingress_url) as caller,
    ):
        with pytest.raises(TerminalError) as raised:
            await BoardClient(caller).read()
        assert raised.value.code is Code.PERMISSION_DENIED
        with pytest.raises(TerminalError, match="stays private"):
            await front.engine.set_public("sample.v1.Board", True)


@pytest.mark.rule("R35")
async def test_an_event(ask: Ask) -> None:
    answer = await ask("POST", "/sample.v1.Echo/Call/event", b"x")
    assert (answer.status, answer.json["code"]) == (400, "failed_precondition")


@pytest.mark.rule("R34")
async def test_the_built_in_services(ask: Ask, key: str) -> None:
    body = {"service": "sample.v1.Counter", "method": "Add", "json": {"name": key, "amount": 6}}
    started = await ask("POST", "/dev.restate.Ingress/Invoke", body)
    assert started.status == 200, started.body
    assert (await ask("GET", f"/restate/invocation/{started.json['id']}/attach")).json == {"value": "6"}


@pytest.mark.rule("R2")
async def test_a_bounded_wait(connection: Any, ask: Ask, key: str) -> None:
    answer = await ask("POST", "/sample.v1.Counter/Script", {"key": key}, connect_timeout_ms="300")
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")
    handle = connection.invocation(answer.headers["x-restate-id"])
    assert await handle.status() in ("running", "suspended")
    await handle.kill()


async def test_a_key_that_does_not_fit_into_a_url_is_refused_for_good(ask: Ask) -> None:
    answer = await ask("POST", ADD, {"name": "k" * 70_000, "amount": 1})
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert "the key is too long" in answer.json["message"]
