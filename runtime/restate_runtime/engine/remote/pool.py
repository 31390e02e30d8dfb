"""HTTP/2 connections, shared by the streams to an endpoint: as many as its limit of streams asks for."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...urls import why_unreached
from .exchange import Exchange, Sink
from .http2 import Http2Connection
from .transport import Address, EndpointError, Problem

__all__ = ["Http2Transport", "no_connection", "tls_context", "unreachable"]

_CONNECT_TIMEOUT_S = 10.0

_Origin = tuple[str, str, int]


class Http2Transport:
    """`exchange.Transport` over HTTP/2: in clear text without an upgrade, or over TLS."""

    bidirectional = True

    def __init__(self, *, connect_timeout_s: float = _CONNECT_TIMEOUT_S, make: Callable[[str], Http2Connection] = Http2Connection) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._make = make
        self._connections: dict[_Origin, list[Http2Connection]] = {}
        self._connecting: dict[_Origin, asyncio.Task[None]] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def start(self, address: Address, method: str, path: str, headers: Mapping[str, str], sink: Sink) -> Exchange:
        parts = address.parts
        scheme, host = parts.scheme, parts.hostname or ""
        origin = (scheme, host, address.port)
        head = [(":method", method), (":scheme", scheme), (":authority", parts.netloc), (":path", parts.path + path), *headers.items()]
        while True:
            known = self._connections.get(origin, ())
            connection = next((item for item in known if item.has_room), None)
            if connection is not None:
                return connection.request(head, sink, end=method == "GET")
            task = self._connecting.get(origin)
            if task is None:
                task = self._connecting[origin] = asyncio.ensure_future(self._connect(origin, address))
                task.add_done_callback(functools.partial(self._connected, origin))
            try:
                await asyncio.shield(task)  # all that wait get its error, if there is one
            except asyncio.CancelledError:
                if not self._closed:
                    raise
                raise EndpointError(Problem.UNREACHABLE, f"{address.url}: the runtime is stopping") from None
            if not any(item.usable for item in self._connections.get(origin, ())):
                raise EndpointError(Problem.LOST, f"{address.url} closes connections as soon as they are made")

    def _connected(self, origin: _Origin, task: asyncio.Task[None]) -> None:
        self._connecting.pop(origin, None)
        if not task.cancelled():
            task.exception()  # nobody may be waiting any more

    async def close(self) -> None:
        self._closed = True
        for task in list(self._connecting.values()):
            task.cancel()
        connections = [connection for known in self._connections.values() for connection in known]
        self._connections.clear()
        for connection in connections:
            connection.close()
        await asyncio.sleep(0)  # lets the goodbyes out

    async def _connect(self, origin: _Origin, address: Address) -> None:
        scheme, host, port = origin
        tls = self._context() if scheme == "https" else None
        where = address.url
        connection = self._make(where)

        async def connect() -> None:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, host, port, ssl=tls)
            if tls is not None and (session := transport.get_extra_info("ssl_object")) and session.selected_alpn_protocol() != "h2":
                connection.close()
                raise EndpointError(Problem.PROTOCOL, f"{where} speaks HTTP/1.1, not HTTP/2")
            await asyncio.shield(connection.ready)

        try:
            await unreachable(where, connect(), self._connect_timeout_s)
        except BaseException:
            connection.close()
            raise
        known = self._connections.setdefault(origin, [])
        known[:] = [item for item in known if item.usable] + [connection]
        if not connection.has_room:
            raise EndpointError(Problem.UNREACHABLE, f"{where} takes no requests: it is shutting down")

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context()
            self._tls.set_alpn_protocols(["h2"])
        return self._tls


async def unreachable(where: str, connecting: Coroutine[Any, Any, None], timeout_s: float) -> None:
    """Makes a connection within a time.

    Raises:
        EndpointError: it cannot be made, with what the operating system says.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await connecting
    except TimeoutError:
        raise EndpointError(Problem.UNREACHABLE, f"{where} does not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise no_connection(where, error) from None


def no_connection(where: str, error: OSError) -> EndpointError:
    """The error for a connection that cannot be made."""
    return EndpointError(Problem.UNREACHABLE, f"{where} cannot be reached: {why_unreached(error)}")


def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts, or what SSL_CERT_FILE and SSL_CERT_DIR name."""
    return ssl.create_default_context()
