"""Listening: one HTTP server in the engine's event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import Code, RuntimeFault, TerminalError
from .errors import CallError, error_response
from .guard import Guard

__all__ = ["Server", "listen", "path_parts", "read_body", "split_address"]

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = logging.getLogger("restate_runtime.http")
# aiohttp logs every malformed request with its traceback; whoever sent it has the 400.
_protocol_log = logging.getLogger("restate_runtime.http.protocol")
_protocol_log.setLevel(logging.CRITICAL)
_BACKLOG = 1024


def split_address(address: str, option: str) -> tuple[str, int]:
    """`HOST:PORT` as host and port; IPv6 stands in brackets.

    Raises:
        RuntimeFault: RT0002, it has another form.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise RuntimeFault("RT0002", f"{option}: '{address}' is no address: write HOST:PORT, such as 127.0.0.1:8080")
    return host, int(port)


class Server:
    """A server that listens.

    Attributes:
        url: where it is reached, with the port it got.
    """

    def __init__(self, server: web.Server, listener: asyncio.Server, host: str) -> None:
        self._server = server
        self._listener = listener
        port = listener.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{port}"

    def close_listener(self) -> None:
        """Takes no new connection; requests under way go on, idle connections are closed."""
        self._listener.close()
        self._server.pre_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Stops listening and waits for requests under way.

        Args:
            grace_s: bound on the wait, in seconds; connections that are open after it are cut.
        """
        self.close_listener()
        await self._server.shutdown(grace_s)


async def listen(handle: Handle, address: str, option: str) -> Server:
    """Starts a server.

    Args:
        handle: answers a request. A `TerminalError` or `CallError` that it raises becomes an error response.
        address: `HOST:PORT`; port 0 takes a free one.
        option: the option that the address comes from, for messages.

    Raises:
        RuntimeFault: RT0002 for a malformed address, RT0004 for one that cannot be listened on.
    """
    host, port = split_address(address, option)
    guard = Guard(host)

    async def guarded(request: web.BaseRequest) -> web.StreamResponse:
        try:
            guard.check(request.headers)
            return await handle(request)
        except TerminalError as error:
            return error_response(error.message, error.code)
        except CallError as error:
            response = error_response(error.message, error.code, status=error.status, headers=error.headers)
            if request.content.exception() is not None:
                response.force_close()  # nothing after a broken body can be read
            return response
        except RuntimeFault as fault:
            _log.error("%s %s: %s", request.method, request.rel_url, fault)
            return error_response(str(fault), Code.DATA_LOSS if fault.code == "RT0204" else Code.INTERNAL)
        except ConnectionError as error:
            return error_response(str(error) or "the runtime is stopping", Code.UNAVAILABLE)
        except Exception:
            _log.exception("a request failed: %s %s", request.method, request.rel_url)
            return error_response("the runtime failed to answer; its log says why", Code.INTERNAL)

    # A handler whose client has gone ends; what it waits for is shielded, so no invocation notices.
    server = web.Server(guarded, handler_cancellation=True, access_log=None, logger=_protocol_log)
    try:
        listener = await asyncio.get_running_loop().create_server(server, host, port, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        match error:
            case socket.gaierror():
                reason = f"there is no host '{host}'"
            case OSError(errno=errno.EADDRINUSE):
                reason = "the port is in use"
            case OSError(errno=int(number)):
                reason = os.strerror(number)
            case _:
                reason = str(error)
        raise RuntimeFault("RT0004", f"{option}: cannot listen on {address}: {reason}") from None
    return Server(server, listener, host)


def path_parts(request: web.BaseRequest) -> list[str]:
    """The parts of the path, decoded one by one: a key may hold a slash.

    Raises:
        CallError: 400, what is percent-encoded is no UTF-8.
    """
    try:
        return [unquote_to_bytes(part).decode() for part in request.rel_url.raw_path.split("/")[1:]]
    except UnicodeError:
        raise CallError("the path is no UTF-8 once it is percent-decoded", Code.INVALID_ARGUMENT) from None


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body, decompressed.

    Raises:
        CallError: 413 for more bytes than the limit, 400 for a body that does not arrive whole.
    """
    encoding = request.headers.get("Content-Encoding")
    if encoding is not None and encoding.lower() not in ("identity", "gzip"):
        raise CallError(f"content-encoding '{encoding}' is not supported: use gzip or identity", Code.UNIMPLEMENTED)
    length = request.headers.get("Content-Length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        chunk = await request.content.readany()
        if request.content.at_eof() and len(chunk) <= limit:
            return chunk  # nearly every body arrives in one piece
        parts = [chunk]
        size = len(chunk)
        while chunk:
            if size > limit:
                raise _too_large(limit)
            chunk = await request.content.readany()
            parts.append(chunk)
            size += len(chunk)
    except (web.RequestPayloadError, HttpProcessingError, ValueError):
        kind = "no gzip" if encoding is not None and encoding.lower() == "gzip" else "broken"
        raise CallError(f"the body cannot be read: it is {kind}", Code.INVALID_ARGUMENT) from None
    return b"".join(parts)


def _too_large(limit: int) -> CallError:
    return CallError(f"the body is larger than {limit} bytes (option max_message_size)", Code.RESOURCE_EXHAUSTED, status=413)
