"""Attempts at a real endpoint, driven by hand: versions, both transports, suspension, errors, crashes, many at once."""

from __future__ import annotations

import asyncio

import pytest

from dev.restate import wire_pb2 as wire
from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.frames import MessageType, Version
from restate_runtime.engine.remote.transport import Address, EndpointError, Problem

from .conftest import Endpoint, serving
from .script import Invocation, begin, completion, rest, types

T = MessageType


@pytest.fixture(params=["bidi", "bidi-suspending", "request-response"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(
    ("name", "body", "result"),
    [
        ("wire.Greeter/Echo", b"hello", b"hello"),
        ("wire.Greeter/Echo", b"", b""),
        ("wire.Greeter/Wait", b"60000", b"slept"),
        ("wire.Greeter/Run", b"it", b"ran it"),
        ("wire.Greeter/Relay", b"it", b"relayed it"),
        ("Counter/Add", b"2", b"42"),
    ],
)
async def test_a_handler_runs(
    client: EndpointClient, endpoint: Endpoint, mode: str, version: Version, name: str, body: bytes, result: bytes
) -> None:
    address = endpoint.http1 if mode == "request-response" else endpoint.address
    fields = {"key": "k", "partial_state": True} if name == "Counter/Add" else {}
    invocation = Invocation(client, address, name, body, version, suspend=mode == "bidi-suspending", **fields)
    output = await invocation.run()
    assert output.value.content == result
    awaits = 0 if mode == "bidi" or name == "wire.Greeter/Echo" else 1
    assert (invocation.attempts, len(invocation.waits)) == (1 + awaits, awaits)
    if name == "wire.Greeter/Wait" and awaits:
        assert 1 in invocation.waits[0].waiting_completions
        assert 1 in invocation.waits[0].waiting_signals


async def test_a_terminal_error_is_an_output(client: EndpointClient, endpoint: Endpoint) -> None:
    output = await Invocation(client, endpoint.address, "wire.Greeter/Refuse", b"", Version.V6).run()
    assert (output.failure.code, output.failure.message) == (409, "not today")


async def test_another_error_ends_the_attempt(client: EndpointClient, endpoint: Endpoint) -> None:
    (error,) = await rest(await begin(client, endpoint.address, "Break", b""))
    assert isinstance(error.message, wire.Error)
    assert (error.message.code, error.message.message) == (500, "ValueError('broken')")


async def test_a_blocked_handler_suspends_when_it_is_half_closed(client: EndpointClient, endpoint: Endpoint) -> None:
    stream = await begin(client, endpoint.address, "Wait", b"60000")
    assert stream.bidirectional
    first = await stream.receive()
    assert first is not None
    assert first.type is T.SLEEP
    assert stream.headers["x-restate-server"].startswith("restate-sdk-python/")
    stream.half_close()
    stream.send(completion(T.SLEEP_COMPLETION, 1, void=wire.Void()))  # goes nowhere
    assert types(await rest(stream)) == ["SUSPENSION"]


async def test_what_is_sent_after_the_last_word_goes_nowhere(client: EndpointClient, endpoint: Endpoint) -> None:
    stream = await begin(client, endpoint.address, "Echo", b"x")
    assert types(await rest(stream)) == ["OUTPUT", "END"]
    stream.send(completion(T.SLEEP_COMPLETION, 1, void=wire.Void()))
    stream.half_close()
    await stream.drain()
    stream.reset()
    assert await stream.receive() is None
    assert types(await rest(await begin(client, endpoint.address, "Echo", b"x"))) == ["OUTPUT", "END"]


@pytest.mark.parametrize("http1", [False, True])
async def test_megabytes_both_ways(client: EndpointClient, endpoint: Endpoint, http1: bool) -> None:
    body = bytes(range(256)) * (5 << 12)
    output = await Invocation(client, endpoint.http1 if http1 else endpoint.address, "wire.Greeter/Echo", body, Version.V6).run()
    assert output.value.content == body


async def test_sending_much_can_be_waited_for(client: EndpointClient, endpoint: Endpoint) -> None:
    stream = await begin(client, endpoint.address, "Echo", b"x" * (20 << 20))
    await stream.drain()
    assert types(await rest(stream)) == ["OUTPUT", "END"]


async def test_an_answer_beyond_the_limit_is_refused(endpoint: Endpoint) -> None:
    client = EndpointClient(10_000)
    try:
        with pytest.raises(EndpointError, match=r"OUTPUT of 1000.. bytes: the limit is 10000") as caught:
            await rest(await begin(client, endpoint.address, "Big", b"100000"))
        assert caught.value.problem is Problem.TOO_LARGE
        assert types(await rest(await begin(client, endpoint.address, "Big", b"1000"))) == ["OUTPUT", "END"]
    finally:
        await client.close()


@pytest.mark.parametrize("http1", [False, True])
async def test_a_missing_handler_is_refused(client: EndpointClient, endpoint: Endpoint, http1: bool) -> None:
    stream = await begin(client, endpoint.http1 if http1 else endpoint.address, "Nope", b"x" * (1 << 20))
    stream.half_close()
    with pytest.raises(EndpointError, match=r"has no such service or handler any more.*404") as caught:
        await stream.receive()
    assert (caught.value.problem, caught.value.status) == (Problem.REFUSED, 404)


@pytest.mark.parametrize("http1", [False, True])
async def test_nothing_listens(client: EndpointClient, http1: bool) -> None:
    with serving() as endpoint:
        url = endpoint.url
    with pytest.raises(EndpointError, match="cannot be reached: Connection refused") as caught:
        await Invocation(client, Address.parse(url, http1=http1), "wire.Greeter/Echo", b"x", Version.V6).run()
    assert caught.value.problem is Problem.UNREACHABLE
    assert url in str(caught.value)


async def test_an_endpoint_that_is_killed_breaks_off_its_attempts(client: EndpointClient) -> None:
    with serving() as endpoint:
        stream = await begin(client, endpoint.address, "Wait", b"60000")
        assert await stream.receive() is not None
        endpoint.kill()
        with pytest.raises(EndpointError) as caught:
            await stream.receive()
        assert caught.value.problem is Problem.LOST
    with serving(bind=endpoint.url.removeprefix("http://")):  # the same client goes on with the next one at that address
        output = await Invocation(client, endpoint.address, "wire.Greeter/Echo", b"again", Version.V6).run()
        assert output.value.content == b"again"


@pytest.mark.parametrize("http1", [False, True])
async def test_an_endpoint_that_dies_in_a_handler(client: EndpointClient, http1: bool) -> None:
    with serving() as endpoint:
        invocation = Invocation(client, endpoint.http1 if http1 else endpoint.address, "wire.Greeter/Die", b"", Version.V6)
        with pytest.raises(EndpointError) as caught:
            await invocation.run()
        assert caught.value.problem is Problem.LOST


async def test_an_attempt_that_is_given_up(client: EndpointClient, endpoint: Endpoint) -> None:
    stream = await begin(client, endpoint.address, "Wait", b"60000")
    assert await stream.receive() is not None
    waiting = asyncio.ensure_future(stream.receive())
    await asyncio.sleep(0)
    stream.reset()
    with pytest.raises(EndpointError, match="gave the attempt up"):
        await waiting
    assert types(await rest(await begin(client, endpoint.address, "Echo", b"x"))) == ["OUTPUT", "END"]


async def test_three_hundred_attempts_block_side_by_side(client: EndpointClient, endpoint: Endpoint) -> None:
    """One connection takes a hundred streams."""
    streams = await asyncio.gather(*(begin(client, endpoint.address, "Wait", b"60000") for _ in range(300)))
    first = await asyncio.gather(*(stream.receive() for stream in streams))
    assert {frame.type for frame in first if frame is not None} == {T.SLEEP}
    for stream in streams[::2]:
        stream.send(completion(T.SLEEP_COMPLETION, 1, void=wire.Void()))
    for stream in streams[1::2]:
        stream.half_close()
    ends = await asyncio.gather(*(rest(stream) for stream in streams))
    assert {tuple(types(end)) for end in ends[::2]} == {("OUTPUT", "END")}
    assert {tuple(types(end)) for end in ends[1::2]} == {("SUSPENSION",)}
    assert types(await rest(await begin(client, endpoint.address, "Echo", b"x"))) == ["OUTPUT", "END"]


async def test_more_requests_than_the_server_takes_on_a_connection(client: EndpointClient, endpoint: Endpoint) -> None:
    """Hypercorn closes a connection after a thousand requests, with all that runs on it."""
    blocked = await begin(client, endpoint.address, "Wait", b"60000")
    for _ in range(23):
        ends = await asyncio.gather(*(Invocation(client, endpoint.address, "wire.Greeter/Echo", b"x", Version.V6).run() for _ in range(50)))
        assert len(ends) == 50
    assert await blocked.receive() is not None
    blocked.half_close()
    assert types(await rest(blocked)) == ["SUSPENSION"]


async def test_a_run_is_acknowledged_from_version_seven_on(client: EndpointClient, endpoint: Endpoint) -> None:
    for version in Version:
        invocation = Invocation(client, endpoint.address, "wire.Greeter/Run", b"it", version)
        await invocation.run()
        assert invocation.acks == (1 if version is Version.V7 else 0)
