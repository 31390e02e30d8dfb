"""What carries the frames of an attempt to an endpoint and back: interfaces, and the one error that all of it raises."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from ...urls import split_url
from .frames import Frame, Version

__all__ = ["MESSAGE_LIMIT", "Address", "Client", "EndpointError", "Problem", "Response", "Stream"]

MESSAGE_LIMIT = "x-restate-message-limit"
"""The header of an attempt that tells our own endpoints how many bytes a message may have: what is larger fails where it is given."""

# With its version, or an alias: what has begun stays with its code, and what is called $LATEST changes under it.
_FUNCTION = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+")


class Problem(enum.Enum):
    """What is wrong with an endpoint."""

    UNREACHABLE = "unreachable"
    """No connection: nothing was sent."""

    LOST = "lost"
    """The connection or the stream broke off; what was sent may have had an effect."""

    REFUSED = "refused"
    """It answered with a status of HTTP that is not success: `EndpointError.status`."""

    TOO_LARGE = "too large"
    """It sent a message that is longer than messages may be."""

    PROTOCOL = "protocol"
    """It does not speak HTTP as asked, or sends what the service protocol does not allow."""


class EndpointError(Exception):
    """An endpoint that does not do what it should. The text is one line and names the endpoint's URL.

    Attributes:
        status: of HTTP, with `Problem.REFUSED`.
    """

    def __init__(self, problem: Problem, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is.

    Attributes:
        url: http or https, with a path where the endpoint is mounted on one, and no slash at its end; or the ARN of a version of a
            function of AWS Lambda.
        http1: it is spoken to over HTTP/1.1; otherwise over HTTP/2, on http without any upgrade.
        headers: sent with every request.
    """

    url: str
    http1: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def parse(url: str, *, http1: bool = False, headers: Mapping[str, str] | None = None) -> Address:
        """Checks a URL.

        Raises:
            ValueError: it is none of an endpoint.
        """
        if url.startswith("arn:"):
            if _FUNCTION.fullmatch(url) is None:
                example = "arn:aws:lambda:REGION:ACCOUNT:function:NAME:1"
                raise ValueError(f"'{url}' is no version of a function: write an ARN with the version at its end, {example}")
            return Address(url, http1, tuple((headers or {}).items()))
        parts = split_url(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"'{url}' is no endpoint: write a URL such as http://127.0.0.1:9080")
        return Address(url.rstrip("/"), http1, tuple((headers or {}).items()))

    @property
    def function(self) -> bool:
        """Whether it is a function of AWS Lambda."""
        return self.url.startswith("arn:")

    @property
    def parts(self) -> SplitResult:
        """The URL in parts."""
        return urlsplit(self.url)

    @property
    def port(self) -> int:
        """The port, also where the URL has none."""
        return self.parts.port or (443 if self.parts.scheme == "https" else 80)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer in one piece; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """One attempt. Everything that goes wrong is told by `receive`, never by what sends."""

    @property
    def bidirectional(self) -> bool:
        """What is sent arrives at once, and answers while sending goes on. Otherwise everything is sent by `half_close`."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the response, lower case; empty before the first frame was received."""
        ...

    def send(self, *frames: Frame) -> None:
        """Sends in order, without waiting. On a stream that is half closed or over it does nothing."""
        ...

    async def drain(self) -> None:
        """Waits while much of what was sent has not left yet; returns at once when the stream is over."""
        ...

    def half_close(self) -> None:
        """Nothing more will be sent; the endpoint suspends what waits. Doing it again does nothing."""
        ...

    async def receive(self) -> Frame | None:
        """The next frame; `None` where the response has ended in good order. One task receives at a time.

        Raises:
            EndpointError: anything that keeps the next frame from coming.
        """
        ...

    def reset(self) -> None:
        """Gives the stream up: the endpoint is told to stop. A pending `receive` raises; on a stream that is over nothing happens."""
        ...


class Client(Protocol):
    """Opens streams, and keeps the connections that they share."""

    @property
    def public_key(self) -> str | None:
        """What endpoints are given to know this runtime by; `None` where requests are not signed."""
        ...

    async def open(
        self, address: Address, service: str, handler: str, version: Version, headers: Mapping[str, str] | None = None
    ) -> Stream:
        """A stream for one attempt; waits for a connection, not for the response.

        Raises:
            EndpointError: there is no connection.
        """
        ...

    async def get(self, address: Address, path: str, headers: Mapping[str, str]) -> Response:
        """An answer to a GET below the endpoint's URL, whatever its status.

        Raises:
            EndpointError: there is none.
        """
        ...

    async def close(self) -> None:
        """Resets what is open and closes the connections."""
        ...
