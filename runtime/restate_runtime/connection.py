"""Calling a runtime in another process, over its HTTP ingress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from yarl import URL

from .handler.by_name import NamedMethod
from .handler.client import Method, OutgoingCall
from .handler.futures import Call
from .handler.outside import BackgroundCalls, OutsideCall, OutsideHandle, finished
from .handler.scope import outside_only
from .serde import check_text, encode
from .urls import why_unreached
from .web.errors import read_error
from .web.order import ORDER, Numbers
from .web.values import VALUE_TAG
from .web.wire import CONNECT_TIMEOUT_S, PROTO, accepted_id, call_path, check_url, decoder_of, headers_of, path, status_of

__all__ = ["Connection", "connect"]

T = TypeVar("T")

# Nobody waits for it any longer, but what was called shall reach the runtime.
_LINGER_S = 5


def connect(url: str) -> Connection:
    """A connection to a runtime's HTTP ingress, to be used with `async with`.

    It holds no state of the runtime's: after a `ConnectionError` the next call works as soon as the runtime is back.

    Args:
        url: the ingress, `http://127.0.0.1:8080`.

    Raises:
        ValueError: the URL is not one of http or https.
    """
    return Connection(url)


class Connection:
    """Calls a runtime in another process; the caller of generated clients.

    Leaving `async with` waits until the background calls still under way are on disk, and raises failures that nobody saw: the failure
    itself where it is one, an `ExceptionGroup` where they are several.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._session: aiohttp.ClientSession | None = None
        self._background = BackgroundCalls()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restart_order()

    async def __aenter__(self) -> Connection:
        if self._session is not None:
            raise RuntimeError("the connection is open already")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the number of calls that wait is the user's business
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await self._background.close(raised)
        finally:
            await self._close()

    async def _close(self) -> None:
        session, self._session = self._session, None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if session is not None:
            await session.close()

    # Calls

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        """Begins an awaited call at once; generated clients use it."""
        outside_only("a connection")
        task = self._start(call, background=False)
        future = OutsideCall(
            task, call.decode_response, timeout_s=call.timeout_s, what=f"{call.service}/{call.method}", abandoned=lambda: self._let_go(task)
        )
        return cast(Call[Any], future)  # awaited in the same way

    def begin_send(self, call: OutgoingCall) -> OutsideHandle[Any]:
        """Begins a background or delayed call at once; generated clients use it."""
        outside_only("a connection")
        task = self._start(call, background=True)
        accepted = OutsideCall(task, accepted_id, timeout_s=call.timeout_s, what=f"{call.service}/{call.method}")
        return OutsideHandle(accepted, self, call.decode_response, self._background)

    def invocation(self, invocation_id: str) -> OutsideHandle[Any]:
        """A handle for a known id. Its `result()` is the response message where its module is imported here, else bytes."""
        outside_only("a connection")
        return OutsideHandle(finished(invocation_id), self)

    def method(self, name: str, *, key: str | None = None) -> Method[bytes, bytes]:
        """A method by name, `list.ListService/Append`: binary in, binary out.

        Args:
            name: service and method.
            key: for a KEYED service without a .proto; for one with a .proto it stands in the request, and is filled in where it does not.

        Raises:
            ValueError: the name has another form.
        """
        outside_only("a connection")
        return NamedMethod(self, name, key)

    async def resolve_awakeable(self, id: str, value: object) -> None:
        """Completes an awakeable, and returns once that is on disk.

        Args:
            id: the awakeable's.
            value: a message, or what msgspec encodes as JSON.

        Raises:
            SerdeError: the value cannot be stored.
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """
        outside_only("a connection")
        stored = encode(value)
        await self._request(
            "POST", path("awakeables", id, "resolve"), stored.data, {"Content-Type": "application/octet-stream", VALUE_TAG: stored.tag}
        )

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Fails an awakeable, and returns once that is on disk.

        Args:
            id: the awakeable's.
            reason: the message of the `TerminalError` that the handler gets.

        Raises:
            SerdeError: the reason cannot be stored.
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """
        outside_only("a connection")
        check_text("the reason", reason)
        body = msgspec.json.encode({"reason": reason})
        await self._request("POST", path("awakeables", id, "reject"), body, {"Content-Type": "application/json"})

    # What handles reach

    async def result_of(self, invocation_id: str, decode: Callable[[bytes], Any] | None) -> Any:
        """Waits for an invocation's end; `handle.result()` uses it."""
        outside_only("a connection")
        headers, body = await self._request("GET", path("invocation", invocation_id, "attach"), None, {"Accept": PROTO})
        return (decode or decoder_of(headers.get("x-restate-method", "")))(body)

    async def status_of(self, invocation_id: str) -> str:
        """An invocation's status; `handle.status()` uses it."""
        outside_only("a connection")
        _, body = await self._request("GET", path("invocation", invocation_id, "status"), None, {})
        return status_of(body)

    async def cancel_invocation(self, invocation_id: str) -> None:
        """Asks an invocation to stop; `handle.cancel()` uses it."""
        outside_only("a connection")
        await self._request("POST", path("invocation", invocation_id, "cancel"), None, {})

    async def kill_invocation(self, invocation_id: str) -> None:
        """Ends an invocation; `handle.kill()` uses it."""
        outside_only("a connection")
        await self._request("POST", path("invocation", invocation_id, "kill"), None, {})

    # Requests

    def _start(self, call: OutgoingCall, *, background: bool) -> asyncio.Task[bytes]:
        headers = headers_of(call)
        path = call_path(call, background=background)
        # Only now, so that what cannot be sent gets no number; and it ends before anybody hears of the result and makes another call.
        numbers = self._numbers
        number, headers[ORDER] = numbers.begin()
        task = asyncio.get_running_loop().create_task(self._body(path, call.payload, headers))
        task.add_done_callback(lambda _: numbers.end(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _body(self, path: str, payload: bytes, headers: Mapping[str, str]) -> bytes:
        _, body = await self._request("POST", path, payload, headers)
        return body

    async def _request(self, verb: str, path: str, payload: bytes | None, headers: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
        session = self._session
        if session is None:
            raise ConnectionError(f"the connection to {self.url} is not open: use `async with connect(...) as connection`")
        try:
            # As it is: a key in the path may be dots, or hold what is reserved.
            url = URL(self.url + path, encoded=True)
            async with session.request(verb, url, data=payload, headers=headers, allow_redirects=False) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            self._restart_order()
            raise ConnectionError(f"no runtime can be reached at {self.url}: {why_unreached(error)}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._restart_order()
            raise ConnectionError(
                f"the connection to {self.url} broke before there was an answer ({str(error) or type(error).__name__}); "
                f"a retry under the same idempotency key is safe"
            ) from None
        if response.status >= 300:
            refusal = read_error(response.status, response.headers, body, self.url)
            if isinstance(refusal, ConnectionError):
                self._restart_order()  # something in front of the ingress answered, which never saw the number
            raise refusal
        return response.headers, body

    def _restart_order(self) -> None:
        """A call that may not have arrived leaves a gap among those under way, and may cost them their order; later ones keep theirs."""
        self._numbers = Numbers()

    def _let_go(self, task: asyncio.Task[bytes]) -> None:
        if not task.done():
            asyncio.get_running_loop().call_later(_LINGER_S, task.cancel)
