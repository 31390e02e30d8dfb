"""The HTTP ingress: Connect's unary calls, background calls, results."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Number, Text

from restate_runtime import Code

ADD = "/sample.v1.Counter/Add"
SCRIPT = "/sample.v1.Echo/Script"
ECHO = "/sample.v1.Echo/Call"
PROTO = "application/proto"


async def stored(served: Any) -> list[Any]:
    rows: list[Any] = (await served.admin.get("/invocations")).json
    return rows


@pytest.mark.rule("R32")
async def test_a_call_in_json_is_answered_in_json(served: Any) -> None:
    reply = await served.http.post(ADD, {"name": "a", "amount": "3"})
    assert (reply.status, reply.json) == (200, {"value": "3"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-restate-id"] == (await stored(served))[0]["id"]


@pytest.mark.rule("R32")
async def test_a_call_in_protobuf_is_answered_in_protobuf(served: Any) -> None:
    reply = await served.http.post(ADD, AddRequest(name="a", amount=3).SerializeToString(), content_type=PROTO)
    assert (reply.status, Number.FromString(reply.body)) == (200, Number(value=3))
    assert reply.headers["content-type"] == PROTO


async def test_parameters_of_the_content_type_are_tolerated(served: Any) -> None:
    reply = await served.http.post(ADD, {"name": "a"}, content_type="Application/JSON; charset=utf-8", connect_protocol_version="1")
    assert reply.status == 200


async def test_empty_requests_and_responses(served: Any) -> None:
    assert (await served.http.post("/sample.v1.Ledger/Append", {"text": "x"})).json == {}
    assert (await served.http.post("/sample.v1.Ledger/Lines", {})).json == {"lines": ["x"]}
    assert (await served.http.post("/sample.v1.Ledger/Lines", b"", content_type=PROTO)).status == 200


STATUS = {
    Code.CANCELLED: (499, "canceled"),
    Code.UNKNOWN: (500, "unknown"),
    Code.INVALID_ARGUMENT: (400, "invalid_argument"),
    Code.DEADLINE_EXCEEDED: (504, "deadline_exceeded"),
    Code.NOT_FOUND: (404, "not_found"),
    Code.ALREADY_EXISTS: (409, "already_exists"),
    Code.PERMISSION_DENIED: (403, "permission_denied"),
    Code.RESOURCE_EXHAUSTED: (429, "resource_exhausted"),
    Code.FAILED_PRECONDITION: (400, "failed_precondition"),
    Code.ABORTED: (409, "aborted"),
    Code.OUT_OF_RANGE: (400, "out_of_range"),
    Code.UNIMPLEMENTED: (501, "unimplemented"),
    Code.INTERNAL: (500, "internal"),
    Code.UNAVAILABLE: (503, "unavailable"),
    Code.DATA_LOSS: (500, "data_loss"),
    Code.UNAUTHENTICATED: (401, "unauthenticated"),
}


@pytest.mark.rule("R11")
@pytest.mark.rule("R32")
async def test_terminal_errors_have_connects_json_and_status(served: Any) -> None:
    for code in Code:
        if code is not Code.OK:
            reply = await served.http.post(SCRIPT, {"text": f"fail {code.name} it is so"})
            assert reply.error == (*STATUS[code], "it is so")
            assert reply.headers["x-restate-error-source"] == "invocation"
            assert reply.headers["x-restate-id"].startswith("inv_1")


@pytest.mark.rule("R32")
async def test_a_repeated_idempotency_key_is_one_invocation(served: Any) -> None:
    first = await served.http.post(ADD, {"name": "a", "amount": 3}, idempotency_key="k")
    second = await served.http.post(ADD, AddRequest(name="a", amount=3).SerializeToString(), content_type=PROTO, Idempotency_Key="k")
    assert first.headers["x-restate-id"] == second.headers["x-restate-id"]
    assert Number.FromString(second.body).value == 3
    sent = await served.http.post(ADD + "/send", {"name": "a", "amount": 3}, idempotency_key="k")
    assert sent.json == {"invocationId": first.headers["x-restate-id"]}
    other = await served.http.post(ADD, {"name": "a", "amount": 4}, idempotency_key="k")
    assert other.error[:2] == (409, "already_exists")
    assert other.headers["x-restate-error-source"] == "ingress", "it is no outcome of the first call"
    assert "x-restate-id" not in other.headers


@pytest.mark.rule("R32")
async def test_a_background_call_answers_its_id_and_its_result_later(served: Any) -> None:
    reply = await served.http.post(SCRIPT + "/send", {"text": "sleep 0.1"})
    id = reply.json["invocationId"]
    assert (reply.status, reply.headers["x-restate-id"]) == (202, id)
    early = await served.http.get(f"/restate/invocation/{id}/output")
    assert early.status == 470
    attached = await served.http.get(f"/restate/invocation/{id}/attach")
    assert (attached.status, attached.json) == (200, {"text": "done"})
    binary = await served.http.get(f"/restate/invocation/{id}/output", accept=PROTO)
    assert Text.FromString(binary.body).text == "done"
    assert (await served.http.get(f"/restate/invocation/{id}/status")).json == {"status": "completed"}


@pytest.mark.rule("R32")
@pytest.mark.parametrize("delay", ["15m", "PT15M", "900", "900000ms"])
async def test_a_delay(served: Any, delay: str) -> None:
    reply = await served.http.post(f"{ADD}/send?delay={delay}", {"name": "a"})
    row = (await served.admin.get(f"/invocations/{reply.json['invocationId']}")).json
    assert row["status"] == "scheduled"


async def test_the_result_of_a_failed_invocation_is_its_error(served: Any) -> None:
    id = (await served.http.post(SCRIPT + "/send", {"text": "fail ABORTED no"})).json["invocationId"]
    for way in ("attach", "output"):
        reply = await served.http.get(f"/restate/invocation/{id}/{way}")
        assert reply.error == (409, "aborted", "no")


@pytest.mark.rule("R32")
async def test_the_wait_is_bounded_by_connect_timeout_ms_and_the_invocation_goes_on(served: Any) -> None:
    reply = await served.http.post(SCRIPT, {"text": "sleep 0.3"}, connect_timeout_ms="20")
    assert reply.error[:2] == (504, "deadline_exceeded")
    attached = await served.http.get(f"/restate/invocation/{reply.headers['x-restate-id']}/attach")
    assert attached.json == {"text": "done"}


async def test_custom_headers_reach_the_handler_and_those_of_http_do_not(served: Any) -> None:
    given = {"X_Tenant": "blue", "user_agent": "curl", "accept_language": "de"}
    for name, seen in (("x-tenant", "blue"), ("user-agent", "(none)"), ("accept-language", "(none)"), ("host", "(none)")):
        assert (await served.http.post(SCRIPT, {"text": f"header {name}"}, **given)).json == {"text": seen}


async def test_a_compressed_request(served: Any) -> None:
    assert (await served.http.post(ECHO, gzip.compress(b'{"text": "x"}'), content_encoding="gzip")).json == {"text": "x"}
    assert (await served.http.post(ECHO, gzip.compress(b" " * 200_000), content_encoding="gzip")).status == 413
    assert (await served.http.post(ECHO, b"no gzip", content_encoding="gzip")).error[:2] == (400, "invalid_argument")
    assert (await served.http.post(ECHO, b"{}", content_encoding="br2")).error[:2] == (501, "unimplemented")


@pytest.mark.rule("R45")
async def test_bad_input_is_refused_with_a_code_and_nothing_is_stored(served: Any) -> None:
    proto = {"content_type": PROTO}
    cases: list[tuple[str, Any, dict[str, str], tuple[int, str], str]] = [
        ("/sample.v1.Counte/Add", {}, {}, (404, "not_found"), "did you mean 'sample.v1.Counter'?"),
        ("/sample.v1.Counter/Ad", {}, {}, (404, "not_found"), "did you mean 'Add'?"),
        ("/sample.v1.Counter/Ad/send", {}, {}, (404, "not_found"), "did you mean 'Add'?"),
        ("/", {}, {}, (404, "not_found"), "POST /SERVICE/METHOD"),
        (ADD, "[", {}, (400, "invalid_argument"), "no JSON"),
        (ADD, b"\xff", {}, (400, "invalid_argument"), "not UTF-8"),
        (ADD, {"name": 1}, {}, (400, "invalid_argument"), "name: expects a string, not 1"),
        (ADD, {"name": "a", "amount": "x"}, {}, (400, "invalid_argument"), 'amount: expects a whole number, not "x"'),
        (ADD, {"name": "a", "amont": 1}, {}, (400, "invalid_argument"), "amont: sample.v1.AddRequest has no such field; did you mean"),
        (ADD, b"\xff", proto, (400, "invalid_argument"), "no sample.v1.AddRequest"),
        (ADD, '{"name": "\\ud800"}', {}, (400, "invalid_argument"), "name: the string holds half of a surrogate pair"),
        (ADD, '{"name": "a", "amount": "\\ud800"}', {}, (400, "invalid_argument"), "amount: the string holds half of a surrogate pair"),
        (ADD, '{"\\ud800": 1}', {}, (400, "invalid_argument"), '"\\ud800": the string holds half of a surrogate pair'),
        (ADD, {"amount": 1}, {}, (400, "invalid_argument"), "the key field 'name' is empty"),
        (ADD, {"name": ""}, {}, (400, "invalid_argument"), "the key field 'name' is empty"),
        (ADD, b"", proto, (400, "invalid_argument"), "the key field 'name' is empty"),
        (ADD, {"name": "a"}, {"idempotency_key": ""}, (400, "invalid_argument"), "idempotency-key is empty"),
        (ADD, {"name": "a"}, {"idempotency_retention_period": "long"}, (400, "invalid_argument"), "idempotency-retention-period"),
        (ADD, {"name": "a"}, {"connect_timeout_ms": "soon"}, (400, "invalid_argument"), "connect-timeout-ms"),
        (ADD, {"name": "a"}, {"connect_protocol_version": "2"}, (400, "invalid_argument"), "connect-protocol-version"),
        (ADD, {"name": "a"}, {"content_type": "text/plain"}, (415, "invalid_argument"), "application/json or application/proto"),
        (ADD, None, {}, (415, "invalid_argument"), "the content-type is missing"),
        (ADD + "?delay=1s", {"name": "a"}, {}, (400, "invalid_argument"), "needs .../send"),
        (ADD + "/send?delay=soon", {"name": "a"}, {}, (400, "invalid_argument"), "delay: not a duration"),
        (ADD + "/send?delay=%D9%A3", {"name": "a"}, {}, (400, "invalid_argument"), "delay: not a duration"),
        (ADD + "/send?delay=1_000", {"name": "a"}, {}, (400, "invalid_argument"), "delay: not a duration"),
        (ADD + "/send?delay=1m&delay=2m", {"name": "a"}, {}, (400, "invalid_argument"), "'delay' stands there more than once"),
        (ADD + "/send?dely=1s", {"name": "a"}, {}, (400, "invalid_argument"), "unknown query parameter 'dely'"),
        (ADD, "x" * 100_001, {}, (413, "resource_exhausted"), "larger than 100000 bytes"),
    ]
    for path, body, headers, expected, message in cases:
        status, code, said = (await served.http.post(path, body, **headers)).error
        assert ((status, code), message in said) == (expected, True), (path, body, said)
    assert await stored(served) == []


async def raw(url: str, path: str, header: bytes, body: bytes) -> tuple[int, str]:
    """The status and the message of a request with a header that no client library would send."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n".encode()
    writer.write(head + header + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1]), json.loads(answer.partition(b"\r\n\r\n")[2]).get("message", "")


