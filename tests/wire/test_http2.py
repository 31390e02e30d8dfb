"""What servers may do to a connection: limits, refusals, shutdowns, silence, and things that are not HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings

from dev.restate import wire_pb2 as wire
from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.exchange import AttemptStream
from restate_runtime.engine.remote.frames import FROM_RUNTIME, Frame, FrameReader, MessageType, Version
from restate_runtime.engine.remote.http2 import Http2Connection
from restate_runtime.engine.remote.pool import Http2Transport
from restate_runtime.engine.remote.transport import Address, EndpointError, Problem

from .script import begin, rest, types, value

T = MessageType
LAST = Frame(T.OUTPUT, wire.OutputCommand(value=value(b"done"))).encode() + Frame(T.END, wire.End()).encode()


class Server:
    """One connection, as a test wants it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **settings: int) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=False))
        values = {SettingCodes[name.upper()]: setting for name, setting in settings.items()}
        self.h2.local_settings = Settings(client=False, initial_values=values)
        self.h2.initiate_connection()
        self.streams: list[int] = []
        self.resets: list[StreamReset] = []
        self.ended: list[int] = []
        self.bodies: dict[int, bytearray] = {}
        self.handler: Callable[[Server, Event], None] = lambda _, __: None
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def run(self) -> None:
        while data := await self.reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                match event:
                    case RequestReceived():
                        self.streams.append(event.stream_id)
                        self.bodies[event.stream_id] = bytearray()
                    case StreamReset():
                        self.resets.append(event)
                    case StreamEnded():
                        self.ended.append(event.stream_id)
                    case DataReceived():
                        self.bodies[event.stream_id] += event.data
                self.handler(self, event)
            self.flush()

    def head(self, stream_id: int, status: int = 200, kind: str = Version.V6.content_type) -> None:
        self.h2.send_headers(stream_id, [(":status", str(status)), ("content-type", kind)])

    def answer(self, stream_id: int) -> None:
        self.head(stream_id)
        self.h2.send_data(stream_id, LAST, end_stream=True)
        self.flush()


Handler = Callable[[Server, Event], None]


class Servers:
    """The connections of one listener."""

    def __init__(self) -> None:
        self.all: list[Server] = []
        self.address = Address("")

    @property
    def streams(self) -> list[int]:
        return [len(server.streams) for server in self.all]


@asynccontextmanager
async def listening(accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]) -> AsyncIterator[Address]:
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Address.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


@asynccontextmanager
async def serving(handler: Handler, **settings: int) -> AsyncIterator[Servers]:
    servers = Servers()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(reader, writer, **settings)
        server.handler = handler
        servers.all.append(server)
        try:
            await server.run()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(accept) as servers.address:
        yield servers


def answer_at_once(server: Server, event: Event) -> None:
    if isinstance(event, RequestReceived):
        server.answer(event.stream_id)


