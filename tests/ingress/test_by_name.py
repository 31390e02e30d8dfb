"""Calls by name: bytes as they are, keys beside the request, services without a .proto (R6)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from conftest import Http
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, EchoBase, LedgerBase

from restate_runtime import (
    App,
    Code,
    KeyedContext,
    SerdeError,
    ServiceKind,
    SingletonContext,
    TerminalError,
    UnkeyedContext,
    connect,
    connect_sync,
)
from restate_runtime.engine.registry import HostedMethod, HostedService

pytestmark = pytest.mark.rule("R6")

COUNTER, ECHO, LEDGER = "sample.v1.Counter", "sample.v1.Echo", "sample.v1.Ledger"
KEYS = ["k", "a/b", "%2F", "ä€😀", " ", ".", "..", "?", "#", "a b+c", "\0", "\n", "k" * 2000, "/", "%", ";", "\\"]


class Counter(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text(text=f"{ctx.key}|{request.key}")


class Ledger(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.text])

    async def lines(self, ctx: SingletonContext) -> LineList:
        return LineList(lines=await ctx.get("lines", list[str]) or [])


class Echo(EchoBase):
    """`Script` makes the call that its text describes, and gives back what came of it."""

    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        wanted = json.loads(request.text)
        try:
            method = ctx.method(wanted["name"], key=wanted["key"])
            payload = bytes.fromhex(wanted["payload"])
            options = wanted["options"]
            if wanted["form"] == "call":
                return Text(text=(await method(payload, **options)).hex())
            handle = method.in_background(payload, **options)
            return Text(text=await handle.invocation_id() if wanted["form"] == "id" else (await handle.result()).hex())
        except TerminalError as error:
            return Text(text=f"{error.code.name}|{error.message}")


def names_only() -> list[HostedService]:
    """Services without a .proto: as they come with an endpoint elsewhere."""

    def service(name: str, kind: ServiceKind, **shared: bool) -> HostedService:
        methods = {method: HostedMethod(service=name, name=method, kind=kind, shared=flag) for method, flag in shared.items()}
        return HostedService(name=name, kind=kind, methods=methods)

    return [
        service("greeter", ServiceKind.UNKEYED, greet=False),
        service("cart", ServiceKind.KEYED, add=False, show=True),
    ]


@asynccontextmanager
async def hosting(tmp_path: Path, options: dict[str, Any]) -> AsyncIterator[tuple[Any, Http]]:
    app = App(Counter(), Echo(), Ledger())
    for service in names_only():
        app.registry.add(service)
    async with app.start(data_dir=tmp_path, ingress="127.0.0.1:0", **options) as runtime, aiohttp.ClientSession() as session:
        yield runtime, Http(session, runtime.ingress_url)


class Side:
    """One caller; `call` gives the response, or raises what the call does."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime

    async def call(self, name: str, payload: bytes, key: str | None = None, form: str = "call", **options: Any) -> bytes:
        raise NotImplementedError


class InProcess(Side):
    def caller(self) -> Any:
        return self.runtime

    async def call(self, name: str, payload: bytes, key: str | None = None, form: str = "call", **options: Any) -> bytes:
        method = self.caller().method(name, key=key)
        if form == "call":
            return bytes(await method(payload, **options))
        handle = method.in_background(payload, **options)
        return (await handle.invocation_id()).encode() if form == "id" else bytes(await handle.result())


class Connected(InProcess):
    async def call(self, name: str, payload: bytes, key: str | None = None, form: str = "call", **options: Any) -> bytes:
        async with connect(self.runtime.ingress_url) as connection:
            self.caller = lambda: connection  # type: ignore[method-assign]
            return await super().call(name, payload, key, form, **options)


class SyncConnected(Side):
    async def call(self, name: str, payload: bytes, key: str | None = None, form: str = "call", **options: Any) -> bytes:
        def call() -> bytes:
            with connect_sync(self.runtime.ingress_url) as connection:
                method = connection.method(name, key=key)
                if form == "call":
                    return method(payload, **options)
                handle = method.in_background(payload, **options)
                return handle.invocation_id().encode() if form == "id" else handle.result()

        return await asyncio.to_thread(call)