@pytest.mark.rule("R45")
async def test_a_header_that_is_no_utf8_is_refused_and_nothing_is_stored(served: Any) -> None:
    as_json = b"Content-Type: application/json\r\n"
    cases = [
        (ADD, as_json + b"X-Tenant: bl\xff", (400, "the header x-tenant is not UTF-8")),
        (ADD, as_json + b"Idempotency-Key: \xff", (400, "the header idempotency-key is not UTF-8")),
        (ADD, as_json + b"Connect-Timeout-Ms: \xff", (400, "connect-timeout-ms '?' is no number of milliseconds with at most ten digits")),
        (ADD, b"Content-Type: text/\xff", (415, "content-type 'text/?' is not supported: send application/json or application/proto")),
        ("/dev.restate.Ingress/Invoke", as_json + b"Idempotency-Key: \xff", (400, "the header idempotency-key is not UTF-8")),
        (
            "/restate/awakeables/x/resolve",
            b"Content-Type: application/octet-stream\r\nX-Restate-Value-Tag: message:\xff",
            (400, "the header x-restate-value-tag is not UTF-8"),
        ),
    ]
    for path, header, expected in cases:
        body = b"{}" if path.endswith("Invoke") else b'{"name": "a"}'
        assert await raw(served.http.url, path, header, body) == expected, header
    assert await stored(served) == []
    assert (await served.http.post(ADD, {"name": "a"})).status == 200  # the key is free


