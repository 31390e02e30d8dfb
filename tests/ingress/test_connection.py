"""Calls from another process, over a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import hosted
import pytest
from conftest import Http
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import App, Code, Connection, RuntimeFault, TerminalError, connect

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
async def connection(served: Any) -> AsyncIterator[Connection]:
    async with connect(served.runtime.ingress_url) as opened:
        yield opened


async def test_the_three_forms_of_a_call(connection: Connection) -> None:
    counter = CounterClient(connection)
    assert await counter.add(AddRequest(name="a", amount=2)) == Number(value=2)
    handle = counter.add.in_background(AddRequest(name="a", amount=3))
    assert await handle.result() == Number(value=5)
    delayed = counter.add.delayed(AddRequest(name="a", amount=4), delay=timedelta(hours=1))
    assert await delayed.status() == "scheduled"
    ledger = LedgerClient(connection)
    assert await ledger.append(Text(text="x")) is None
    assert list((await ledger.lines()).lines) == ["x"]


@pytest.mark.rule("R1")
async def test_calls_begin_when_they_are_made_in_that_order(connection: Connection, served: Any) -> None:
    counter = CounterClient(connection)
    begun: list[Any] = []
    for amount in range(0, 60, 2):
        begun.append(counter.add(AddRequest(name="a", amount=amount)))
        begun.append(counter.add.in_background(AddRequest(name="a", amount=amount + 1)))
    await asyncio.gather(*reversed(begun))
    await begun[-1].result()  # a background call is on disk when it is awaited, not yet done
    assert await served.state("sample.v1.Counter", "a", "order") == list(range(60))


@pytest.mark.rule("R1")
async def test_a_call_that_nobody_awaits_is_made(connection: Connection, served: Any) -> None:
    call = CounterClient(connection).add(AddRequest(name="a", amount=2))
    assert await served.state("sample.v1.Counter", "a", "total") == 2
    assert await call == Number(value=2)


@pytest.mark.rule("R2")
async def test_idempotency_key_and_headers(connection: Connection) -> None:
    counter, echo = CounterClient(connection), EchoClient(connection)
    for _ in range(2):
        assert await counter.add(AddRequest(name="a", amount=2), idempotency_key="k") == Number(value=2)
    first = counter.add.in_background(AddRequest(name="a", amount=2), idempotency_key="k")
    assert await first.result() == Number(value=2)
    assert await echo.script(Text(text="header x-tenant"), headers={"x-tenant": "blau, ä"}) == Text(text="blau, ä")


@pytest.mark.rule("R2")
async def test_a_timeout_bounds_the_wait_and_not_the_invocation(connection: Connection) -> None:
    echo = EchoClient(connection)
    with pytest.raises(TimeoutError, match="the invocation goes on"):
        await echo.script(Text(text="sleep 0.3"), timeout=0.02, idempotency_key="k")
    assert await echo.script(Text(text="sleep 0.3"), idempotency_key="k") == Text(text="done")
    handle = echo.script.in_background(Text(text="sleep 0.3"))
    with pytest.raises(TimeoutError):
        await handle.result(timeout=timedelta(milliseconds=20))
    assert await handle.result(timeout=60) == Text(text="done")


@pytest.mark.rule("R2")
async def test_headers_that_http_cannot_carry_are_refused(connection: Connection) -> None:
    for headers in hosted.UNSENDABLE:
        with pytest.raises(TerminalError) as caught:
            await EchoClient(connection).call(Text(), headers=headers)
        assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.rule("R5")
async def test_a_handle(connection: Connection) -> None:
    handle = EchoClient(connection).script.in_background(Text(text="sleep 60"))
    assert await handle is handle
    id = await handle.invocation_id()
    assert id.startswith("inv_1")
    assert await handle.status() in ("ready", "running", "suspended")
    await handle.kill()
    assert await handle.status() == "completed"
    with pytest.raises(TerminalError) as caught:
        await handle.result()
    assert caught.value.code is Code.ABORTED


@pytest.mark.rule("R5")
@pytest.mark.rule("R15")
async def test_a_handle_cancels(connection: Connection) -> None:
    handle = EchoClient(connection).script.in_background(Text(text="sleep 60"))
    await handle.cancel()
    with pytest.raises(TerminalError) as caught:
        await handle.result()
    assert (caught.value.code, caught.value.message) == (Code.CANCELLED, "cancelled")
    await connection.invocation(await handle.invocation_id()).cancel()  # nothing happens to what is over
    assert await handle.status() == "completed"
    for id, code in (("inv_1AAAAAAAAAAAAAAAAAAAAAA", Code.NOT_FOUND), ("nonsense", Code.INVALID_ARGUMENT)):
        with pytest.raises(TerminalError) as caught:
            await connection.invocation(id).cancel()
        assert caught.value.code is code


@pytest.mark.rule("R5")
async def test_awaiting_a_handle_raises_what_went_wrong(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        handle = connection.method("sample.v1.Nothing/Here").in_background(b"")
        with pytest.raises(TerminalError) as caught:
            await handle
        assert caught.value.code is Code.NOT_FOUND
        # Seen once, it is not raised again on leaving.


@pytest.mark.rule("R5")
async def test_leaving_waits_for_background_calls_under_way(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        for _ in range(50):
            CounterClient(connection).add.in_background(AddRequest(name="a", amount=1))
    assert await CounterClient(served.runtime).add(AddRequest(name="a", amount=0)) == Number(value=50)


@pytest.mark.rule("R5")
async def test_leaving_raises_failures_that_nobody_saw(served: Any) -> None:
    async def leave(url: str, calls: int) -> None:
        async with connect(url) as connection:
            for _ in range(calls):
                connection.method("sample.v1.Nothing/Here").in_background(b"")

    with pytest.raises(TerminalError, match="no service"):
        await leave(served.runtime.ingress_url, 1)
    with pytest.raises(ExceptionGroup) as caught:
        await leave(NOBODY, 2)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionError, ConnectionError]


@pytest.mark.rule("R5")
async def test_the_error_of_the_block_is_the_one_that_is_raised() -> None:
    async def fail() -> None:
        async with connect(NOBODY) as connection:
            EchoClient(connection).call.in_background(Text())
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        await fail()
    assert "no runtime can be reached" in caught.value.__notes__[0]


@pytest.mark.rule("R6")
async def test_a_known_id(connection: Connection) -> None:
    id = await CounterClient(connection).add.in_background(AddRequest(name="a", amount=7)).invocation_id()
    assert await connection.invocation(id).result() == Number(value=7)
    assert await connection.invocation(id).status() == "completed"
    id = await LedgerClient(connection).append.in_background(Text(text="x")).invocation_id()
    assert await connection.invocation(id).result() is None
    with pytest.raises(TerminalError) as caught:
        await connection.invocation("inv_1AAAAAAAAAAAAAAAAAAAAAA").result()
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.rule("R6")
async def test_a_method_by_name(connection: Connection) -> None:
    add = connection.method("sample.v1.Counter/Add")
    request = AddRequest(name="a", amount=7).SerializeToString()
    assert Number.FromString(await add(request)).value == 7
    assert Number.FromString(await add.in_background(request).result()).value == 14
    with pytest.raises(TerminalError) as caught:
        await add(b"")
    assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="SERVICE/METHOD"):
        connection.method("Add")


@pytest.mark.rule("R7")
async def test_all_of_asyncio_works_on_calls(connection: Connection) -> None:
    echo = EchoClient(connection)
    assert [text.text for text in await asyncio.gather(*(echo.call(Text(text=str(n))) for n in range(3)))] == ["0", "1", "2"]
    assert (await asyncio.wait_for(echo.call(Text(text="x")), 60)).text == "x"
    done, pending = await asyncio.wait([echo.call(Text(text="x"))], timeout=60)
    assert (len(done), len(pending)) == (1, 0)
    assert {(await text).text for text in asyncio.as_completed([echo.call(Text(text=str(n))) for n in range(3)])} == {"0", "1", "2"}
    assert (await asyncio.shield(echo.call(Text(text="x")))).text == "x"
    async with asyncio.TaskGroup() as group:

        async def call() -> str:
            return (await echo.call(Text(text="x"))).text

        tasks = [group.create_task(call()) for _ in range(3)]
    assert [task.result() for task in tasks] == ["x", "x", "x"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(echo.script(Text(text="sleep 0.3")), 0.02)


@pytest.mark.rule("R11")
async def test_outcomes_are_terminal_errors_whatever_their_code(connection: Connection) -> None:
    for code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNAUTHENTICATED):
        with pytest.raises(TerminalError) as caught:
            await EchoClient(connection).script(Text(text=f"fail {code.name} it is so"))
        assert caught.value == TerminalError("it is so", code)


@pytest.mark.rule("R11")
async def test_what_is_no_outcome_is_a_connection_error(served: Any) -> None:
    async with connect(NOBODY) as connection:
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1: Connection refused"):
            await EchoClient(connection).call(Text())
    with pytest.raises(ConnectionError, match="is not open"):
        await EchoClient(connection).call(Text())
    async with connect(served.runtime.admin_url + "/health") as connection:
        with pytest.raises((ConnectionError, TerminalError)):
            await EchoClient(connection).call(Text())
    async with connect(served.runtime.ingress_url) as connection:
        call = EchoClient(connection).script(Text(text="sleep 60"))
        while not (await served.admin.get("/invocations")).json:
            await asyncio.sleep(0.01)
        await served.runtime.stop()
        with pytest.raises(ConnectionError):
            await call


@pytest.mark.rule("R31")
async def test_a_connection_outlives_a_restart_of_the_runtime(tmp_path: Path) -> None:

    async with hosted.app.start(data_dir=tmp_path, ingress="127.0.0.1:0") as runtime:
        address = runtime.ingress_url.removeprefix("http://")
        connection = await connect(runtime.ingress_url).__aenter__()
        counter = CounterClient(connection)
        assert await counter.add(AddRequest(name="a", amount=1)) == Number(value=1)
    with pytest.raises(ConnectionError):
        await counter.add(AddRequest(name="a", amount=1))
    async with hosted.app.start(data_dir=tmp_path, ingress=address):
        assert await counter.add(AddRequest(name="a", amount=1)) == Number(value=2)
        await connection.__aexit__(None, None, None)


@pytest.mark.rule("R34")
async def test_awakeables_get_typed_values(connection: Connection, served: Any) -> None:
    counter = CounterClient(connection)
    text = counter.script(KeyedText(key="a"))
    id = await served.state("sample.v1.Counter", "a", "awakeable")
    await connection.resolve_awakeable(id, "yes")
    await connection.resolve_awakeable(id, "yes")
    with pytest.raises(TerminalError) as caught:
        await connection.reject_awakeable(id, "no")
    assert caught.value.code is Code.ALREADY_EXISTS
    assert await text == Text(text="yes")

    message = counter.script(KeyedText(key="b", text="message"))
    await connection.resolve_awakeable(await served.state("sample.v1.Counter", "b", "awakeable"), Text(text="typed"))
    assert await message == Text(text="typed")

    refused = counter.script(KeyedText(key="c"))
    await connection.reject_awakeable(await served.state("sample.v1.Counter", "c", "awakeable"), "not today")
    with pytest.raises(TerminalError, match="not today"):
        await refused

    misfit = counter.script(KeyedText(key="d", text="message"))
    await connection.resolve_awakeable(await served.state("sample.v1.Counter", "d", "awakeable"), AddRequest(name="other"))
    with pytest.raises(TerminalError) as caught:
        await misfit
    assert caught.value.code is Code.INVALID_ARGUMENT

    with pytest.raises(TerminalError) as caught:
        await connection.resolve_awakeable("sign_1nonsense", 1)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.rule("R7")
async def test_a_connection_inside_a_handler_is_refused_and_inside_an_action_allowed(served: Any, tmp_path: Path) -> None:
    from sample.v1.sample_restate import EchoBase

    from restate_runtime import App, UnkeyedContext

    async with connect(served.runtime.ingress_url) as connection:

        class Bypass(EchoBase):
            async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
                try:
                    CounterClient(connection).get(CounterKey(name="a"))
                except RuntimeFault as fault:
                    return Text(text=fault.code)
                return Text(text="allowed")

            async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
                async def action() -> int:
                    return (await CounterClient(connection).add(AddRequest(name="a", amount=4))).value

                return Text(text=str(await ctx.run("add", action)))

        async with App(Bypass()).start(data_dir=tmp_path / "other") as runtime:
            assert (await EchoClient(runtime).call(Text())).text == "RT0402"
            assert (await EchoClient(runtime).script(Text())).text == "4"


def test_a_url_that_is_none() -> None:
    for url in ("127.0.0.1:8080", "ftp://x", "http://", ""):
        with pytest.raises(ValueError, match="is no ingress"):
            connect(url)
    for url in ("http://a..b:1", "http://[::1", "http://a:99999", "http://\udcff"):
        with pytest.raises(ValueError, match="is no URL"):
            connect(url)


@pytest.mark.rule("R5")
@pytest.mark.rule("R32")
async def test_invocations_of_a_service_that_is_no_longer_hosted_stay_within_reach(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    app, ledger_alone = hosted.app, App(hosted.Ledger())
    async with app.start(data_dir=tmp_path, **runtime_options) as runtime:
        echo = EchoClient(runtime)
        good = await echo.call.in_background(Text(text="hello")).invocation_id()
        bad = await echo.script.in_background(Text(text="fail ABORTED no")).invocation_id()
        waits = await echo.script.in_background(Text(text="sleep 3600")).invocation_id()
        assert (await runtime.invocation(good).result()).text == "hello"
        with pytest.raises(TerminalError):
            await runtime.invocation(bad).result()
    async with (
        ledger_alone.start(data_dir=tmp_path, ingress="127.0.0.1:0", **runtime_options) as runtime,
        connect(runtime.ingress_url) as connection,
        aiohttp.ClientSession() as session,
    ):
        http = Http(session, runtime.ingress_url)
        for caller in (runtime, connection):
            assert await caller.invocation(good).result() == Text(text="hello")
            with pytest.raises(TerminalError, match="no") as caught:
                await caller.invocation(bad).result()
            assert caught.value.code is Code.ABORTED
        for way in ("attach", "output"):
            assert (await http.get(f"/restate/invocation/{good}/{way}")).json == {"text": "hello"}
            assert (await http.get(f"/restate/invocation/{bad}/{way}")).error == (409, "aborted", "no")
        assert (await http.get(f"/restate/invocation/{waits}/output")).status == 470
        assert (await http.get(f"/restate/invocation/{waits}/attach", connect_timeout_ms="20")).error[:2] == (504, "deadline_exceeded")
        await connection.invocation(waits).kill()
        assert (await http.get(f"/restate/invocation/{waits}/output")).error == (409, "aborted", "killed")
