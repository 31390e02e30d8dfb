"""How long a completed call answers repeats of its idempotency key, and when its rows go (R22)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import apsw
import pytest
from sample.v1.events_pb2 import Blob, Page, Question
from sample.v1.events_restate import FeedBase, FeedClient, FeedSyncClient, StreamBase, StreamClient

from dev.restate.events_pb2 import Event
from restate_runtime import App, KeyedContext, Runtime, TerminalError, UnkeyedContext, connect, connect_sync
from restate_runtime.identifiers import parse_invocation_id

from .harness import Clock, start, until

pytestmark = pytest.mark.rule("R22")

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


class Feed(FeedBase):
    """`Ask` has a retention of an hour of its own, and calls itself with an idempotency key where the text says so."""

    def __init__(self) -> None:
        self.asked = 0

    async def read(self, ctx: KeyedContext, request: Page) -> Page:
        answers = [await FeedClient(ctx).ask(Question(feed="inner"), idempotency_key="inner") for _ in range(2)]
        return Page(text=" ".join(answer.text for answer in answers))

    async def store(self, ctx: KeyedContext, request: Blob) -> Blob:
        return request

    async def take(self, ctx: KeyedContext, request: Event) -> Event:
        return request

    async def ask(self, ctx: KeyedContext, request: Question) -> Question:
        self.asked += 1
        return Question(text=str(self.asked))


class Stream(StreamBase):
    """All of it has a retention of a week."""

    def __init__(self) -> None:
        self.taken = 0

    async def take(self, ctx: UnkeyedContext, request: Event) -> Event:
        self.taken += 1
        return Event(payload=str(self.taken).encode())


def hosted() -> App:
    return App(Feed(), Stream())


def ids(runtime: Runtime) -> set[str]:
    return {row["id"] for row in runtime.inspector.invocations()}


def rows(data_dir: Path) -> dict[str, int]:
    """What a look into the file finds."""
    connection = apsw.Connection(str(data_dir / "restate.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        tables = ("invocation", "command", "notification", "idempotency")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").get for table in tables}
    finally:
        connection.close()


async def test_the_option_of_an_rpc_and_of_a_service(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:

        async def ask() -> str:
            return (await FeedClient(runtime).ask(Question(feed="k"), idempotency_key="one")).text

        async def take() -> bytes:
            return (await StreamClient(runtime).take(Event(), idempotency_key="one")).payload

        assert (await ask(), await take()) == ("1", b"1")
        clock.advance(HOUR / 2)
        assert (await ask(), await take()) == ("1", b"1")
        clock.advance(HOUR)  # half an hour too late for the rpc, whatever the runtime's day is
        assert (await ask(), await take()) == ("2", b"1")
        clock.advance(WEEK - HOUR * 2)  # the service's week counts, not the runtime's day
        assert (await ask(), await take()) == ("3", b"1")
        clock.advance(HOUR)
        assert await take() == b"2"


async def test_the_option_counts_for_calls_from_handlers(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:

        async def inner() -> str:
            return (await FeedClient(runtime).read(Page(feed="k"))).text

        assert [await inner(), await inner()] == ["1 1", "1 1"]
        clock.advance(HOUR)
        assert await inner() == "2 2"


async def test_a_header_counts_before_the_option(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with (
        start(hosted(), clock, data_dir=tmp_path, ingress="127.0.0.1:0", **runtime_options) as runtime,
        aiohttp.ClientSession(runtime.ingress_url) as session,
    ):

        async def ask(path: str, key: str, period: str, body: Any = None) -> tuple[int, Any]:
            headers = {"idempotency-key": key, "idempotency-retention-period": period}
            async with session.post(path, json={"feed": "k"} if body is None else body, headers=headers) as response:
                return response.status, await response.json()

        call, named, invoke = "/sample.v1.Feed/Ask", "/restate/call/sample.v1.Feed/k/Ask", "/dev.restate.Ingress/Invoke"
        assert await ask(call, "short", "60") == (200, {"text": "1"})
        assert await ask(named, "long", "7200", {}) == (200, {"text": "2"})
        argument = {"service": "sample.v1.Feed", "method": "Ask", "argument": {"feed": "k"}}
        _, first = await ask(invoke, "invoked", "120", argument)
        assert await ask(call, "none", "0") == (200, {"text": "4"})
        assert await ask(call, "none", "0") == (200, {"text": "5"})  # it is forgotten at once
        clock.advance(timedelta(seconds=90))
        assert await ask(call, "short", "60") == (200, {"text": "6"})
        assert (await ask(invoke, "invoked", "120", argument))[1] == first
        clock.advance(HOUR)
        assert await ask(call, "long", "7200") == (200, {"text": "2"})
        assert (await ask(invoke, "invoked", "120", argument))[1] != first
        for period in ("-1", "soon", "", "nan", "inf", "1e30"):
            status, answer = await ask(call, "refused", period)
            assert (status, answer["code"]) == (400, "invalid_argument"), (period, answer)
            assert "idempotency-retention-period" in answer["message"]


@pytest.mark.parametrize("caller", ["runtime", "connection", "sync connection", "by name", "handler", "background"])
async def test_clients_give_the_header_as_one_of_their_headers(caller: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock, period, asked = Clock(), {"Idempotency-Retention-Period": "60"}, Question(feed="k")

    class Passing(Feed):
        """`Read` asks on behalf of the test, and what `Ask` sees of the header is kept."""

        seen: ClassVar[list[str | None]] = []

        async def read(self, ctx: KeyedContext, request: Page) -> Page:
            return Page(text=(await FeedClient(ctx).ask(asked, idempotency_key="one", headers=period)).text)

        async def ask(self, ctx: KeyedContext, request: Question) -> Question:
            self.seen.append(ctx.headers.get("idempotency-retention-period"))
            return await super().ask(ctx, request)

    feed = Passing()
    async with (
        start(App(feed, Stream()), clock, data_dir=tmp_path, ingress="127.0.0.1:0", **runtime_options) as runtime,
        connect(runtime.ingress_url) as connection,
    ):

        async def ask() -> str:
            match caller:
                case "runtime":
                    answer = await FeedClient(runtime).ask(asked, idempotency_key="one", headers=period)
                case "connection":
                    answer = await FeedClient(connection).ask(asked, idempotency_key="one", headers=period)
                case "sync connection":
                    with connect_sync(runtime.ingress_url) as waiting:
                        call = FeedSyncClient(waiting).ask
                        answer = await asyncio.to_thread(call, asked, idempotency_key="one", headers=period)
                case "by name":
                    method = connection.method("sample.v1.Feed/Ask")
                    payload = await method(asked.SerializeToString(), idempotency_key="one", headers=period)
                    answer = Question.FromString(payload)
                case "background":
                    answer = await FeedClient(connection).ask.in_background(asked, idempotency_key="one", headers=period).result()
                case _:
                    return (await FeedClient(runtime).read(Page(feed="outer"))).text
            return answer.text

        assert [await ask(), await ask()] == ["1", "1"]
        clock.advance(timedelta(minutes=2))
        assert await ask() == "2"
        assert feed.seen == [None, None]
        for refused in (runtime, connection):
            with pytest.raises(TerminalError, match="idempotency-retention-period: not a duration: 'soon'"):
                await FeedClient(refused).ask(asked, idempotency_key="two", headers={"idempotency-retention-period": "soon"})


async def test_rows_go_when_nobody_can_ask_for_them_any_more(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        feed, stream = FeedClient(runtime), StreamClient(runtime)
        keyed = await feed.ask.in_background(Question(feed="k"), idempotency_key="one").invocation_id()
        plain = await feed.ask.in_background(Question(feed="k")).invocation_id()
        week = await stream.take.in_background(Event()).invocation_id()
        day = await feed.store.in_background(Blob(feed="k"), idempotency_key="two").invocation_id()
        for id in (keyed, plain, week, day):
            await runtime.invocation(id).result()
    clock.advance(HOUR * 2)
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        await until(lambda: ids(runtime) == {week, day})  # an hour for the rpc, a day for what has no option
        assert rows(tmp_path) == {"invocation": 2, "command": 4, "notification": 0, "idempotency": 1}
        assert (await FeedClient(runtime).ask(Question(feed="k", text="another request"), idempotency_key="one")).text == "1"
    clock.advance(timedelta(days=2))
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        await until(lambda: ids(runtime) == {week})  # a week for the service
        assert rows(tmp_path) == {"invocation": 1, "command": 2, "notification": 0, "idempotency": 0}
    clock.advance(WEEK)
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        await until(lambda: ids(runtime) == set())
        assert set(rows(tmp_path).values()) == {0}


async def test_a_journal_that_is_kept_shorter_than_a_key_stays_with_it(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    options = {"data_dir": tmp_path, "journal_retention": "1m", "idempotency_retention": "1h"} | runtime_options
    async with start(hosted(), clock, **options) as runtime:
        feed = FeedClient(runtime)
        await feed.store(Blob(feed="k", data=b"x"), idempotency_key="one")
        await feed.store(Blob(feed="k"))
    clock.advance(HOUR / 2)
    async with start(hosted(), clock, **options) as runtime:
        await until(lambda: len(ids(runtime)) == 1)
        assert (await FeedClient(runtime).store(Blob(feed="k", data=b"x"), idempotency_key="one")).data == b"x"
        assert len(ids(runtime)) == 1
    clock.advance(HOUR)
    async with start(hosted(), clock, **options) as runtime:
        await until(lambda: ids(runtime) == set())


async def test_a_new_owner_of_a_key_outlives_the_old_one(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    """The key is free before the rows of its first owner go; what deletes those must leave the second one's alone."""
    clock = Clock()
    async with start(hosted(), clock, data_dir=tmp_path, idempotency_retention="1h", **runtime_options) as runtime:
        first = await FeedClient(runtime).store.in_background(Blob(feed="k"), idempotency_key="one").invocation_id()
        await runtime.invocation(first).result()
        clock.advance(timedelta(hours=23, minutes=30))
        second = await FeedClient(runtime).store.in_background(Blob(feed="k", data=b"x"), idempotency_key="one").invocation_id()
        await runtime.invocation(second).result()
        assert ids(runtime) == {first, second}
    clock.advance(HOUR * 0.75)
    async with start(hosted(), clock, data_dir=tmp_path, idempotency_retention="1h", **runtime_options) as runtime:
        await until(lambda: ids(runtime) == {second})
        third = await FeedClient(runtime).store.in_background(Blob(feed="k", data=b"x"), idempotency_key="one").invocation_id()
        assert third == second
        assert rows(tmp_path)["idempotency"] == 1


