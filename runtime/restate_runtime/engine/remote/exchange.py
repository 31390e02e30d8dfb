"""One request and its response, whichever transport carries them: the seam between HTTP and the service protocol.

A transport starts an `Exchange` and tells its `Sink` what comes back. Two sinks: an attempt's stream of frames, and an answer in one piece.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from .frames import FROM_ENDPOINT, Frame, FrameReader, MessageType, ProtocolError, TooLargeError, Version
from .transport import Address, EndpointError, Problem, Response

__all__ = ["Answer", "AttemptStream", "Exchange", "Sink", "Transport"]

_TERMINATORS = frozenset({MessageType.SUSPENSION, MessageType.ERROR, MessageType.END})
_RECEIVE_HIGH = 1 << 20  # bytes of frames that nobody has taken yet: the endpoint is not let to send more
_SEND_HIGH = 1 << 18
_EXCERPT = 2048
_LONGEST_ANSWER = 64 << 20
_GRACE_S = 5.0  # for an endpoint that has said its last word, or refused, to end its response


class Exchange(Protocol):
    """The request's side. None of this raises."""

    @property
    def pending(self) -> int:
        """Bytes that were written and have not left."""
        ...

    def write(self, data: bytes) -> None:
        """Sends a part of the body."""
        ...

    def end(self) -> None:
        """The body is complete."""
        ...

    def abort(self) -> None:
        """Gives the request up. The sink hears no more."""
        ...

    def credit(self, size: int) -> None:
        """So many bytes of the response's body were used up: as many more may be sent."""
        ...


class Sink(Protocol):
    """Takes a response. After `end` or `failed` comes nothing."""

    def head(self, status: int, headers: Mapping[str, str]) -> None: ...

    def data(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, error: EndpointError) -> None: ...

    def sent(self) -> None:
        """Some of what was pending has left."""
        ...


class Transport(Protocol):
    """Carries exchanges to endpoints.

    Attributes:
        bidirectional: the response comes while the request is still being sent.
    """

    bidirectional: bool

    async def start(self, address: Address, method: str, path: str, headers: Mapping[str, str], sink: Sink) -> Exchange:
        """Begins a request. `path` follows the address' own.

        Raises:
            EndpointError: there is no connection.
        """
        ...

    async def close(self) -> None:
        """Ends the connections."""
        ...


