"""Awakeables settled from every side: the same first, repeated, different and unknown settlements on each (R34)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from google.protobuf.struct_pb2 import Value
from sample.v1.sample_pb2 import KeyedText, Text
from sample.v1.sample_restate import CounterClient

from dev.restate.events_pb2 import Event
from dev.restate.services_pb2 import RejectAwakeableRequest, ResolveAwakeableRequest
from dev.restate.services_restate import AwakeablesClient
from restate_runtime import Code, TerminalError, connect, connect_sync
from restate_runtime.identifiers import awakeable_id

pytestmark = pytest.mark.rule("R34")

UNKNOWN = awakeable_id(bytes(16), 17)

Settle = Callable[[Any, str, Any], Awaitable[None]]
"""Resolves with a string or a `Text`, or rejects where the value is a `TerminalError`."""


async def by_runtime(served: Any, id: str, value: Any) -> None:
    await settle_with(served.runtime, id, value)


async def by_connection(served: Any, id: str, value: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        await settle_with(connection, id, value)


async def settle_with(caller: Any, id: str, value: Any) -> None:
    if isinstance(value, TerminalError):
        await caller.reject_awakeable(id, value.message)
    else:
        await caller.resolve_awakeable(id, value)


async def by_sync_connection(served: Any, id: str, value: Any) -> None:
    def settle() -> None:
        with connect_sync(served.runtime.ingress_url) as connection:
            if isinstance(value, TerminalError):
                connection.reject_awakeable(id, value.message)
            else:
                connection.resolve_awakeable(id, value)

    await asyncio.to_thread(settle)


async def by_service_in_process(served: Any, id: str, value: Any) -> None:
    await settle_by_service(served.runtime, id, value)


async def by_service_over_http(served: Any, id: str, value: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        await settle_by_service(connection, id, value)


async def settle_by_service(caller: Any, id: str, value: Any) -> None:
    awakeables = AwakeablesClient(caller)
    match value:
        case TerminalError():
            await awakeables.reject(RejectAwakeableRequest(id=id, reason=value.message))
        case Text():
            await awakeables.resolve(ResolveAwakeableRequest(id=id, bytes_result=value.SerializeToString()))
        case _:
            await awakeables.resolve(ResolveAwakeableRequest(id=id, json_result=Parse(json.dumps(value), Value())))


async def by_ingress(served: Any, id: str, value: Any) -> None:
    await settle_by_path(served.http, f"/restate/awakeables/{id}", value)


async def by_admin(served: Any, id: str, value: Any) -> None:
    await settle_by_path(served.admin, f"/awakeables/{id}", value)


async def settle_by_path(http: Any, path: str, value: Any) -> None:
    match value:
        case TerminalError():
            reply = await http.post(f"{path}/reject", value.message, content_type="text/plain")
        case Text():
            reply = await http.post(f"{path}/resolve", value.SerializeToString(), content_type="application/octet-stream")
        case _:
            reply = await http.post(f"{path}/resolve", json.dumps(value))
    if reply.status != 200:
        _, code, message = reply.error
        raise TerminalError(message, Code[code.upper()])


SIDES = [by_runtime, by_connection, by_sync_connection, by_service_in_process, by_service_over_http, by_ingress, by_admin]
sides = pytest.mark.parametrize("settle", SIDES, ids=lambda side: side.__name__.removeprefix("by_"))


async def waiting(served: Any, key: str, kind: str = "text") -> tuple[str, Any]:
    """The id of an awakeable, and the call of the handler that waits for it."""
    call = CounterClient(served.runtime).script(KeyedText(key=key, text=kind))
    return await served.state("sample.v1.Counter", key, "awakeable"), call


async def refused(settling: Awaitable[None]) -> Code:
    with pytest.raises(TerminalError) as caught:
        await settling
    return caught.value.code


@sides
async def test_the_first_settlement_wins(settle: Settle, served: Any) -> None:
    id, call = await waiting(served, "a")
    await settle(served, id, "yes")
    await settle(served, id, "yes")
    assert await refused(settle(served, id, "no")) is Code.ALREADY_EXISTS
    assert await refused(settle(served, id, TerminalError("no"))) is Code.ALREADY_EXISTS
    assert (await call).text == "yes"
    await settle(served, id, "yes")  # after the end of the handler too
    assert await refused(settle(served, id, "no")) is Code.ALREADY_EXISTS


@sides
async def test_a_rejection_is_a_settlement(settle: Settle, served: Any) -> None:
    id, call = await waiting(served, "a")
    await settle(served, id, TerminalError("not today"))
    await settle(served, id, TerminalError("not today"))
    assert await refused(settle(served, id, TerminalError("not ever"))) is Code.ALREADY_EXISTS
    assert await refused(settle(served, id, "yes")) is Code.ALREADY_EXISTS
    with pytest.raises(TerminalError, match="not today"):
        await call


@sides
async def test_a_message_arrives_as_the_type_that_the_handler_asked_for(settle: Settle, served: Any) -> None:
    id, call = await waiting(served, "a", "message")
    await settle(served, id, Text(text="typed"))
    await settle(served, id, Text(text="typed"))
    assert await refused(settle(served, id, Text(text="other"))) is Code.ALREADY_EXISTS
    assert await call == Text(text="typed")


@sides
async def test_json_is_read_as_a_message_too(settle: Settle, served: Any) -> None:
    id, call = await waiting(served, "a", "message")
    await settle(served, id, {"text": "typed"})
    assert await call == Text(text="typed")


@sides
async def test_a_value_of_another_type_fails_at_the_await(settle: Settle, served: Any) -> None:
    id, call = await waiting(served, "a")
    await settle(served, id, 5)
    with pytest.raises(TerminalError, match="does not fit") as caught:
        await call
    assert caught.value.code is Code.INVALID_ARGUMENT


@sides
@pytest.mark.parametrize("id", [UNKNOWN, "sign_1x", "inv_1", "nonsense"])
async def test_an_unknown_id_is_not_found(settle: Settle, id: str, served: Any) -> None:
    assert await refused(settle(served, id, "yes")) is Code.NOT_FOUND
    assert await refused(settle(served, id, TerminalError("no"))) is Code.NOT_FOUND


@sides
async def test_an_id_of_nothing_is_refused(settle: Settle, served: Any) -> None:
    assert await refused(settle(served, "", "yes")) in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)


async def test_all_sides_at_once_settle_it_once(served: Any) -> None:
    id, call = await waiting(served, "a")
    done = await asyncio.gather(*(settle(served, id, settle.__name__) for settle in SIDES), return_exceptions=True)
    won = [settle.__name__ for settle, outcome in zip(SIDES, done, strict=True) if outcome is None]
    lost = [outcome for outcome in done if isinstance(outcome, TerminalError)]
    assert len(won) == 1
    assert [error.code for error in lost] == [Code.ALREADY_EXISTS] * (len(SIDES) - 1)
    assert (await call).text == won[0]


async def test_all_sides_at_once_with_the_same_value_are_one_settlement(served: Any) -> None:
    id, call = await waiting(served, "a")
    await asyncio.gather(*(settle(served, id, "yes") for settle in SIDES))
    assert (await call).text == "yes"


async def test_equal_values_may_be_written_in_another_way(served: Any) -> None:
    id, _ = await waiting(served, "a")
    path = f"/restate/awakeables/{id}/resolve"
    assert (await served.http.post(path, '{"a": 1, "b": [1, {"c": null}]}')).status == 200
    assert (await served.http.post(path, ' {"b":[1.0,{"c":null}], "a":1}')).status == 200
    assert (await served.http.post(path, '{"a": true, "b": [1, {"c": null}]}')).error[:2] == (409, "already_exists")
    await served.runtime.resolve_awakeable(id, {"b": [1, {"c": None}], "a": 1})

    id, _ = await waiting(served, "b")
    names = [f"name{number}" for number in range(20)]
    await served.runtime.resolve_awakeable(id, Event(attributes={name: name for name in names}))
    await served.runtime.resolve_awakeable(id, Event(attributes={name: name for name in reversed(names)}))
    assert await refused(served.runtime.resolve_awakeable(id, Event(attributes={"name0": "name0"}))) is Code.ALREADY_EXISTS


@pytest.mark.rule("R45")
@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
async def test_numbers_that_nobody_can_read_are_refused(served: Any, number: str) -> None:
    id, call = await waiting(served, "a")
    assert (await served.http.post(f"/restate/awakeables/{id}/resolve", number)).error[:2] == (400, "invalid_argument")
    await by_ingress(served, id, "good")
    assert (await call).text == "good"


async def test_a_settlement_before_the_await_is_kept(served: Any) -> None:
    id, call = await waiting(served, "a")
    await by_ingress(served, id, "early")
    assert (await call).text == "early"


@sides
async def test_after_the_end_of_the_handler(settle: Settle, served: Any) -> None:
    """What was settled stays so, for as long as the invocation is known; what was not has nobody left to settle it for."""
    id, call = await waiting(served, "a")
    await settle(served, id, "yes")
    assert (await call).text == "yes"
    await settle(served, id, "yes")
    assert await refused(settle(served, id, "no")) is Code.ALREADY_EXISTS
    id, call = await waiting(served, "b")
    for row in served.runtime.inspector.invocations(key="b"):
        await served.runtime.kill(row["id"])
    with pytest.raises(TerminalError, match="killed"):
        await call
    assert await refused(settle(served, id, "yes")) is Code.NOT_FOUND
    assert await refused(settle(served, id, TerminalError("no"))) is Code.NOT_FOUND


@pytest.mark.parametrize("tag", [b"serde:\xff", b"message:\xff", b"\xff", b"serde:", b"text"])
async def test_a_tag_that_is_none_is_refused_and_holds_nothing_up(tag: bytes, served: Any) -> None:
    id, call = await waiting(served, "a")
    reader, writer = await asyncio.open_connection(*served.http.url.removeprefix("http://").split(":"))
    lines = f"POST /restate/awakeables/{id}/resolve HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n"
    writer.write(lines.encode() + b"content-type: application/octet-stream\r\nx-restate-value-tag: " + tag + b"\r\n\r\nx")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    await by_ingress(served, id, "yes")
    assert (await call).text == "yes"