def never(server: Server, event: Event) -> None:
    pass


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (1000, 128)])
async def test_a_servers_limit_of_streams_is_kept(client: EndpointClient, limit: int, most: int) -> None:
    count = 10 if limit < 10 else 300
    async with serving(never, max_concurrent_streams=limit) as servers:
        streams = await asyncio.gather(*(begin(client, servers.address, "Echo", b"") for _ in range(count)))
        await until(lambda: sum(servers.streams) == count)
        assert max(servers.streams) == most
        assert len(servers.all) == -(-count // most)
        for server in servers.all:
            for stream_id in server.streams:
                server.answer(stream_id)
        assert {tuple(types(await rest(stream))) for stream in streams} == {("OUTPUT", "END")}


async def test_a_stream_that_ended_makes_room(client: EndpointClient) -> None:
    async with serving(answer_at_once, max_concurrent_streams=1) as servers:
        for _ in range(5):
            assert types(await rest(await begin(client, servers.address, "Echo", b""))) == ["OUTPUT", "END"]
        assert servers.streams == [5]


async def test_a_server_that_shuts_down_finishes_what_it_has(client: EndpointClient) -> None:
    async with serving(never) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        await until(lambda: servers.streams == [1])
        first = servers.all[0]
        # Not close_connection, after which h2 itself says no more.
        first.writer.write(bytes.fromhex("000008 07 00 00000000 00000001 00000000"))
        await asyncio.sleep(0.05)
        other = await begin(client, servers.address, "Echo", b"")
        await until(lambda: servers.streams == [1, 1])
        first.answer(1)
        servers.all[1].answer(1)
        assert types(await rest(stream)) == ["OUTPUT", "END"]
        assert types(await rest(other)) == ["OUTPUT", "END"]
        await until(first.reader.at_eof)  # the client leaves once nothing is open


async def test_a_request_that_came_too_late_was_not_taken(client: EndpointClient) -> None:
    async with serving(never) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        await until(lambda: servers.streams == [1])
        servers.all[0].writer.write(bytes.fromhex("000008 07 00 00000000 00000000 00000000"))
        with pytest.raises(EndpointError, match="shutting down and did not take the request") as caught:
            await stream.receive()
        assert caught.value.problem is Problem.UNREACHABLE


async def test_a_limit_that_falls_to_nothing(client: EndpointClient) -> None:
    """What hypercorn does when it is told to stop."""
    async with serving(answer_at_once) as servers:
        await rest(await begin(client, servers.address, "Echo", b""))
        servers.all[0].h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        servers.all[0].flush()
        await asyncio.sleep(0.05)
        await rest(await begin(client, servers.address, "Echo", b""))
        assert servers.streams == [1, 1]


async def test_a_stream_that_the_server_resets(client: EndpointClient) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.h2.reset_stream(event.stream_id, ErrorCodes.INTERNAL_ERROR)

    async with serving(handler) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        with pytest.raises(EndpointError, match=r"gave the attempt up .INTERNAL_ERROR.") as caught:
            await stream.receive()
        assert caught.value.problem is Problem.LOST
        stream.send(Frame(T.END, wire.End()))
        stream.half_close()
        assert servers.streams == [1]


@pytest.mark.parametrize("early", [False, True])
async def test_the_last_word_counts_whatever_comes_after(client: EndpointClient, early: bool) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.head(event.stream_id)
            server.h2.send_data(event.stream_id, LAST)
            if early:
                server.h2.reset_stream(event.stream_id)

    async with serving(handler) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        assert types(await rest(stream)) == ["OUTPUT", "END"]
        if not early:
            await until(lambda: servers.all[0].ended == [1])  # nothing more will be sent: the client says so by itself
            stream.reset()
            await until(lambda: servers.all[0].resets)


async def test_a_response_that_ends_without_a_last_word(client: EndpointClient) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.head(event.stream_id)
            server.h2.send_data(event.stream_id, LAST[:5], end_stream=True)

    async with serving(handler) as servers:
        with pytest.raises(EndpointError, match=r"without a last message .*in the middle of another one, of which 5 bytes") as caught:
            await rest(await begin(client, servers.address, "Echo", b""))
        assert caught.value.problem is Problem.LOST


async def test_a_message_after_the_last_word(client: EndpointClient) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.head(event.stream_id)
            server.h2.send_data(event.stream_id, LAST + LAST)

    async with serving(handler) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        assert types([frame for frame in (await stream.receive(), await stream.receive()) if frame]) == ["OUTPUT", "END"]
        with pytest.raises(EndpointError, match="a message OUTPUT after the last one"):
            await stream.receive()


async def test_another_content_type(client: EndpointClient) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.head(event.stream_id, kind="text/html")

    async with serving(handler) as servers:
        with pytest.raises(EndpointError, match="answers with content type 'text/html' instead of") as caught:
            await rest(await begin(client, servers.address, "Echo", b""))
        assert caught.value.problem is Problem.PROTOCOL


async def test_a_refusal_shows_what_it_says(client: EndpointClient) -> None:
    def handler(server: Server, event: Event) -> None:
        if isinstance(event, RequestReceived):
            server.head(event.stream_id, 503)
            server.h2.send_data(event.stream_id, b"over\n  loaded", end_stream=True)

    async with serving(handler) as servers:
        with pytest.raises(EndpointError, match=r"answers with status 503: over loaded$") as caught:
            await rest(await begin(client, servers.address, "Echo", b"x" * (1 << 20)))
        assert caught.value.status == 503


async def test_an_endpoint_is_sent_no_more_than_it_takes(client: EndpointClient) -> None:
    async with serving(never, initial_window_size=1000) as servers:
        body = b"x" * 5000
        stream = await begin(client, servers.address, "Echo", body)
        stream.half_close()
        await until(lambda: servers.all and len(servers.all[0].bodies.get(1, b"")) == 1000)
        server = servers.all[0]
        await asyncio.sleep(0.05)
        assert len(server.bodies[1]) == 1000
        server.h2.increment_flow_control_window(10_000, 1)
        server.flush()
        await until(lambda: server.ended == [1])
        received = FrameReader(FROM_RUNTIME, 1 << 20).feed(bytes(server.bodies[1]))
        assert types(received) == ["START", "INPUT"]
        assert received[1].message.value.content == body  # type: ignore[attr-defined]
        server.answer(1)
        await rest(stream)


async def test_an_endpoint_sends_no_more_than_is_taken(client: EndpointClient) -> None:
    """Whoever does not receive does not fill the memory; the other streams of the connection go on."""
    sent = 0
    frame = Frame(T.OUTPUT, wire.OutputCommand(value=value(b"x" * 10_000))).encode()

    def handler(server: Server, event: Event) -> None:
        nonlocal sent
        if isinstance(event, RequestReceived):
            server.head(event.stream_id)
        if server.streams and isinstance(event, (RequestReceived, WindowUpdated)):
            while server.h2.local_flow_control_window(1) > len(frame):
                server.h2.send_data(1, frame)
                sent += 1

    async with serving(handler) as servers:
        slow = await begin(client, servers.address, "Echo", b"")
        first = await slow.receive()
        assert first is not None
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert 1 << 20 <= sent * len(frame) <= 4 << 20
        other = await begin(client, servers.address, "Echo", b"")
        await until(lambda: len(servers.all[0].streams) == 2)
        servers.all[0].h2.send_data(3, LAST, end_stream=True)
        servers.all[0].flush()
        assert types(await rest(other)) == ["OUTPUT", "END"]
        for _ in range(before * 2):
            assert await slow.receive() is not None
        assert sent > before
        slow.reset()


def impatient(where: str) -> Http2Connection:
    return Http2Connection(where, ping_every_s=0.1)


def brisk(where: str) -> Http2Connection:
    return Http2Connection(where, ping_every_s=0.5, idle_s=0.1)


async def test_a_server_that_falls_silent_is_given_up() -> None:
    client = EndpointClient(1000, http2=Http2Transport(make=impatient))
    hung = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(reader, writer)
        for event in server.h2.receive_data(await reader.read(1 << 16)):
            del event
        server.flush()
        await hung.wait()
        writer.close()

    async with listening(accept) as address:
        stream = await begin(client, address, "Echo", b"")
        with pytest.raises(EndpointError, match="does not answer any more") as caught:
            await stream.receive()
        assert caught.value.problem is Problem.LOST
        hung.set()
    await client.close()


async def test_a_slow_handler_is_not_given_up_and_an_idle_connection_is_closed() -> None:
    client = EndpointClient(1000, http2=Http2Transport(make=brisk))
    async with serving(never) as servers:
        stream = await begin(client, servers.address, "Echo", b"")
        await asyncio.sleep(1.2)  # two pings, which are answered
        servers.all[0].answer(1)
        assert types(await rest(stream)) == ["OUTPUT", "END"]
        await until(servers.all[0].reader.at_eof)
        other = await begin(client, servers.address, "Echo", b"")
        await until(lambda: servers.streams == [1, 1])
        servers.all[1].answer(1)
        assert types(await rest(other)) == ["OUTPUT", "END"]
    await client.close()


async def speak(text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(text)
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("text", "message", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP/1.1, not HTTP/2", Problem.PROTOCOL),
        (b"\0\0\1\0\0\0\0\0\1x", "does not speak HTTP/2", Problem.PROTOCOL),
        (b"220 mail.example.org ESMTP\r\n", "closed the connection", Problem.LOST),
        (b"", "closed the connection", Problem.LOST),
    ],
)
async def test_what_is_no_http2_server(client: EndpointClient, text: bytes, message: str, problem: Problem) -> None:
    async with listening(lambda reader, writer: speak(text, reader, writer)) as address:
        with pytest.raises(EndpointError, match=message) as caught:
            await begin(client, address, "Echo", b"")
        assert caught.value.problem is problem
        assert address.url in str(caught.value)


async def test_a_server_that_never_greets() -> None:
    client = EndpointClient(1000, http2=Http2Transport(connect_timeout_s=0.1))
    hung = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    async with listening(accept) as address:
        results = await asyncio.gather(*(begin(client, address, "Echo", b"") for _ in range(50)), return_exceptions=True)
        assert {str(result) for result in results} == {f"{address.url} does not answer within 0.1 s"}
        hung.set()
    await client.close()


async def test_closing_the_client_ends_what_is_open(client: EndpointClient) -> None:
    async with serving(never) as servers:
        stream: AttemptStream = await begin(client, servers.address, "Echo", b"")
        waiting = asyncio.ensure_future(stream.receive())
        await until(lambda: servers.streams == [1])
        await client.close()
        with pytest.raises(EndpointError, match="the runtime closed the connection"):
            await waiting
