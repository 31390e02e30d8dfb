"""Events as an event source posts them (R35)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import Http, Reply
from sample.v1.events_pb2 import Blob, Page, Question
from sample.v1.events_restate import FeedBase, StreamBase

from dev.restate.events_pb2 import Event
from restate_runtime import App, KeyedContext, UnkeyedContext

pytestmark = pytest.mark.rule("R35")

FEED, STREAM = "/sample.v1.Feed", "/sample.v1.Stream"


class Feed(FeedBase):
    async def read(self, ctx: KeyedContext, request: Page) -> Page:
        before = await ctx.get("count", int) or 0
        ctx.set("count", before + 1)
        ctx.set("headers", dict(ctx.headers))
        ctx.set("key", ctx.key)
        request.before = before
        return request

    async def store(self, ctx: KeyedContext, request: Blob) -> Blob:
        return request

    async def take(self, ctx: KeyedContext, request: Event) -> Event:
        return request

    async def ask(self, ctx: KeyedContext, request: Question) -> Question:
        return request


class Stream(StreamBase):
    async def take(self, ctx: UnkeyedContext, request: Event) -> Event:
        return request


class Source:
    """An event source, and a look at what became of its events."""

    def __init__(self, runtime: Any, session: aiohttp.ClientSession) -> None:
        self.runtime = runtime
        self.http = Http(session, runtime.ingress_url)

    async def post(self, path: str, body: bytes | str, headers: dict[str, str] | None = None) -> Reply:
        return await self.http.request("POST", f"{path}/event", body, {"content-type": "text/plain"} | (headers or {}))

    async def result(self, reply: Reply) -> Any:
        assert reply.status == 202, reply.body
        assert list(reply.json) == ["invocationId"]
        assert reply.headers["x-restate-id"] == reply.json["invocationId"]
        return (await self.http.get(f"/restate/invocation/{reply.json['invocationId']}/attach")).json


@pytest.fixture
async def source(tmp_path: Path, runtime_options: dict[str, Any]) -> AsyncIterator[Source]:
    app = App(Feed(), Stream())
    async with (
        app.start(data_dir=tmp_path, ingress="127.0.0.1:0", max_message_size=10_000, **runtime_options) as runtime,
        aiohttp.ClientSession() as session,
    ):
        yield Source(runtime, session)


async def test_key_payload_and_attributes_arrive_in_their_fields(source: Source) -> None:
    headers = {"key": "news", "attribute-Topic": "weather", "attribute-x-trace": "ä 1", "x-other": "o"}
    reply = await source.post(f"{FEED}/Read", "sun ☀", headers)
    assert await source.result(reply) == {"feed": "news", "text": "sun ☀", "about": {"topic": "weather", "x-trace": "ä 1"}}
    assert await state(source, "news", "key") == "news"
    assert await state(source, "news", "headers") == {"x-other": "o"}  # the others are the call's, as ever


async def state(source: Source, key: str, name: str) -> Any:
    return source.runtime.inspector.state("sample.v1.Feed", key, name)[0]["value_json"]


async def test_a_payload_of_bytes_is_any(source: Source) -> None:
    body = bytes(range(256))
    result = await source.result(await source.post(f"{FEED}/Store", body, {"key": "k", "attribute-a": "has no field"}))
    assert result == {"feed": "k", "data": base64.b64encode(body).decode()}


@pytest.mark.parametrize("kind", ["application/json", "application/proto", "application/octet-stream", "image/png", ""])
async def test_the_content_type_does_not_matter(kind: str, source: Source) -> None:
    reply = await source.post(f"{FEED}/Read", "{", {"key": "k", "content-type": kind} if kind else {"key": "k"})
    assert (await source.result(reply))["text"] == "{"


async def test_an_empty_body_is_an_event(source: Source) -> None:
    assert await source.result(await source.post(f"{FEED}/Read", "", {"key": "k"})) == {"feed": "k"}


async def test_the_shipped_message_takes_all_of_it(source: Source) -> None:
    headers = {"key": "clé", "attribute-a": "1", "attribute-b": "2"}
    expected = {
        "orderingKey": "clé",
        "key": base64.b64encode("clé".encode()).decode(),
        "payload": base64.b64encode(b"\xff\x00").decode(),
        "attributes": {"a": "1", "b": "2"},
    }
    for path in (FEED, STREAM):
        assert await source.result(await source.post(f"{path}/Take", b"\xff\x00", headers)) == expected
    assert await source.result(await source.post(f"{STREAM}/Take", b"no key")) == {"payload": base64.b64encode(b"no key").decode()}


async def test_an_attribute_that_stands_twice_is_joined(source: Source) -> None:
    async with aiohttp.ClientSession() as session:
        headers = [("key", "k"), ("attribute-a", "1"), ("attribute-a", "2")]
        async with session.post(f"{source.http.url}{FEED}/Read/event", data=b"x", headers=headers) as response:
            reply = Reply(response.status, response.headers, await response.read())
    assert (await source.result(reply))["about"] == {"a": "1, 2"}


async def test_events_of_a_key_are_taken_in_order(source: Source) -> None:
    replies = [await source.post(f"{FEED}/Read", str(number), {"key": "k"}) for number in range(10)]
    results = await asyncio.gather(*(source.result(reply) for reply in replies))
    assert [(result["text"], result.get("before", 0)) for result in results] == [(str(number), number) for number in range(10)]


async def test_an_idempotency_key_makes_repeats_one(source: Source) -> None:
    first = await source.post(f"{FEED}/Read", "x", {"key": "k", "idempotency-key": "offset 7"})
    again = await source.post(f"{FEED}/Read", "x", {"key": "k", "idempotency-key": "offset 7"})
    assert first.json == again.json
    await source.result(first)
    assert await state(source, "k", "count") == 1
    other = await source.post(f"{FEED}/Read", "y", {"key": "k", "idempotency-key": "offset 7"})
    assert other.error[:2] == (409, "already_exists")
    assert (await source.post(f"{FEED}/Read", "x", {"key": "k", "idempotency-key": ""})).error[:2] == (400, "invalid_argument")


@pytest.mark.parametrize(
    ("path", "body", "headers", "expected", "words"),
    [
        (f"{FEED}/Read", "x", {}, (400, "invalid_argument"), "the event has no key: send it in the header key"),
        (f"{FEED}/Read", "x", {"key": ""}, (400, "invalid_argument"), "the event has no key"),
        (f"{FEED}/Take", "x", {}, (400, "invalid_argument"), "the event has no key"),
        (f"{FEED}/Read", b"ab\xff", {"key": "k"}, (400, "invalid_argument"), "no UTF-8 at byte 2, and the field 'text' is a string"),
        (f"{FEED}/Read", "x", {"key": "k", "attribute-": "v"}, (400, "invalid_argument"), "attribute- names no attribute"),
        (f"{FEED}/Ask", "x", {"key": "k"}, (400, "failed_precondition"), "sample.v1.Question has no EVENT_PAYLOAD field"),
        (f"{FEED}/Rea", "x", {"key": "k"}, (404, "not_found"), "did you mean 'Read'"),
        ("/sample.v1.Fee/Read", "x", {"key": "k"}, (404, "not_found"), "did you mean 'sample.v1.Feed'"),
        ("/dev.restate.Ingress/Invoke", "x", {"key": "k"}, (404, "not_found"), "neither /send nor /event"),
        (f"{FEED}/Read", "x" * 10_001, {"key": "k"}, (413, "resource_exhausted"), "larger than 10000 bytes"),
        (f"{FEED}/Read", "x" * 9_999, {"key": "k"}, (429, "resource_exhausted"), "the limit is 10000"),
    ],
)
async def test_what_is_no_event_is_refused_and_changes_nothing(
    path: str, body: Any, headers: dict[str, str], expected: tuple[int, str], words: str, source: Source
) -> None:
    status, code, said = (await source.post(path, body, headers)).error
    assert (status, code) == expected, said
    assert words in said
    assert source.runtime.inspector.invocations() == []


@pytest.mark.parametrize("header", ["key", "attribute-a", "idempotency-key"])
async def test_a_header_that_is_no_utf8_is_refused(header: str, source: Source) -> None:
    lines = {"key": b"k", header: b"\xff"}
    reader, writer = await asyncio.open_connection(*source.http.url.removeprefix("http://").split(":"))
    writer.write(f"POST {FEED}/Read/event HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\nconnection: close\r\n".encode())
    for name, value in lines.items():
        writer.write(name.encode() + b": " + value + b"\r\n")
    writer.write(b"\r\nx")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert f"the header {header} is not UTF-8".encode() in answer
    assert source.runtime.inspector.invocations() == []


async def test_a_key_that_stands_twice_is_refused(source: Source) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{source.http.url}{FEED}/Read/event", data=b"x", headers=[("key", "a"), ("key", "b")]) as response,
    ):
        assert (response.status, (await response.json())["message"]) == (400, "the header key stands more than once")


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
async def test_another_verb(verb: str, source: Source) -> None:
    reply = await source.http.request(verb, f"{FEED}/Read/event")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


async def test_a_delay_is_no_part_of_an_event(source: Source) -> None:
    reply = await source.http.request("POST", f"{FEED}/Read/event?delay=1s", "x", {"key": "k"})
    assert reply.error[:2] == (400, "invalid_argument")
