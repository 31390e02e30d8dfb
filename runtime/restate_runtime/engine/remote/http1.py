"""Request and response over HTTP/1.1: the whole request first, then the response as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from .exchange import Exchange, Sink
from .pool import no_connection, tls_context
from .transport import Address, EndpointError, Problem

__all__ = ["Http1Transport"]

_CONNECT_TIMEOUT_S = 10.0
_IDLE_S = 3.0  # shorter than the servers' own: a request on a connection that they are closing would be lost
_BUFFER = 1 << 18


class Http1Exchange:
    """`exchange.Exchange` that sends once the request is complete."""

    def __init__(self, session: aiohttp.ClientSession, where: str, method: str, url: URL, headers: Mapping[str, str], sink: Sink) -> None:
        self._session = session
        self._where = where
        self._method = method
        self._url = url
        self._headers = headers
        self._sink = sink
        self._body = bytearray()
        self._task: asyncio.Future[None] | None = None
        self._ahead = 0  # bytes that the sink has not credited
        self._credited = asyncio.Event()
        self._aborted = False

    @property
    def pending(self) -> int:
        return 0  # it is kept until the end, however much it is: to wait for room would be to wait for ever

    def write(self, data: bytes) -> None:
        self._body += data

    def end(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def abort(self) -> None:
        self._aborted = True
        self._body.clear()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_future()  # so that no request leaves any more
        elif self._task is not asyncio.current_task():
            self._task.cancel()

    def credit(self, size: int) -> None:
        self._ahead -= size
        self._credited.set()

    async def _run(self) -> None:
        try:
            body, self._body = bytes(self._body), bytearray()
            async with self._session.request(
                self._method, self._url, data=body if self._method != "GET" else None, headers=self._headers, allow_redirects=False
            ) as response:
                self._sink.head(response.status, {name.lower(): value for name, value in response.headers.items()})
                async for chunk in response.content.iter_any():
                    self._ahead += len(chunk)
                    self._sink.data(chunk)
                    if self._aborted:
                        return
                    while self._ahead > _BUFFER:
                        self._credited.clear()
                        await self._credited.wait()
            self._sink.end()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._sink.failed(_explain(self._where, error))


class Http1Transport:
    """`exchange.Transport` over HTTP/1.1, in clear text or over TLS."""

    bidirectional = False

    def __init__(self, *, connect_timeout_s: float = _CONNECT_TIMEOUT_S) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self, address: Address, method: str, path: str, headers: Mapping[str, str], sink: Sink) -> Exchange:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=tls_context()),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_BUFFER,
                headers={"accept-encoding": "identity"},
            )
        return Http1Exchange(self._session, address.url, method, URL(address.url + path, encoded=True), headers, sink)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _explain(where: str, error: Exception) -> EndpointError:
    match error:
        case aiohttp.ServerTimeoutError():
            return EndpointError(Problem.UNREACHABLE, f"{where} does not answer in time")
        case aiohttp.ClientConnectorError():
            return no_connection(where, error)
        case aiohttp.ClientResponseError() | ValueError():
            return EndpointError(Problem.PROTOCOL, f"{where} does not speak HTTP/1.1: {' '.join(str(error).split())[:200]}")
        case _:
            return EndpointError(Problem.LOST, f"{where} closed the connection: {str(error) or type(error).__name__}")
