"""One HTTP/2 connection to an endpoint: streams, flow control both ways, pings, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from .exchange import Sink
from .goaway import GoAway, GoAwayFilter
from .transport import EndpointError, Problem

__all__ = ["Http2Connection"]

_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 1 << 24
_MOST_STREAMS = 128  # they share a window and a socket: beyond it another connection is the better one
_MOST_REQUESTS = 1000  # in the life of a connection: servers close theirs after about so many, with all that runs on them
_PING_EVERY_S = 20.0
_PING_TIMEOUT_S = 10.0
_IDLE_S = 4.0  # shorter than the servers' own: a request on a connection that they are closing would be lost


class Http2Exchange:
    """`exchange.Exchange` as one stream of a connection."""

    def __init__(self, connection: Http2Connection, stream_id: int, sink: Sink, *, ended: bool) -> None:
        self.sink = sink
        self.out = bytearray()
        self.ending = ended  # nothing will be added to `out`
        self.ended = ended  # the end of the request has left
        self._connection = connection
        self._id = stream_id

    @property
    def pending(self) -> int:
        return len(self.out)

    def write(self, data: bytes) -> None:
        if data and not self.ending:
            self.out += data
            self._connection.writable(self._id)

    def end(self) -> None:
        if not self.ending:
            self.ending = True
            self._connection.writable(self._id)

    def abort(self) -> None:
        self._connection.abort(self._id)

    def credit(self, size: int) -> None:
        self._connection.credit(self._id, size)


class Http2Connection(asyncio.Protocol):
    """A connection that has been made, as asyncio's protocol.

    Args:
        where: the endpoint's address, for messages.
        ping_every_s: silence after which the server is asked whether it is still there, while streams are open.
        idle_s: time without streams after which the connection is closed.
    """

    def __init__(self, where: str, *, ping_every_s: float = _PING_EVERY_S, idle_s: float = _IDLE_S) -> None:
        self._where = where
        self._ping_every_s = ping_every_s
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.local_settings = Settings(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW}
        )
        self._filter = GoAwayFilter()
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Http2Exchange] = {}
        self._uncredited: dict[int, int] = {}
        self._connection_uncredited = 0
        self._writable: dict[int, None] = {}  # in order: each gets its share in turn
        self._flushing = False
        self._paused = False
        self._requests = 0
        self._leaving = False  # takes no new streams
        self._gone: str | None = None
        self._quiet_since = self._loop.time()
        self._pinged = False
        self._watch: asyncio.TimerHandle | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done once the server has greeted, and is an HTTP/2 server; EndpointError where it is none."""

    # ---- For the pool ----

    @property
    def usable(self) -> bool:
        """It takes new streams, now or when others have ended."""
        return not self._leaving and self._gone is None

    @property
    def has_room(self) -> bool:
        """It takes a stream now."""
        most = min(self._h2.remote_settings.max_concurrent_streams, _MOST_STREAMS)
        return self.usable and len(self._exchanges) < most

    def request(self, headers: Iterable[tuple[str, str]], sink: Sink, *, end: bool) -> Http2Exchange:
        """Begins a request; there has to be room.

        Args:
            end: it has no body. Said in a frame of its own, that might come after the response, which some servers do not survive.

        Raises:
            EndpointError: the headers cannot be sent.
        """
        try:
            stream_id = self._h2.get_next_available_stream_id()
            pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            self._h2.send_headers(stream_id, pairs, end_stream=end)
        except (ProtocolError, UnicodeEncodeError) as error:
            raise EndpointError(Problem.PROTOCOL, f"{self._where}: the request's headers cannot be sent: {error}") from None
        exchange = self._exchanges[stream_id] = Http2Exchange(self, stream_id, sink, ended=end)
        self._requests += 1
        if self._requests >= _MOST_REQUESTS:
            self._leaving = True
        self._flush_soon()
        return exchange

    def close(self, reason: str = "the runtime closed the connection") -> None:
        """Says goodbye, and ends what is open."""
        if self._gone is None:
            self._h2.close_connection()
            self._lose(reason)

    # ---- For exchanges ----

    def writable(self, stream_id: int) -> None:
        """A stream has something to send."""
        if stream_id in self._exchanges:
            self._writable[stream_id] = None
            self._flush_soon()

    def abort(self, stream_id: int) -> None:
        """Resets a stream."""
        if stream_id in self._exchanges:
            self._reset(stream_id)
            self._forget(stream_id)

    def credit(self, stream_id: int, size: int) -> None:
        """Lets the server send more on a stream; small credits are given together."""
        if stream_id not in self._exchanges:
            return
        owed = self._uncredited.get(stream_id, 0) + size
        if owed >= _STREAM_WINDOW // 4:
            self._uncredited.pop(stream_id, None)
            try:
                self._h2.increment_flow_control_window(owed, stream_id)
            except ProtocolError:  # its response has ended
                return
            self._flush_soon()
        else:
            self._uncredited[stream_id] = owed

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW)
        self._flush()
        self._watch = self._loop.call_later(self._idle_s, self._look)

    def data_received(self, data: bytes) -> None:
        if self._gone is not None:
            return
        self._quiet_since = self._loop.time()
        self._pinged = False
        if not self.ready.done() and data.startswith(b"HTTP/1."):
            self._lose("speaks HTTP/1.1, not HTTP/2", Problem.PROTOCOL)
            return
        try:
            for piece in self._filter.feed(data):
                if isinstance(piece, GoAway):
                    self._go_away(piece)
                else:
                    for event in self._h2.receive_data(piece):
                        self._handle(event)
        except ProtocolError as error:
            self._flush()
            self._lose(f"does not speak HTTP/2: {error}", Problem.PROTOCOL)
            return
        self._flush()  # what the events led to, and what the server is owed

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose("closed the connection" + (f": {exc}" if exc else ""))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush_soon()

    # ---- What arrives ----

    def _handle(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=stream_id, headers=pairs):
                if (exchange := self._exchanges.get(stream_id)) is not None:
                    status, headers = _read_head(pairs)
                    exchange.sink.head(status, headers)
            case DataReceived(stream_id=stream_id, data=data, flow_controlled_length=length):
                self._credit_connection(length)
                if (exchange := self._exchanges.get(stream_id)) is not None:
                    if padding := length - len(data):
                        self.credit(stream_id, padding)
                    exchange.sink.data(data)
            case StreamEnded(stream_id=stream_id):
                if (exchange := self._exchanges.get(stream_id)) is not None:
                    if not exchange.ended:  # what is left of the request interests nobody
                        self._reset(stream_id)
                    self._forget(stream_id)
                    exchange.sink.end()
            case StreamReset(stream_id=stream_id, error_code=code):
                if (exchange := self._forget(stream_id)) is not None:
                    exchange.sink.failed(EndpointError(Problem.LOST, f"{self._where} gave the attempt up ({_name(code)})"))
            case WindowUpdated(stream_id=0) | RemoteSettingsChanged():
                if not self.ready.done():  # settings are the first that an HTTP/2 server sends
                    self.ready.set_result(None)
                self._writable.update((id, None) for id, exchange in self._exchanges.items() if exchange.out)
            case WindowUpdated(stream_id=stream_id) if stream_id in self._exchanges:
                self._writable[stream_id] = None
            case _:
                pass

    def _go_away(self, frame: GoAway) -> None:
        self._leaving = True
        for stream_id in [id for id in self._exchanges if id > frame.last_stream_id]:
            exchange = self._forget(stream_id)
            assert exchange is not None
            text = "is shutting down and did not take the request"
            exchange.sink.failed(EndpointError(Problem.UNREACHABLE, f"{self._where} {text} ({_name(frame.error_code)})"))

    def _credit_connection(self, size: int) -> None:
        self._connection_uncredited += size
        if self._connection_uncredited >= _CONNECTION_WINDOW // 4:
            self._h2.increment_flow_control_window(self._connection_uncredited)
            self._connection_uncredited = 0

    # ---- What leaves ----

    def _flush_soon(self) -> None:
        if not self._flushing and self._gone is None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._gone is not None or self._transport is None:
            return
        while self._writable and not self._paused:
            for stream_id in list(self._writable):
                if not self._write_some(stream_id):
                    self._writable.pop(stream_id, None)
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _write_some(self, stream_id: int) -> bool:
        """Sends one frame of a stream; whether there may be more to send at once."""
        exchange = self._exchanges.get(stream_id)
        if exchange is None or exchange.ended:
            return False
        try:
            if exchange.out:
                room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size, len(exchange.out))
                if room <= 0:
                    return False
                chunk = bytes(memoryview(exchange.out)[:room])
                del exchange.out[:room]
                last = exchange.ending and not exchange.out
                self._h2.send_data(stream_id, chunk, end_stream=last)
                exchange.sink.sent()
            else:
                last = exchange.ending
                if last:
                    self._h2.end_stream(stream_id)
        except ProtocolError:  # the server has closed the stream: its own event tells
            exchange.out.clear()
            return False
        exchange.ended = last
        return bool(exchange.out)

    def _reset(self, stream_id: int) -> None:
        try:
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        except ProtocolError:  # closed meanwhile
            return
        self._flush_soon()

    # ---- Streams and the connection end ----

    def _forget(self, stream_id: int) -> Http2Exchange | None:
        exchange = self._exchanges.pop(stream_id, None)
        self._writable.pop(stream_id, None)
        self._uncredited.pop(stream_id, None)
        self._quiet_since = self._loop.time()
        if self._leaving and not self._exchanges:
            self._loop.call_soon(self.close)
        return exchange

    def _lose(self, reason: str, problem: Problem = Problem.LOST) -> None:
        if self._gone is not None:
            return
        self._gone = reason
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._hand_over()
            self._transport.close()
        error = EndpointError(problem, f"{self._where} {reason}")
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whoever waited for it may have given up
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.sink.failed(error)

    def _look(self) -> None:
        """Closes an idle connection, and asks a silent server whether it is still there."""
        quiet = self._loop.time() - self._quiet_since
        if not self._exchanges:
            if quiet >= self._idle_s and self.ready.done():
                self.close("the connection was idle")
                return
            wait = max(self._idle_s - quiet, 0.1)
        elif self._pinged:
            self._lose("does not answer any more: its machine or the network is gone")
            return
        elif quiet >= self._ping_every_s:
            self._pinged = True
            self._h2.ping(b"restate?")
            self._flush()
            wait = min(_PING_TIMEOUT_S, self._ping_every_s)
        else:
            wait = self._ping_every_s - quiet
        self._watch = self._loop.call_later(wait, self._look)


def _read_head(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[int, Mapping[str, str]]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    return int(headers.pop(":status", "0")), headers


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"code {code}"
