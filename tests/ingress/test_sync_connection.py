"""Calls from code without an event loop: each test's body runs in a thread, beside the runtime's own loop."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import hosted
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterSyncClient, EchoBase, EchoClient, EchoSyncClient, LedgerSyncClient

from restate_runtime import App, Code, RuntimeFault, SyncConnection, TerminalError, UnkeyedContext, connect, connect_sync


async def outside(served: Any, body: Callable[[SyncConnection], Any]) -> Any:
    """What a function returns, called in a thread with a connection."""

    def run() -> Any:
        with connect_sync(served.runtime.ingress_url) as connection:
            return body(connection)

    return await asyncio.to_thread(run)


async def test_the_three_forms_of_a_call(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        counter = CounterSyncClient(connection)
        assert counter.add(AddRequest(name="a", amount=2)) == Number(value=2)
        handle = counter.add.in_background(AddRequest(name="a", amount=3))
        assert handle.invocation_id().startswith("inv_1")
        assert handle.result() == Number(value=5)
        delayed = counter.add.delayed(AddRequest(name="a", amount=4), delay=timedelta(hours=1))
        assert delayed.status() == "scheduled"
        ledger = LedgerSyncClient(connection)
        nothing: Any = ledger.append
        assert nothing(Text(text="x")) is None
        assert ledger.lines() == LineList(lines=["x"])
        assert ledger.lines.in_background().result(timeout=60) == LineList(lines=["x"])
        assert ledger.lines.delayed(timedelta(milliseconds=1)).result() == LineList(lines=["x"])

    await outside(served, body)


@pytest.mark.rule("R2")
async def test_idempotency_key_and_headers(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        counter, echo = CounterSyncClient(connection), EchoSyncClient(connection)
        for _ in range(2):
            assert counter.add(AddRequest(name="a", amount=2), idempotency_key="schlüssel") == Number(value=2)
        assert counter.add.in_background(AddRequest(name="a", amount=2), idempotency_key="schlüssel").result() == Number(value=2)
        assert echo.script(Text(text="header x-tenant"), headers={"x-tenant": "blau, ä"}) == Text(text="blau, ä")
        assert echo.script(Text(text="header x-tenant"), headers={"x-tenant": "x" * 7_500}) == Text(text="x" * 7_500)
        for headers in hosted.UNSENDABLE:
            with pytest.raises(TerminalError) as caught:
                echo.call(Text(), headers=headers)
            assert caught.value.code is Code.INVALID_ARGUMENT
        with pytest.raises(TerminalError, match="the idempotency key cannot be sent over HTTP: it has more than 7500 bytes"):
            echo.call(Text(), idempotency_key="ä" * 3_751)

    await outside(served, body)


@pytest.mark.rule("R2")
async def test_a_timeout_bounds_the_wait_and_not_the_invocation(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        echo = EchoSyncClient(connection)
        with pytest.raises(TimeoutError, match=r"sample.v1.Echo/Script: no answer within 0.05 s; the invocation goes on"):
            echo.script(Text(text="sleep 0.3"), timeout=0.05, idempotency_key="k")
        assert echo.script(Text(text="sleep 0.3"), idempotency_key="k") == Text(text="done")
        handle = echo.script.in_background(Text(text="sleep 0.3"))
        with pytest.raises(TimeoutError):
            handle.result(timeout=timedelta(milliseconds=20))
        assert handle.result(timeout=60) == Text(text="done")
        with pytest.raises(TimeoutError, match="no time is left"):
            echo.call(Text(), timeout=0)

    await outside(served, body)


@pytest.mark.rule("R11")
async def test_errors_are_those_of_the_other_connection(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        echo = EchoSyncClient(connection)
        with pytest.raises(TerminalError) as caught:
            echo.script(Text(text="fail NOT_FOUND gone"))
        assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, "gone")
        with pytest.raises(TerminalError) as caught:
            echo.script(Text(text="fail UNAVAILABLE later"))
        assert caught.value.code is Code.UNAVAILABLE
        with pytest.raises(TerminalError, match="the key field 'name' is empty"):
            CounterSyncClient(connection).get(CounterKey())
        with pytest.raises(TypeError, match="takes a Text, not a CounterKey"):
            echo.call(CounterKey())  # type: ignore[arg-type]
        with pytest.raises(TerminalError) as caught:
            connection.method("sample.v1.Nothing/Here")(b"")
        assert caught.value.code is Code.NOT_FOUND
        assert connection.method("sample.v1.Echo/Call")(Text(text="x").SerializeToString()) == Text(text="x").SerializeToString()
        with pytest.raises(ValueError, match="SERVICE/METHOD"):
            connection.method("nonsense")

    await outside(served, body)


@pytest.mark.rule("R5")
@pytest.mark.rule("R6")
@pytest.mark.rule("R15")
async def test_a_handle_for_a_known_id_awakeables_cancel_and_kill(served: Any) -> None:
    def body(connection: SyncConnection) -> str:
        counter = CounterSyncClient(connection)
        handle = counter.script.in_background(KeyedText(key="a", text="text"))
        other = connection.invocation(handle.invocation_id())
        assert other.status() in ("ready", "running", "suspended")
        stuck = counter.script.in_background(KeyedText(key="b", text="text"))
        stuck.kill()
        with pytest.raises(TerminalError) as caught:
            stuck.result()
        assert caught.value.code is Code.ABORTED
        cancelled = counter.script.in_background(KeyedText(key="d", text="text"))
        connection.invocation(cancelled.invocation_id()).cancel()
        with pytest.raises(TerminalError) as caught:
            cancelled.result()
        assert caught.value.code is Code.CANCELLED
        cancelled.cancel()
        assert cancelled.status() == "completed"
        rejected = counter.script.in_background(KeyedText(key="c", text="message"))
        return " ".join(one.invocation_id() for one in (handle, rejected))

    ids = (await outside(served, body)).split()
    wanted = [await served.state("sample.v1.Counter", key, "awakeable") for key in ("a", "c")]

    def settle(connection: SyncConnection) -> None:
        connection.resolve_awakeable(wanted[0], "hello")
        assert connection.invocation(ids[0]).result() == Text(text="hello")
        connection.reject_awakeable(wanted[1], "no")
        with pytest.raises(TerminalError, match="no"):
            connection.invocation(ids[1]).result()
        with pytest.raises(TerminalError) as caught:
            connection.resolve_awakeable(wanted[0], "other")
        assert caught.value.code is Code.ALREADY_EXISTS

    await outside(served, settle)


async def test_threads_share_a_connection(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        counter = CounterSyncClient(connection)
        with ThreadPoolExecutor(40) as threads:
            totals = list(threads.map(lambda _: counter.add(AddRequest(name="a", amount=1)).value, range(200)))
        assert sorted(totals) == list(range(1, 201))

    await outside(served, body)


async def test_threads_wait_side_by_side(served: Any) -> None:
    """More than the connections that are kept: none waits for another's."""
    keys = [str(number) for number in range(50)]

    def body(connection: SyncConnection) -> None:
        counter = CounterSyncClient(connection)
        with ThreadPoolExecutor(len(keys)) as threads:
            assert {reply.text for reply in threads.map(lambda key: counter.script(KeyedText(key=key, text="text")), keys)} == {"go"}

    waiting = asyncio.create_task(outside(served, body))
    for awakeable in [await served.state("sample.v1.Counter", key, "awakeable") for key in keys]:
        await served.runtime.resolve_awakeable(awakeable, "go")
    await waiting


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with (
            connect_sync(url) as connection,
            pytest.raises(ConnectionError, match=f"no runtime can be reached at {url}: Connection refused"),
        ):
            EchoSyncClient(connection).call(Text())


