"""What clients of any kind see: HTTP (R32), built-in services (R34), events (R35), safe defaults (R38), bad input (R45)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import AddRequest, Number, Text
from yarl import URL

from .engines import WITH_INGRESS, Running, reached
from .services import line
from .test_calls import waits_to_be_told
from .test_errors import fails
from .test_state import told, waits_for

pytestmark = WITH_INGRESS

JSON = "application/json"
PROTO = "application/proto"
ADD = "/sample.v1.Counter/Add"
SCRIPT = "/sample.v1.Echo/Script"
READ = "/sample.v1.Feed/Read"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["code"]


Ask = Callable[..., Coroutine[Any, Any, Reply]]


@pytest.fixture
async def ask(running: Running) -> AsyncIterator[Ask]:
    """A request at the ingress: path, body, headers; a body that is no bytes goes as JSON."""
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, body: Any = None, *, verb: str = "POST", content_type: str = JSON, **headers: str) -> Reply:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            sent = {"content-type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(verb, URL(f"{running.ingress_url}{path}", encoded=True), data=data, headers=sent) as response:
                named = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, named, await response.read())

        yield ask


async def value_of(ask: Ask, key: str) -> str:
    """The counter of a key, as JSON has it."""
    return str((await ask("/sample.v1.Counter/Get", {"name": key})).json.get("value", "0"))


@pytest.mark.smoke
@pytest.mark.rule("R32")
async def test_calls_in_json_and_in_protobuf(ask: Ask, key: str) -> None:
    reply = await ask(ADD, {"name": key, "amount": "3"})
    assert (reply.status, reply.json, reply.headers["content-type"]) == (200, {"value": "3"}, JSON)
    assert reply.headers["x-restate-id"].startswith("inv_")
    reply = await ask(ADD, AddRequest(name=key, amount=4).SerializeToString(), content_type=PROTO)
    assert (reply.status, Number.FromString(reply.body), reply.headers["content-type"]) == (200, Number(value=7), PROTO)


@pytest.mark.rule("R32")
@pytest.mark.rule("R22")
async def test_an_idempotency_key_makes_one_invocation(ask: Ask, key: str) -> None:
    first = await ask(ADD, {"name": key, "amount": 3}, idempotency_key=key)
    again = await ask(ADD, {"name": key, "amount": 3}, idempotency_key=key)
    sent = await ask(f"{ADD}/send", {"name": key, "amount": 3}, idempotency_key=key)
    assert {first.headers["x-restate-id"], again.headers["x-restate-id"]} == {sent.json["invocationId"]}
    assert await value_of(ask, key) == "3"


@pytest.mark.rule("R32")
async def test_background_calls_and_their_results(ask: Ask, key: str) -> None:
    reply = await ask(f"{SCRIPT}/send", {"text": line(waits_to_be_told, key)})
    id = reply.json["invocationId"]
    assert (reply.status, reply.headers["x-restate-id"]) == (202, id)
    assert (await ask(f"/restate/invocation/{id}/output", verb="GET")).status == 470
    await ask(f"/restate/awakeables/{await told(key)}/resolve", b'"yes"')
    attached = await ask(f"/restate/invocation/{id}/attach", verb="GET")
    assert (attached.status, attached.json) == (200, {"text": '"yes"'})
    output = await ask(f"/restate/invocation/{id}/output", verb="GET", accept=PROTO)
    assert Text.FromString(output.body) == Text(text='"yes"')


@pytest.mark.rule("R32")
@pytest.mark.parametrize("delay", ["15m", "PT15M"])
async def test_delayed_calls(ask: Ask, running: Running, key: str, delay: str) -> None:
    reply = await ask(f"{ADD}/send?delay={delay}", {"name": key, "amount": 1})
    assert reply.status == 202
    assert await reached(running.caller.invocation(reply.json["invocationId"]), "scheduled") == "scheduled"


@pytest.mark.rule("R11")
@pytest.mark.rule("R32")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("INVALID_ARGUMENT", (400, "invalid_argument")),
        ("NOT_FOUND", (404, "not_found")),
        ("ALREADY_EXISTS", (409, "already_exists")),
        ("RESOURCE_EXHAUSTED", (429, "resource_exhausted")),
        ("INTERNAL", (500, "internal")),
        ("UNAVAILABLE", (503, "unavailable")),
    ],
)
async def test_errors_of_handlers_are_connects(ask: Ask, code: str, expected: tuple[int, str]) -> None:
    reply = await ask(SCRIPT, {"text": line(fails, [code, "it is so"])})
    assert reply.error == expected
    assert reply.json["message"] == "it is so"


@pytest.mark.rule("R32")
@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    ("path", "body", "options", "expected", "says"),
    [
        (ADD, {"name": "?", "amount": "many"}, {}, (400, "invalid_argument"), "amount"),
        (ADD, b"{", {}, (400, "invalid_argument"), ""),
        (ADD, b"\xff\xff\xff", {"content_type": PROTO}, (400, "invalid_argument"), ""),
        (ADD, {"amount": 1}, {}, (400, "invalid_argument"), "name"),
        ("/sample.v1.Counter/Ad", {"name": "?"}, {}, (404, "not_found"), "Add"),
        ("/sample.v1.Countr/Add", {"name": "?"}, {}, (404, "not_found"), "sample.v1.Counter"),
    ],
    ids=["value", "json", "protobuf", "empty key", "method", "service"],
)
async def test_bad_input_says_what_is_wrong_and_changes_nothing(
    ask: Ask, key: str, path: str, body: Any, options: dict[str, str], expected: tuple[int, str], says: str
) -> None:
    given = {name: key if value == "?" else value for name, value in body.items()} if isinstance(body, dict) else body
    reply = await ask(path, given, **options)
    assert reply.error == expected
    assert says in reply.json["message"]
    assert await value_of(ask, key) == "0"


@pytest.mark.rule("R32")
async def test_other_verbs_and_content_types(ask: Ask, key: str) -> None:
    assert (await ask(ADD, verb="GET")).status == 405
    assert (await ask(ADD, b"name: x", content_type="text/plain")).status == 415
    assert await value_of(ask, key) == "0"


@pytest.mark.rule("R34")
async def test_the_built_in_services(ask: Ask, key: str) -> None:
    given = {"service": "sample.v1.Counter", "method": "Add", "argument": {"name": key, "amount": 3}}
    id = (await ask("/dev.restate.Ingress/Invoke", given)).json["id"]
    assert (await ask(f"/restate/invocation/{id}/attach", verb="GET")).json == {"value": "3"}

    id = (await ask(f"{SCRIPT}/send", {"text": line(waits_to_be_told, key)})).json["invocationId"]
    resolve = {"id": await told(key), "jsonResult": "yes"}
    assert (await ask("/dev.restate.Awakeables/Resolve", resolve)).status == 200
    assert (await ask(f"/restate/invocation/{id}/attach", verb="GET")).json == {"text": '"yes"'}
    assert (await ask("/dev.restate.Awakeables/Resolve", resolve)).status == 200, "the same again is accepted"
    other = {"id": resolve["id"], "reason": "no"}
    assert (await ask("/dev.restate.Awakeables/Reject", other)).error == (409, "already_exists")
    assert (await ask("/dev.restate.Awakeables/Reject", {"id": "sign_1unknown", "reason": "no"})).error == (404, "not_found")


@pytest.mark.rule("R34")
async def test_awakeables_of_messages_by_http(ask: Ask, key: str) -> None:
    id = (await ask(f"{SCRIPT}/send", {"text": line(waits_for, key)})).json["invocationId"]
    body = Text(text="hello").SerializeToString()
    sent = {"content_type": "application/octet-stream", "x_restate_value_tag": "message:sample.v1.Text"}
    assert (await ask(f"/restate/awakeables/{await told(key)}/resolve", body, **sent)).status == 200
    assert (await ask(f"/restate/invocation/{id}/attach", verb="GET")).json == {"text": '"hello"'}


@pytest.mark.rule("R35")
async def test_events(ask: Ask, key: str) -> None:
    reply = await ask(f"{READ}/event", "sun ☀".encode(), content_type="text/plain", key=key, attribute_topic="weather")
    assert reply.status == 202
    result = (await ask(f"/restate/invocation/{reply.json['invocationId']}/attach", verb="GET")).json
    assert result == {"feed": key, "text": "sun ☀", "about": {"topic": "weather"}}

    reply = await ask("/sample.v1.Feed/Store/event", bytes(range(256)), content_type="application/octet-stream", key=key)
    stored = (await ask(f"/restate/invocation/{reply.json['invocationId']}/attach", verb="GET", accept=PROTO)).body
    assert stored.endswith(bytes(range(256)))

    assert (await ask(f"{READ}/event", b"no key", content_type="text/plain")).error == (400, "invalid_argument")


@pytest.mark.rule("R38")
async def test_web_pages_cannot_call(ask: Ask, key: str) -> None:
    assert (await ask(ADD, {"name": key, "amount": 1}, origin="https://example.com")).status == 403
    assert (await ask(ADD, {"name": key, "amount": 1}, host="example.com")).status == 403
    assert await value_of(ask, key) == "0"