async def test_many_that_are_expired_go_in_pieces(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    clock = Clock()
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        for number in range(3):
            handles = [StreamClient(runtime).take.in_background(Event(ordering_key=str(number))) for _ in range(400)]
            for handle in handles:
                await handle.result()
    clock.advance(WEEK)
    async with start(hosted(), clock, data_dir=tmp_path, **runtime_options) as runtime:
        await until(lambda: ids(runtime) == set())


class Forgotten:
    """Deletes an invocation's rows as soon as the runtime is about to read something more of it: in the middle of a look."""

    def __init__(self, runtime: Any, id: str) -> None:
        self._path = str(runtime.data_dir / "restate.sqlite3")
        self._id = parse_invocation_id(id)
        self._connections = [runtime._machinery._reader._connection, runtime.inspector._connection]
        self.done = False

    def _before(self, _: object, sql: str, __: object) -> bool:
        if not self.done and any(table in sql for table in ("FROM command WHERE seq", "FROM invocation WHERE seq")):
            self.done = True
            writer = apsw.Connection(self._path)
            (seq,) = writer.execute("SELECT seq FROM invocation WHERE id = ?", (self._id,)).fetchone()
            with writer:
                for table in ("invocation", "command", "notification", "idempotency"):
                    writer.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))
            writer.close()
        return True

    def __enter__(self) -> Forgotten:
        for connection in self._connections:
            connection.exec_trace = self._before
        return self

    def __exit__(self, *raised: object) -> None:
        for connection in self._connections:
            connection.exec_trace = None