def test_the_answer_breaks_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(2):
                connected, _ = server.accept()
                connected.recv(65536)
                connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf" if not halves else b"")
                halves.append(1)
                connected.close()

        halves: list[int] = []
        thread = threading.Thread(target=hang_up)
        thread.start()
        with connect_sync(f"http://127.0.0.1:{server.getsockname()[1]}") as connection:
            for reason in ("IncompleteRead(4 bytes read, 6 more expected)", "Remote end closed connection without response"):
                message = f"broke before there was an answer ({reason}); a retry under the same idempotency key is safe"
                with pytest.raises(ConnectionError, match=re.escape(message)):
                    EchoSyncClient(connection).call(Text())
        thread.join()


def test_a_closed_connection_is_refused() -> None:
    connection = connect_sync("http://127.0.0.1:1/")
    assert connection.url == "http://127.0.0.1:1"
    connection.close()
    with pytest.raises(ConnectionError, match="is closed"):
        EchoSyncClient(connection).call(Text())
    with pytest.raises(ValueError, match="is no ingress"):
        connect_sync("127.0.0.1:8080")


@pytest.mark.rule("R31")
async def test_it_outlives_a_restart_of_the_runtime(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    data_dir = tmp_path / "data"
    async with hosted.app.start(data_dir=data_dir, ingress="127.0.0.1:0", **runtime_options) as runtime:
        url = runtime.ingress_url
        assert url is not None
        connection = connect_sync(url)
        counter = CounterSyncClient(connection)
        assert (await asyncio.to_thread(counter.add, AddRequest(name="a", amount=1))).value == 1
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(counter.add, AddRequest(name="a", amount=1))
    async with hosted.app.start(data_dir=data_dir, ingress=url.removeprefix("http://"), **runtime_options):
        assert (await asyncio.to_thread(counter.add, AddRequest(name="a", amount=1))).value == 2
    connection.close()


@pytest.mark.rule("R7")
async def test_it_is_refused_inside_a_handler_and_allowed_in_a_side_effect(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    class Inside(EchoBase):
        async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
            with pytest.raises(RuntimeFault, match="cannot be used inside a handler"):
                EchoSyncClient(connection).call(request)
            return await ctx.run("outside", lambda: EchoSyncClient(connection).script(request))

        async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
            return Text(text=request.text + "!")

    async with App(Inside()).start(data_dir=tmp_path / "data", ingress="127.0.0.1:0", **runtime_options) as runtime:
        assert runtime.ingress_url is not None
        with connect_sync(runtime.ingress_url) as connection:
            assert (await asyncio.to_thread(EchoSyncClient(connection).call, Text(text="x"))).text == "x!"


FORKING = """
import os
import sys

from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoSyncClient

from restate_runtime import connect_sync


def play(name: str) -> int:
    return sum(echo.call(Text(text=f"{name} {number}")).text != f"{name} {number}" for number in range(200))


connection = connect_sync(sys.argv[1])
echo = EchoSyncClient(connection)
play("before")
children = []
for child in range(3):
    pid = os.fork()
    if not pid:
        try:
            os._exit(play(f"child {child}"))
        finally:
            os._exit(1)
    children.append(pid)
mistakes = play("parent")
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(mistakes, codes)
"""


async def test_a_forked_process_has_connections_of_its_own(served: Any) -> None:
    """On one socket two processes would take each other's answers."""
    script = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORKING, served.runtime.ingress_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await script.communicate()
    assert (out.decode().strip(), err.decode()) == ("0 [0, 0, 0]", "")


async def test_a_crowd_of_threads_is_nothing_to_complain_of(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    def body(connection: SyncConnection) -> None:
        echo = EchoSyncClient(connection)
        with ThreadPoolExecutor(60) as threads:
            assert {reply.text for reply in threads.map(lambda _: echo.script(Text(text="sleep 0.3")), range(60))} == {"done"}

    with caplog.at_level("WARNING"):
        await outside(served, body)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")] == []


async def test_a_timeout_of_any_size_and_kind(served: Any) -> None:
    def body(connection: SyncConnection) -> None:
        echo: Any = EchoSyncClient(connection)
        for timeout in (timedelta(days=40), timedelta.max, math.inf, 10**30, 5):
            assert echo.call(Text(text="x"), timeout=timeout) == Text(text="x")
            assert echo.call.in_background(Text(text="x")).result(timeout=timeout) == Text(text="x")
        for timeout in ("5", True, b""):
            with pytest.raises(TypeError, match=r"timeout is a datetime.timedelta, or a number of seconds, not a"):
                echo.call(Text(), timeout=timeout)
        with pytest.raises(ValueError, match="not NaN"):
            echo.call(Text(), timeout=math.nan)

    await outside(served, body)


def test_a_client_says_what_it_takes() -> None:
    with connect_sync("http://127.0.0.1:1") as connection:
        with pytest.raises(TypeError, match=r"EchoClient takes a context, a runtime or a connection, not SyncConnection"):
            EchoClient(connection)  # type: ignore[arg-type]
        for caller in (connect("http://127.0.0.1:1"), App, None):
            with pytest.raises(TypeError, match=rf"EchoSyncClient takes what connect_sync\(\) gives, not {type(caller).__name__}"):
                EchoSyncClient(caller)  # type: ignore[arg-type]
