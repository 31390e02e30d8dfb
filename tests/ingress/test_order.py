"""The order of a connection's calls: at an ingress that sees all of them, at one that was started in between, and at one of several."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hosted
import pytest
from aiohttp import web
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from dev.restate.services_pb2 import InvokeRequest
from dev.restate.services_restate import IngressClient
from restate_runtime import Code, Connection, TerminalError, connect
from restate_runtime.ingress.http import start_ingress
from restate_runtime.web import order
from restate_runtime.web.order import ORDER, Numbers, Turns

pytestmark = pytest.mark.rule("R1")

NEVER_S = 3600.0
SOON_S = 0.05


@pytest.fixture
def gap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how long an ingress waits for a number that is missing; from the start so long that a test does not see it end."""

    def gap(seconds: float) -> None:
        monkeypatch.setattr(order, "_GAP_S", seconds)

    gap(NEVER_S)
    return gap


@pytest.fixture(autouse=True)
def no_gap_is_waited_out(gap: Callable[[float], None]) -> None:
    """Unless a test says so."""


class Arrivals:
    """Requests that arrive at one process, and which of them have begun.

    Attributes:
        begun: their names, in the order in which they began.
    """

    def __init__(self) -> None:
        self._turns = Turns()
        self._tasks: list[asyncio.Task[None]] = []
        self.begun: list[str] = []

    async def arrive(self, header: str, name: str = "", *, body: asyncio.Event | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(self._handle(header, name or header.split("/")[1], body))
        self._tasks.append(task)
        await settle()
        return task

    async def _handle(self, header: str, name: str, body: asyncio.Event | None) -> None:
        with self._turns.turn(header) as turn:
            if body is not None:
                await body.wait()
            await turn.wait()
            self.begun.append(name)

    async def all_begun(self) -> list[str]:
        await asyncio.gather(*self._tasks)
        return self.begun


async def settle() -> None:
    """Everything has happened that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def arrivals() -> AsyncIterator[Arrivals]:
    arrivals = Arrivals()
    yield arrivals
    for task in arrivals._tasks:
        task.cancel()
    await asyncio.gather(*arrivals._tasks, return_exceptions=True)


# Numbers


def test_a_call_says_which_one_is_the_oldest_under_way() -> None:
    numbers = Numbers()
    headers = dict(numbers.begin() for _ in range(3))
    token = headers[0].split("/")[0]
    assert list(headers.values()) == [f"{token}/0/0", f"{token}/1/0", f"{token}/2/0"]
    numbers.end(1)
    assert numbers.begin() == (3, f"{token}/3/0")
    numbers.end(0)
    assert numbers.begin() == (4, f"{token}/4/2")
    for number in (2, 3, 4):
        numbers.end(number)
    assert numbers.begin() == (5, f"{token}/5/5")
    assert Numbers().begin()[1].split("/")[0] != token


# Turns


@pytest.mark.parametrize("arriving", list(itertools.permutations(range(4))))
async def test_calls_begin_in_order_however_they_arrive(arrivals: Arrivals, arriving: tuple[int, ...]) -> None:
    for number in arriving:
        await arrivals.arrive(f"t/{number}/0")
    assert await arrivals.all_begun() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("arriving", list(itertools.permutations(range(57, 60))))
async def test_a_process_that_was_just_started_takes_the_order_up(arrivals: Arrivals, arriving: tuple[int, ...]) -> None:
    for number in arriving:
        await arrivals.arrive(f"t/{number}/57")
    assert await arrivals.all_begun() == ["57", "58", "59"]


async def test_calls_one_after_another_wait_for_nothing_where_another_process_has_the_rest(arrivals: Arrivals) -> None:
    for number in (1, 2, 5, 9):
        await arrivals.arrive(f"t/{number}/{number}")
        assert arrivals.begun[-1] == str(number)


async def test_a_later_call_says_that_a_lost_one_is_over(arrivals: Arrivals) -> None:
    await arrivals.arrive("t/0/0")
    await arrivals.arrive("t/2/0")  # 1 is lost
    await arrivals.arrive("t/4/2")
    assert arrivals.begun == ["0", "2"]
    await arrivals.arrive("t/3/2")
    assert arrivals.begun == ["0", "2", "3", "4"]
    await arrivals.arrive("t/1/0")  # it was slow, and comes as it comes
    assert arrivals.begun[-1] == "1"


async def test_one_number_is_missed_once(arrivals: Arrivals, gap: Callable[[float], None]) -> None:
    gap(SOON_S)
    await arrivals.arrive("t/0/0")
    for number in (5, 3, 2):
        await arrivals.arrive(f"t/{number}/0")
    assert await arrivals.all_begun() == ["0", "2", "3", "5"], "those that waited begin in their order"
    gap(NEVER_S)
    for number in (9, 7, 4):
        await arrivals.arrive(f"t/{number}/0")
    assert arrivals.begun[4:] == ["9", "7", "4"]
    await arrivals.arrive("u/1/0")
    await arrivals.arrive("u/0/0", "other")
    assert arrivals.begun[7:] == ["other", "1"], "another connection keeps its order"


async def test_one_that_is_slow_is_passed_over_and_costs_no_order(arrivals: Arrivals, gap: Callable[[float], None]) -> None:
    gap(SOON_S)
    body = asyncio.Event()
    slow = await arrivals.arrive("t/0/0", body=body)
    await (await arrivals.arrive("t/1/0"))
    gap(NEVER_S)
    await arrivals.arrive("t/3/0")
    assert arrivals.begun == ["1"]
    await arrivals.arrive("t/2/0")
    assert arrivals.begun == ["1", "2", "3"]
    body.set()
    await slow
    assert arrivals.begun[-1] == "0"


async def test_two_requests_with_one_place_both_pass(arrivals: Arrivals) -> None:
    await arrivals.arrive("t/1/0", "1")
    twin = await arrivals.arrive("t/1/0", "1 again")
    gone = await arrivals.arrive("t/1/0", "its client has gone")
    await arrivals.arrive("t/2/0")
    assert arrivals.begun == []
    gone.cancel()
    await settle()
    assert not twin.done()
    await arrivals.arrive("t/0/0")
    assert arrivals.begun == ["0", "1", "1 again", "2"]


async def test_what_is_no_place_does_not_wait(arrivals: Arrivals) -> None:
    for header in ("", "t", "t/1", "/1/0", "t/1/", "t/-1/0", "t/x/0", "t/²/0", "t/1/0/0", "t t/1/0", f"t/{10**15}/0", f"{'t' * 65}/1/0"):
        await arrivals.arrive(header, repr(header))
        assert arrivals.begun[-1] == repr(header)


async def test_what_a_connection_can_make_a_process_remember_has_a_bound() -> None:
    turns = Turns()
    for number in range(1, 5_000):
        with turns.turn(f"t/{number}/0"):
            pass  # it was refused, and none of those before it arrives
    for token in range(15_000):
        with turns.turn(f"{token}/0/0"):
            pass
    assert len(turns._orders) <= 10_000
    kept = turns.turn("t/1/0")._order
    assert len(kept.passed) + len(kept.arrived) + len(kept.waiting) <= 1_000


# An ingress


async def test_a_request_that_came_twice_is_answered_twice(served: Any) -> None:
    path, header = "/sample.v1.Echo/Call", {ORDER: "t/1/0"}
    twins = [asyncio.create_task(served.http.request("POST", path, '{"text": "x"}', header)) for _ in range(2)]
    await asyncio.sleep(SOON_S)  # most likely both wait now; where they do not, they are answered all the same
    first = await served.http.request("POST", path, '{"text": "x"}', {ORDER: "t/0/0"})
    assert [reply.status for reply in (first, *await asyncio.gather(*twins))] == [200, 200, 200]


async def test_requests_that_become_no_call_pass_their_turn_on(served: Any) -> None:
    refused = [
        ("/sample.v1.Nothing/Here", "{}", {}),
        ("/restate/call/sample.v1.Counter/a/Nothing", "{}", {}),
        ("/dev.restate.Ingress/Nothing", "{}", {}),
        ("/sample.v1.Echo/Call?x=1", "{}", {}),
        ("/sample.v1.Echo/Call", "{", {}),
        ("/sample.v1.Echo/Call", "{}", {"content-type": "text/plain"}),
        ("/dev.restate.Ingress/Invoke", "{", {}),
        ("/dev.restate.Awakeables/Resolve", "{}", {}),
    ]
    for number, (path, body, headers) in enumerate(refused):
        reply = await served.http.request("POST", path, body, {ORDER: f"t/{number}/0", **headers})
        assert 400 <= reply.status < 500, path
    last = await served.http.request("POST", "/sample.v1.Echo/Call", "{}", {ORDER: f"t/{len(refused)}/0"})
    assert last.status == 200


@pytest.mark.rule("R34")
async def test_built_in_calls_have_their_place_in_the_order(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        begun: list[Any] = []
        for amount in range(0, 20, 2):
            invoked = AddRequest(name="a", amount=amount).SerializeToString()
            begun.append(IngressClient(connection).invoke(InvokeRequest(service="sample.v1.Counter", method="Add", pb=invoked)))
            begun.append(CounterClient(connection).add(AddRequest(name="a", amount=amount + 1)))
        await asyncio.gather(*begun)
    assert await served.state("sample.v1.Counter", "a", "order") == list(range(20))


@pytest.mark.rule("R31")
async def test_calls_after_a_restart_wait_for_none_of_those_before(tmp_path: Path) -> None:
    async with hosted.app.start(data_dir=tmp_path, ingress="127.0.0.1:0") as runtime:
        assert runtime.ingress_url is not None
        address = urlsplit(runtime.ingress_url).netloc
        connection = await connect(runtime.ingress_url).__aenter__()
        for text in "abc":
            await EchoClient(connection).call(Text(text=text))
    async with hosted.app.start(data_dir=tmp_path, ingress=address):
        await EchoClient(connection).call(Text(text="d"))
        await asyncio.gather(*(CounterClient(connection).add(AddRequest(name="a", amount=number)) for number in range(20)))
        assert await CounterClient(connection).add(AddRequest(name="a", amount=0)) == Number(value=190)
        await connection.__aexit__(None, None, None)


async def test_a_refused_call_holds_none_up(served: Any) -> None:
    async with connect(served.runtime.ingress_url) as connection:
        calls = [connection.method("sample.v1.Nothing/Here")(b""), EchoClient(connection).call(Text(text="x"))]
        refused, echoed = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(refused, TerminalError)
    assert echoed == Text(text="x")


# Several ingresses


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def balanced(served: Any) -> AsyncIterator[Connection]:
    """A connection whose sockets lead to two ingresses by turns."""
    ingresses = [await start_ingress(served.runtime, "127.0.0.1:0") for _ in range(2)]
    ports = itertools.cycle([urlsplit(ingress.url).port for ingress in ingresses])
    pipes: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", next(ports))
        for way in (pipe(reader, back), pipe(there, writer)):
            pipes.add(asyncio.create_task(way))

    balancer = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = balancer.sockets[0].getsockname()[1]
    async with connect(f"http://127.0.0.1:{port}") as connection:
        yield connection
    balancer.close()
    for ingress in ingresses:
        await ingress.stop(0)
    await asyncio.gather(*pipes)


async def test_behind_a_balancer_numbers_are_missed_once(
    balanced: Connection, gap: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    gap(SOON_S)
    echo = EchoClient(balanced)
    for _ in range(5):
        await asyncio.gather(*(echo.call(Text(text=str(number))) for number in range(4)))
    assert 1 <= sum("session affinity" in message for message in caplog.messages) <= 2, "once at each of the two"
    gap(NEVER_S)
    for _ in range(5):
        await asyncio.gather(*(echo.call(Text(text=str(number))) for number in range(4)))


async def test_an_answer_from_in_front_of_the_ingress_costs_nobody_the_order(gap: Callable[[float], None]) -> None:
    """What the ingress never saw has a number all the same: the calls after it take another token."""
    seen: list[str] = []

    async def in_front(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers[ORDER].split("/")[0])
        return web.Response(status=413 if len(seen) == 1 else 200, text="<html>" if len(seen) == 1 else "")

    runner = web.ServerRunner(web.Server(in_front))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with connect(f"http://127.0.0.1:{runner.addresses[0][1]}") as connection:
            with pytest.raises(ConnectionError, match="answered 413"):
                await EchoClient(connection).call(Text(text="large"))
            await EchoClient(connection).call(Text())
            await EchoClient(connection).call(Text())
    finally:
        await runner.cleanup()
    assert seen[0] != seen[1] == seen[2]


async def test_a_key_that_does_not_fit_into_a_url_is_refused_before_it_is_sent() -> None:
    async with connect("http://127.0.0.1:1") as connection:
        with pytest.raises(TerminalError, match="the key is too long for a URL") as raised:
            await connection.method("Nope/x", key="k" * 9000)(b"")
        assert raised.value.code is Code.INVALID_ARGUMENT