async def test_a_body_of_exactly_the_limit_is_taken(served: Any) -> None:
    request = Text(text="x" * (100_000 - 4))
    assert request.ByteSize() == 100_000
    assert (await served.http.post(ECHO, request.SerializeToString(), content_type=PROTO)).body == request.SerializeToString()


@pytest.mark.rule("R32")
async def test_a_wrong_verb_is_answered_with_the_right_one(served: Any) -> None:
    for path, verb, right in ((ADD, "GET", "POST"), (ADD + "/send", "PUT", "POST"), ("/restate/health", "POST", "GET")):
        reply = await served.http.request(verb, path)
        assert (reply.status, reply.headers["allow"]) == (405, right)


async def test_ids_that_are_unknown_or_none(served: Any) -> None:
    for way in ("attach", "output", "status"):
        assert (await served.http.get(f"/restate/invocation/inv_1AAAAAAAAAAAAAAAAAAAAAA/{way}")).error[:2] == (404, "not_found")
        assert (await served.http.get(f"/restate/invocation/nonsense/{way}")).error[:2] == (400, "invalid_argument")


async def test_health(served: Any) -> None:
    assert (await served.http.get("/restate/health")).status == 200


async def test_a_client_that_goes_away_does_not_touch_its_invocation(served: Any) -> None:
    call = asyncio.ensure_future(served.http.post(SCRIPT, {"text": "sleep 0.2"}))
    while not (rows := await stored(served)):
        await asyncio.sleep(0.01)
    call.cancel()
    attached = await served.http.get(f"/restate/invocation/{rows[0]['id']}/attach")
    assert attached.json == {"text": "done"}