class AttemptStream:
    """`transport.Stream` over an exchange, and the sink of its response."""

    def __init__(self, address: Address, version: Version, max_message_size: int, *, bidirectional: bool) -> None:
        self.bidirectional = bidirectional
        self.headers: Mapping[str, str] = {}
        self._where = address.url
        self._version = version
        self._reader = FrameReader(FROM_ENDPOINT, max_message_size)
        self._exchange: Exchange | None = None
        self._frames: deque[Frame] = deque()
        self._queued = 0  # bytes in them
        self._owed = 0  # bytes that were not credited yet
        self._refusal: int | None = None
        self._excerpt = b""
        self._half_closed = False
        self._terminated = False
        self._over = False
        self._error: EndpointError | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._drainers: list[asyncio.Future[None]] = []
        self._grace: asyncio.TimerHandle | None = None

    def bind(self, exchange: Exchange) -> AttemptStream:
        """Gives it the exchange, once that has started."""
        self._exchange = exchange
        return self

    # ---- Stream ----

    def send(self, *frames: Frame) -> None:
        if self._half_closed or self._over or self._exchange is None:
            return
        self._exchange.write(b"".join(frame.encode() for frame in frames))

    async def drain(self) -> None:
        while not self._over and self._exchange is not None and self._exchange.pending > _SEND_HIGH:
            drainer = asyncio.get_running_loop().create_future()
            self._drainers.append(drainer)
            await drainer

    def half_close(self) -> None:
        if not self._half_closed and not self._over and self._exchange is not None:
            self._half_closed = True
            self._exchange.end()

    async def receive(self) -> Frame | None:
        while not self._frames:
            if self._error is not None:
                raise self._error
            if self._over or self._terminated:
                return None
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        frame = self._frames.popleft()
        self._queued -= frame.size
        self._credit(0)
        return frame

    def reset(self) -> None:
        if self._terminated:
            if not self._over and self._exchange is not None:
                self._exchange.abort()
            self._finish(None)
        elif not self._over:
            self._frames.clear()
            self._abort(EndpointError(Problem.LOST, f"{self._where}: the runtime gave the attempt up"))

    # ---- Sink ----

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        if status != 200:
            self._refusal = status
            self._end_soon()
        elif headers.get("content-type", "").partition(";")[0].strip() != self._version.content_type:
            text = f"answers with content type '{headers.get('content-type', '')}' instead of '{self._version.content_type}'"
            self._abort(EndpointError(Problem.PROTOCOL, f"{self._where} {text}"))

    def data(self, data: bytes) -> None:
        if self._over:
            return
        if self._refusal is not None:
            self._excerpt = (self._excerpt + data)[:_EXCERPT]
            self._exchange_credit(len(data))
            return
        try:
            for frame in self._reader.feed(data):
                if self._terminated:
                    raise ProtocolError(f"a message {frame.type.name} after the last one")
                self._frames.append(frame)
                self._queued += frame.size
                self._terminated = frame.type in _TERMINATORS
        except TooLargeError as error:
            self._abort(EndpointError(Problem.TOO_LARGE, f"{self._where} sent {error}"))
            return
        except ProtocolError as error:
            self._abort(EndpointError(Problem.PROTOCOL, f"{self._where} does not follow the service protocol: {error}"))
            return
        self._credit(len(data))
        if self._terminated:
            self._end_soon()
        self._wake()

    def end(self) -> None:
        if self._refusal is not None:
            self._finish(self._refused())
        elif self._terminated:
            self._finish(None)
        else:
            text = "ended its response without a last message (End, Suspension or Error)"
            if self._reader.buffered:
                text += f", in the middle of another one, of which {self._reader.buffered} bytes arrived"
            self._finish(EndpointError(Problem.LOST, f"{self._where} {text}"))

    def failed(self, error: EndpointError) -> None:
        if self._refusal is not None:
            error = self._refused()
        self._finish(None if self._terminated else error)

    def sent(self) -> None:
        drainers, self._drainers = self._drainers, []
        for drainer in drainers:
            if not drainer.done():
                drainer.set_result(None)

    # ---- Inside ----

    def _refused(self) -> EndpointError:
        text = {
            401: "refuses the request's signature: it expects another key of the runtime (401)",
            404: "has no such service or handler any more: was it deployed anew at the same URL? (404)",
            415: f"does not speak version {self._version} of the service protocol (415)",
        }.get(self._refusal or 0, f"answers with status {self._refusal}")
        words = " ".join(self._excerpt.decode(errors="replace").split())[:200]
        return EndpointError(Problem.REFUSED, f"{self._where} {text}{': ' + words if words else ''}", self._refusal)

    def _end_soon(self) -> None:
        """Nothing that is sent now would be read: ends the request, and gives the response a moment to end as well."""
        self.half_close()
        if self._grace is None and not self._over:
            self._grace = asyncio.get_running_loop().call_later(_GRACE_S, self._grace_over)

    def _grace_over(self) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        self.failed(EndpointError(Problem.LOST, f"{self._where} does not end its response"))

    def _abort(self, error: EndpointError) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        self._finish(error)

    def _finish(self, error: EndpointError | None) -> None:
        if self._over:
            return
        self._over = True
        self._error = error
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._wake()
        self.sent()

    def _wake(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    def _credit(self, size: int) -> None:
        # Parts of a frame that is not complete are credited at once: it could never become complete otherwise.
        self._owed += size
        if self._owed and self._queued <= _RECEIVE_HIGH:
            owed, self._owed = self._owed, 0
            self._exchange_credit(owed)

    def _exchange_credit(self, size: int) -> None:
        if self._exchange is not None and not self._over:
            self._exchange.credit(size)


class Answer:
    """A response in one piece."""

    def __init__(self, address: Address) -> None:
        self._where = address.url
        self._future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body = bytearray()
        self._exchange: Exchange | None = None

    async def of(self, exchange: Exchange) -> Response:
        """Waits for the response to a request that has started.

        Raises:
            EndpointError: there is none.
        """
        self._exchange = exchange
        try:
            return await self._future
        finally:
            exchange.abort()  # does nothing where it is over

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._headers = status, headers

    def data(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > _LONGEST_ANSWER:
            self.failed(EndpointError(Problem.PROTOCOL, f"{self._where} answers with more than {_LONGEST_ANSWER} bytes"))
        elif self._exchange is not None:
            self._exchange.credit(len(data))

    def end(self) -> None:
        if not self._future.done():
            self._future.set_result(Response(self._status, self._headers, bytes(self._body)))

    def failed(self, error: EndpointError) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def sent(self) -> None:
        pass