@pytest.mark.parametrize("look", ["output", "attach", "describe", "repeat", "restart", "status of another"])
async def test_who_looks_while_it_is_forgotten_gets_it_whole(look: str, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    feed = Feed()
    async with App(feed, Stream()).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = FeedClient(runtime)
        handle = client.ask.in_background(Question(feed="k"), idempotency_key="one")
        id = await handle.invocation_id()
        assert (await handle.result()).text == "1"
        with Forgotten(runtime, id) as forgotten:
            match look:
                case "output":
                    payload = runtime.output(id)
                    assert payload is not None
                    assert Question.FromString(payload).text == "1"
                case "attach":
                    assert (await runtime.invocation(id).result()).text == "1"
                case "describe":
                    found = runtime.inspector.describe(id)
                    assert found is not None
                    assert [entry["entry"] for entry in found["journal"]] == ["input", "return"]
                case "repeat":
                    assert (await client.ask(Question(feed="k"), idempotency_key="one")).text == "1"
                case "restart":
                    assert (await runtime.invocation(await runtime.restart(id)).result()).text == "2"
                case _:
                    with pytest.raises(TerminalError, match="there is no invocation"):
                        runtime.status("inv_1" + "A" * 22)
        assert forgotten.done
        with pytest.raises(TerminalError, match="there is no invocation"):
            await runtime.invocation(id).result()
        assert runtime.inspector.describe(id) is None