@pytest.mark.parametrize("way", ["call", "attach"])
async def test_the_failure_of_an_invocation_whose_client_has_gone_is_nothing_to_complain_of(way: str, served: Any) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    if way == "call":
        reply = await served.http.post(SCRIPT, {"text": "sleep 60"}, connect_timeout_ms="20")
    else:
        sent = await served.http.post(f"{SCRIPT}/send", {"text": "sleep 60"})
        reply = await served.http.get(f"/restate/invocation/{sent.json['invocationId']}/attach", connect_timeout_ms="20")
    assert reply.error[:2] == (504, "deadline_exceeded")
    await served.http.post(f"/restate/invocation/{reply.headers['x-restate-id']}/kill", None)
    await served.runtime.stop()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_a_call_that_waits_when_the_runtime_stops_is_unavailable(served: Any) -> None:
    call = asyncio.ensure_future(served.http.post(SCRIPT, {"text": "sleep 60"}))
    while not await stored(served):
        await asyncio.sleep(0.01)
    await served.runtime.stop()
    reply = await call
    assert reply.error[:2] == (503, "unavailable")
    assert reply.headers["x-restate-error-source"] == "ingress"


@pytest.mark.parametrize(
    "line",
    [b"x-a: \xff", b"idempotency-key: \xff", b"idempotency-retention-period: \xff", b"content-type: \xff", b"connect-timeout-ms: \xff"],
)
async def test_a_header_that_is_no_utf8_is_refused_and_holds_nothing_up(line: bytes, served: Any) -> None:
    body = b'{"name": "a", "amount": 1}'
    kind = b"" if line.startswith(b"content-type") else b"content-type: application/json\r\n"
    reader, writer = await asyncio.open_connection(*served.http.url.removeprefix("http://").split(":"))
    writer.write(
        b"POST /sample.v1.Counter/Add HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        + kind
        + line
        + b"\r\n\r\n"
        + body
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 415")), answer
    assert b'"code":"invalid_argument"' in answer
    assert (await served.http.post(ADD, {"name": "a", "amount": 1})).json == {"value": "1"}


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
@pytest.mark.parametrize(("verb", "code"), [("cancel", "canceled"), ("kill", "aborted")])
async def test_whoever_holds_an_id_cancels_or_kills(served: Any, verb: str, code: str) -> None:
    id = (await served.http.post("/sample.v1.Echo/Script/send", {"text": "sleep 60"})).json["invocationId"]
    for _ in range(2):
        reply = await served.http.post(f"/restate/invocation/{id}/{verb}", {})
        assert (reply.status, reply.json, reply.headers["x-restate-id"]) == (200, {}, id)
    assert (await served.http.get(f"/restate/invocation/{id}/attach")).error[1] == code
    assert (await served.http.get(f"/restate/invocation/{id}/output")).error[1] == code
    assert (await served.http.get(f"/restate/invocation/{id}/{verb}")).status == 405
    assert (await served.http.post(f"/restate/invocation/inv_1AAAAAAAAAAAAAAAAAAAAAA/{verb}", {})).error[:2] == (404, "not_found")