class InHandler(Side):
    async def call(self, name: str, payload: bytes, key: str | None = None, form: str = "call", **options: Any) -> bytes:
        wanted = {"name": name, "payload": payload.hex(), "key": key, "form": form, "options": options}
        request = Text(text=json.dumps(wanted)).SerializeToString()
        text = Text.FromString(await self.runtime.method(f"{ECHO}/Script")(request)).text
        code, bar, message = text.partition("|")
        if bar:
            raise TerminalError(message, Code[code])
        return text.encode() if form == "id" else bytes.fromhex(text)


SIDES = [InProcess, Connected, SyncConnected, InHandler]
sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.__name__)


def add(amount: int, name: str = "") -> bytes:
    return AddRequest(name=name, amount=amount).SerializeToString()


async def refused(calling: Any, error: type[Exception] = TerminalError) -> Any:
    with pytest.raises(error) as caught:
        await calling
    return caught.value


@sides
async def test_bytes_in_bytes_out(side: Callable[[Any], Side], tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        assert Number.FromString(await caller.call(f"{COUNTER}/Add", add(2, "k"))).value == 2
        assert Number.FromString(await caller.call(f"{COUNTER}/Add", add(3, "k"), form="result")).value == 5
        assert await caller.call(f"{LEDGER}/Append", Text(text="line").SerializeToString()) == b""
        assert LineList.FromString(await caller.call(f"{LEDGER}/Lines", b"")).lines == ["line"]
        assert await caller.call(f"{ECHO}/Call", b"\x0a\x01a\xf2\x06\x03xyz") == b"\x0a\x01a\xf2\x06\x03xyz"  # unknown fields stay


@sides
@pytest.mark.parametrize("key", KEYS, ids=lambda key: quote(key[:8], safe=""))
async def test_an_absent_key_is_filled_in(side: Callable[[Any], Side], key: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        both = Text.FromString(await caller.call(f"{COUNTER}/Script", b"", key)).text
        assert both == f"{key}|{key}"
        assert Number.FromString(await caller.call(f"{COUNTER}/Add", add(2), key)).value == 2
        assert Number.FromString(await caller.call(f"{COUNTER}/Add", add(3, key), key)).value == 5  # the same key is no conflict


@sides
async def test_keys_that_do_not_fit(side: Callable[[Any], Side], tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        for name, payload, key, words in (
            (f"{COUNTER}/Add", add(1, "a"), "b", "the key field 'name' is 'a', the call's key is 'b'"),
            (f"{COUNTER}/Add", add(1), None, "the key field 'name' is empty"),
            (f"{COUNTER}/Add", add(1), "", "the key is empty"),
            (f"{COUNTER}/Add", add(1, "a"), "", "the key is empty"),
            (f"{COUNTER}/Add", b"\xff", "k", "AddRequest"),
            (f"{ECHO}/Call", b"", "k", "takes no key: the service is UNKEYED"),
            (f"{LEDGER}/Append", b"", "k", "takes no key: the service is SINGLETON"),
            ("greeter/greet", b"", "k", "takes no key: the service is UNKEYED"),
            ("cart/add", b"", None, "a call needs a key"),
            ("cart/add", b"", "", "the key is empty"),
        ):
            for form in ("call", "id"):
                error = await refused(caller.call(name, payload, key, form))
                assert (error.code, words in error.message) == (Code.INVALID_ARGUMENT, True), error
        assert runtime.inspector.invocations(service=COUNTER) == []


# From a handler such a call is tried until something has the name (R19).
@pytest.mark.parametrize("side", SIDES[:-1], ids=lambda side: side.__name__)
async def test_names_that_nothing_has(side: Callable[[Any], Side], tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        for name, words in (("greete/greet", "did you mean 'greeter'"), ("cart/ad", "did you mean 'add'")):
            error = await refused(caller.call(name, b""))
            assert (error.code, words in error.message) == (Code.NOT_FOUND, True), error


@sides
async def test_a_service_without_a_proto_gets_the_bytes_and_the_key(
    side: Callable[[Any], Side], tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    """Nothing runs these handlers here: what is looked at is what would be handed to them."""
    payload = b'{"item": "\xc3\xa4"}'
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        for name, key in (("cart/add", "k/1"), ("cart/show", "k/1"), ("greeter/greet", None)):
            id = (await caller.call(name, payload, key, "id", headers={"x-a": "1"})).decode()
            row = runtime.inspector.describe(id)
            assert (f"{row['target_service_name']}/{row['target_handler_name']}", row["target_service_key"]) == (name, key)
            assert row["journal"][0]["value"] == {"item": "ä"}
        assert len(runtime.inspector.invocations(key="k/1")) == 2


@sides
async def test_idempotency_keys_of_a_service_without_a_proto(
    side: Callable[[Any], Side], tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        caller = side(runtime)
        first = await caller.call("cart/add", b"\xff\x01", "k", "id", idempotency_key="one")
        assert await caller.call("cart/add", b"\xff\x01", "k", "id", idempotency_key="one") == first
        assert await caller.call("cart/add", b"\xff\x01", "other", "id", idempotency_key="one") != first
        error = await refused(caller.call("cart/add", b"\xff\x02", "k", "id", idempotency_key="one"))
        assert error.code is Code.ALREADY_EXISTS


async def test_what_is_given_has_to_be_bytes_and_a_string(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, _):
        with pytest.raises(TypeError, match="takes the request's bytes"):
            runtime.method(f"{COUNTER}/Add", key="k")("text")
        with pytest.raises(SerdeError, match="the key is a string"):
            runtime.method(f"{COUNTER}/Add", key=5)(b"")
        with pytest.raises(SerdeError, match="the key cannot be stored"):
            runtime.method(f"{COUNTER}/Add", key="\ud800")(b"")


async def test_built_in_methods_by_name(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    from dev.restate.services_pb2 import InvokeRequest, InvokeResponse

    request = InvokeRequest(service=COUNTER, method="Add", pb=add(2, "k")).SerializeToString()
    async with hosting(tmp_path, runtime_options) as (runtime, http):
        for side in (InProcess, Connected, SyncConnected):
            response = InvokeResponse.FromString(await side(runtime).call("dev.restate.Ingress/Invoke", request))
            assert response.id.startswith("inv_")
        invoke = "/restate/call/dev.restate.Ingress/Invoke"
        assert (await http.post(invoke, request, content_type="application/proto")).status == 200
        assert (await http.post("/restate/call/dev.restate.Ingress/k/Invoke", request)).error[:2] == (400, "invalid_argument")


# The ingress' paths


async def test_json_protobuf_and_bytes_at_the_ingress(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (_, http):
        path = f"/restate/call/{COUNTER}/a%2Fb/Add"
        reply = await http.post(path, {"amount": 2})
        assert (reply.json, reply.headers["content-type"], reply.headers["x-restate-id"][:4]) == (
            {"value": "2"},
            "application/json",
            "inv_",
        )
        for kind in ("application/proto", "application/octet-stream"):
            reply = await http.post(path, add(1), content_type=kind)
            assert (reply.status, reply.headers["content-type"]) == (200, kind)
        assert Number.FromString(reply.body).value == 4
        assert (await http.request("POST", path, add(1), {"content-type": ""})).status == 200
        assert (await http.post(path, "x", content_type="text/plain")).error[:2] == (415, "invalid_argument")
        assert (await http.post(f"/restate/call/{LEDGER}/Append", {"text": "x"})).json == {}
        assert (await http.post(f"/{COUNTER}/Get", {"name": "a/b"})).json == {"value": "5"}


async def test_a_send_at_the_ingress_is_acknowledged_as_restate_does(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, http):
        path = f"/restate/send/{COUNTER}/k/Add"
        first = await http.post(path, {"amount": 2}, idempotency_key="one")
        again = await http.post(path, {"amount": 2}, idempotency_key="one")
        assert (first.status, first.json["status"]) == (202, "Accepted")
        assert again.json == {"invocationId": first.json["invocationId"], "status": "PreviouslyAccepted"}
        for delay in ("1h", "PT1H", "3600000ms"):
            later = await http.post(f"{path}?delay={delay}", {"amount": 2})
            assert runtime.status(later.json["invocationId"]) == "scheduled"


async def test_a_service_without_a_proto_at_the_ingress(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, http):
        for path, key in (("/restate/send/cart/k/add", "k"), ("/restate/send/greeter/greet", None), ("/greeter/greet/send", None)):
            for kind in ("application/json", "image/png"):
                reply = await http.post(path, b"\x00\xff", content_type=kind)
                assert reply.status == 202, reply.body
                row = runtime.inspector.describe(reply.json["invocationId"])
                assert (row["target_service_key"], row["journal"][0]["value"]) == (key, {"base64": "AP8="})
        assert (await http.post("/cart/add/send", b"")).error[2] == "cart/add: a call needs a key: the service is KEYED"
        assert (await http.post("/greeter/greet/event", b"")).error[:2] == (400, "failed_precondition")
        runtime.registry.remove("greeter")
        assert (await http.post("/greeter/greet/send", b"")).error[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("verb", "path", "expected", "words"),
    [
        ("POST", f"/restate/call/{COUNTER}/Add", (400, "invalid_argument"), "the key field 'name' is empty"),
        ("POST", f"/restate/call/{COUNTER}//Add", (400, "invalid_argument"), "the key is empty"),
        ("POST", f"/restate/call/{COUNTER}/%FF/Add", (400, "invalid_argument"), "no UTF-8"),
        ("POST", f"/restate/call/{COUNTER}/a/b/Add", (404, "not_found"), "each slash in the key as %2F"),
        ("POST", "/restate/call", (404, "not_found"), "where there is a key /restate/call/SERVICE/KEY/METHOD"),
        ("POST", "/restate/send/x", (404, "not_found"), "where there is a key /restate/send/SERVICE/KEY/METHOD"),
        ("POST", f"/restate/call/{COUNTER}/k/Ad", (404, "not_found"), "did you mean 'Add'"),
        ("POST", f"/restate/call/{COUNTER}/k/Add?delay=1s", (400, "invalid_argument"), "a delay needs .../send"),
        ("POST", f"/restate/send/{COUNTER}/k/Add?delay=soon", (400, "invalid_argument"), "delay: not a duration"),
        ("GET", f"/restate/call/{COUNTER}/k/Add", (405, "unimplemented"), "use POST"),
        ("PUT", f"/restate/send/{COUNTER}/k/Add", (405, "unimplemented"), "use POST"),
    ],
)
async def test_paths_that_are_none(
    verb: str, path: str, expected: tuple[int, str], words: str, tmp_path: Path, runtime_options: dict[str, Any]
) -> None:
    async with hosting(tmp_path, runtime_options) as (runtime, http):
        status, code, said = (await http.request(verb, path, None if verb == "GET" else '{"amount": 1}')).error
        assert ((status, code), words in said) == (expected, True), said
        assert runtime.inspector.invocations() == []


@pytest.mark.parametrize("key", KEYS, ids=lambda key: hashlib.md5(key.encode()).hexdigest()[:6])
async def test_a_percent_encoded_key_at_the_ingress(key: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with hosting(tmp_path, runtime_options) as (_, http):
        quoted = quote(key, safe="").replace(".", "%2E")
        assert (await http.post(f"/restate/call/{COUNTER}/{quoted}/Script", {})).json == {"text": f"{key}|{key}"}
