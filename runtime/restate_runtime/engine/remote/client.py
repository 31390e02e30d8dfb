"""Opens attempts at endpoints: chooses the transport, and signs what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from .aws_lambda import LambdaTransport
from .exchange import Answer, AttemptStream, Transport
from .frames import Version
from .http1 import Http1Transport
from .identity import RequestIdentity
from .pool import Http2Transport
from .transport import Address, EndpointError, Problem, Response

__all__ = ["EndpointClient"]

_USER_AGENT = "restate-runtime"


class EndpointClient:
    """`transport.Client` over HTTP, and for functions of AWS Lambda. It belongs to one event loop.

    Args:
        max_message_size: longest message that an endpoint may send, in bytes.
        identity: signs every request; `None` leaves them unsigned.
        http1, http2: instead of the usual transports.
    """

    def __init__(
        self,
        max_message_size: int,
        identity: RequestIdentity | None = None,
        *,
        http1: Transport | None = None,
        http2: Transport | None = None,
    ) -> None:
        self._max_message_size = max_message_size
        self._identity = identity
        self._http1: Transport = http1 or Http1Transport()
        self._http2: Transport = http2 or Http2Transport()
        self._functions: Transport = LambdaTransport()

    @property
    def public_key(self) -> str | None:
        """What endpoints are given to know this runtime by: see `transport.Client`."""
        return None if self._identity is None else self._identity.public_key

    async def open(
        self, address: Address, service: str, handler: str, version: Version, headers: Mapping[str, str] | None = None
    ) -> AttemptStream:
        """A stream for one attempt: see `transport.Client`."""
        path = f"/invoke/{service}/{handler}"
        sent = {"content-type": version.content_type, **self._headers(address, path), **(headers or {})}
        transport = self._transport(address)
        stream = AttemptStream(address, version, self._max_message_size, bidirectional=transport.bidirectional)
        return stream.bind(await transport.start(address, "POST", path, sent, stream))

    async def get(self, address: Address, path: str, headers: Mapping[str, str], *, timeout_s: float = 30) -> Response:
        """The answer to a GET, whatever its status: see `transport.Client`."""
        answer = Answer(address)
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._transport(address).start(address, "GET", path, {**self._headers(address, path), **headers}, answer)
                exchange.end()
                return await answer.of(exchange)
        except TimeoutError:
            raise EndpointError(Problem.LOST, f"{address.url} does not answer within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Resets what is open and closes the connections."""
        await self._http2.close()
        await self._http1.close()
        await self._functions.close()

    def _transport(self, address: Address) -> Transport:
        if address.function:
            return self._functions
        return self._http1 if address.http1 else self._http2

    def _headers(self, address: Address, path: str) -> Mapping[str, str]:
        identity = self._identity.headers(path) if self._identity is not None else {}
        return {"user-agent": _USER_AGENT, **{name.lower(): value for name, value in address.headers}, **identity}
