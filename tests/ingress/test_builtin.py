"""The built-in services and the awakeable routes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from google.protobuf.struct_pb2 import Value
from sample.v1.sample_pb2 import AddRequest, KeyedText, Number, Text
from sample.v1.sample_restate import CounterClient

from dev.restate.services_pb2 import InvokeRequest, RejectAwakeableRequest, ResolveAwakeableRequest
from dev.restate.services_restate import AwakeablesClient, IngressClient
from restate_runtime import Code, TerminalError, connect

pytestmark = pytest.mark.rule("R34")


async def waiting(served: Any, key: str, kind: str = "text") -> tuple[str, str]:
    """An invocation that waits, and the id of the awakeable that it waits for."""
    reply = await served.http.post("/sample.v1.Counter/Script/send", {"key": key, "text": kind})
    return reply.json["invocationId"], await served.state("sample.v1.Counter", key, "awakeable")


async def result(served: Any, invocation: str) -> Any:
    return (await served.http.get(f"/restate/invocation/{invocation}/attach")).json


async def test_invoke_in_json(served: Any) -> None:
    body = {"service": "sample.v1.Counter", "method": "Add", "argument": {"name": "a", "amount": 3}}
    reply = await served.http.post("/dev.restate.Ingress/Invoke", body, idempotency_key="k")
    again = await served.http.post("/dev.restate.Ingress/Invoke", body, idempotency_key="k")
    assert reply.json == again.json
    assert await result(served, reply.json["id"]) == {"value": "3"}


async def test_invoke_in_protobuf(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        request = InvokeRequest(service="sample.v1.Counter", method="Add", pb=AddRequest(name="a", amount=3).SerializeToString())
        response = await IngressClient(connection).invoke(request)
        assert await connection.invocation(response.id).result() == Number(value=3)


@pytest.mark.rule("R22")
async def test_invoke_takes_an_idempotency_key_and_headers_from_every_caller(served: Any) -> None:
    request = InvokeRequest(service="sample.v1.Echo", method="Script", pb=Text(text="header x-a").SerializeToString())
    async with connect(served.runtime.ingress_url) as connection:
        ids = set()
        for caller in (served.runtime, connection):
            for _ in range(2):
                ids.add((await IngressClient(caller).invoke(request, idempotency_key="k", headers={"x-a": "1"})).id)
        assert len(ids) == 1
        assert await result(served, ids.pop()) == {"text": "1"}
        for caller in (served.runtime, connection):
            other = InvokeRequest(service="sample.v1.Echo", method="Script", pb=b"")
            with pytest.raises(TerminalError) as caught:
                await IngressClient(caller).invoke(other, idempotency_key="k")
            assert caught.value.code is Code.ALREADY_EXISTS


@pytest.mark.rule("R2")
async def test_invoke_passes_options_on_from_every_caller(served: Any) -> None:
    request = InvokeRequest(service="sample.v1.Echo", method="Script", pb=Text(text="header x-tenant").SerializeToString())
    async with connect(served.runtime.ingress_url) as connection:
        for caller in (served.runtime, connection):
            invoke = IngressClient(caller).invoke
            first, again = [await invoke(request, idempotency_key=type(caller).__name__, headers={"x-tenant": "blue"}) for _ in range(2)]
            assert first.id == again.id
            assert await caller.invocation(first.id).result() == Text(text="blue")


async def test_invoke_says_what_is_wrong(served: Any) -> None:
    for argument, expected, message in (
        ({"service": "sample.v1.Counte", "method": "Add"}, (404, "not_found"), "did you mean 'sample.v1.Counter'?"),
        ({"service": "sample.v1.Counter", "method": "Add"}, (400, "invalid_argument"), "the key field 'name' is empty"),
        ({"service": "sample.v1.Counter", "method": "Add", "argument": {"nam": "a"}}, (400, "invalid_argument"), "did you mean 'name'?"),
    ):
        status, code, said = (await served.http.post("/dev.restate.Ingress/Invoke", argument)).error
        assert ((status, code), message in said) == (expected, True), said
    assert (await served.http.post("/dev.restate.Ingress/Invok", {})).error[:2] == (404, "not_found")
    assert (await served.http.post("/dev.restate.Ingress/Invoke/send", {})).error[:2] == (404, "not_found")


async def test_numbers_that_json_does_not_have(served: Any) -> None:
    invoke = InvokeRequest(service="sample.v1.Echo", method="Call")
    invoke.json.fields["text"].number_value = math.inf
    resolve = ResolveAwakeableRequest(id="sign_1AAAA", json_result=Value(number_value=math.nan))
    for path, request, field in (("Ingress/Invoke", invoke, "argument"), ("Awakeables/Resolve", resolve, "json_result")):
        reply = await served.http.post(f"/dev.restate.{path}", request.SerializeToString(), content_type="application/proto")
        assert reply.error == (400, "invalid_argument", f"{field}: JSON has neither NaN nor infinity")


async def test_awakeables_settled_by_the_service(served: Any) -> None:
    for caller in (served.runtime, await connect(served.runtime.ingress_url).__aenter__()):
        name = type(caller).__name__
        awakeables = AwakeablesClient(caller)
        invocation, id = await waiting(served, f"{name}-json")
        await awakeables.resolve(ResolveAwakeableRequest(id=id, json_result=Parse('"yes"', Value())))
        assert await result(served, invocation) == {"text": "yes"}

        invocation, id = await waiting(served, f"{name}-bytes", "message")
        await awakeables.resolve(ResolveAwakeableRequest(id=id, bytes_result=Text(text="typed").SerializeToString()))
        assert await result(served, invocation) == {"text": "typed"}

        invocation, id = await waiting(served, f"{name}-reject")
        await awakeables.reject(RejectAwakeableRequest(id=id, reason="no"))
        assert (await result(served, invocation))["message"] == "no"

        with pytest.raises(TerminalError) as caught:
            await awakeables.resolve(ResolveAwakeableRequest(id=id))
        assert caught.value.code is Code.INVALID_ARGUMENT
        if caller is not served.runtime:
            await caller.__aexit__(None, None, None)


async def test_awakeables_settled_by_http(served: Any) -> None:
    for http, prefix in ((served.http, "/restate"), (served.admin, "")):
        key = prefix or "admin"
        invocation, id = await waiting(served, f"{key}-json")
        assert (await http.post(f"{prefix}/awakeables/{id}/resolve", ' "yes" ')).status == 200
        assert (await http.post(f"{prefix}/awakeables/{id}/resolve", '"yes"')).status == 200
        assert (await http.post(f"{prefix}/awakeables/{id}/resolve", '"no"')).error[:2] == (409, "already_exists")
        assert await result(served, invocation) == {"text": "yes"}

        invocation, id = await waiting(served, f"{key}-message", "message")
        body = Text(text="typed").SerializeToString()
        tag = {"content_type": "application/octet-stream", "x_restate_value_tag": "message:sample.v1.Text"}
        assert (await http.post(f"{prefix}/awakeables/{id}/resolve", b"\xff", **tag)).error[:2] == (400, "invalid_argument")
        lacking = tag | {"x_restate_value_tag": "message:google.protobuf.UninterpretedOption"}
        error = (await http.post(f"{prefix}/awakeables/{id}/resolve", b"\x12\x00", **lacking)).error
        assert (error[:2], "name[0].name_part" in error[2]) == ((400, "invalid_argument"), True)
        assert (await http.post(f"{prefix}/awakeables/{id}/resolve", body, **tag)).status == 200
        assert await result(served, invocation) == {"text": "typed"}

        invocation, id = await waiting(served, f"{key}-text")
        assert (await http.post(f"{prefix}/awakeables/{id}/reject", "not today", content_type="text/plain")).status == 200
        assert (await result(served, invocation))["message"] == "not today"

        invocation, id = await waiting(served, f"{key}-reason")
        assert (await http.post(f"{prefix}/awakeables/{id}/reject", {"reason": "not ever"})).status == 200
        assert (await result(served, invocation))["message"] == "not ever"


async def test_a_settlement_that_is_none_changes_nothing(served: Any) -> None:
    invocation, id = await waiting(served, "a")
    for verb, body, kind, status in (
        ("resolve", "{", "application/json", 400),
        ("resolve", "NaN", "application/json", 400),
        ("resolve", b'"\xff"', "application/json", 400),
        ("resolve", "1", "text/plain", 415),
        ("reject", "{}", "application/json", 400),
        ("reject", "x", "application/octet-stream", 415),
    ):
        assert (await served.http.post(f"/restate/awakeables/{id}/{verb}", body, content_type=kind)).status == status
    assert (await served.http.post("/restate/awakeables/sign_1x/resolve", "1")).error[:2] == (404, "not_found")
    assert (await served.http.post(f"/restate/awakeables/{id}/resolve", json.dumps("yes"))).status == 200
    assert await result(served, invocation) == {"text": "yes"}


async def test_bytes_of_no_type_are_read_as_what_the_handler_asked_for(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        call = CounterClient(connection).script(KeyedText(key="a", text="message"))
        id = await served.state("sample.v1.Counter", "a", "awakeable")
        body = Text(text="typed").SerializeToString()
        reply = await served.http.post(f"/restate/awakeables/{id}/resolve", body, content_type="application/octet-stream")
        assert reply.status == 200
        assert await call == Text(text="typed")
