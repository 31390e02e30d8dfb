"""Calling a runtime in another process from code without an event loop, over its HTTP ingress."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as PoolTimeout

from .handler.client import OutgoingCall, seconds
from .handler.scope import outside_only
from .handler.sync_client import SyncInvocationHandle, SyncMethod, SyncNamedMethod
from .serde import check_text, encode
from .urls import why_unreached
from .web.errors import read_error
from .web.values import VALUE_TAG
from .web.wire import CONNECT_TIMEOUT_S, PROTO, accepted_id, call_path, check_url, decoder_of, headers_of, path, status_of

__all__ = ["SyncConnection", "connect_sync"]

Response = TypeVar("Response")

# Connections that are kept open for the next call. More are made as threads need them, which urllib3 complains of.
_KEPT = 256

# Of processes that this one was forked from. Nothing may close them here: what guards them may have been taken at that moment.
_inherited: list[urllib3.PoolManager] = []


def connect_sync(url: str) -> SyncConnection:
    """A connection to a runtime's HTTP ingress for code without an event loop: `with connect_sync(url) as connection`.

    It holds no state of the runtime's: after a `ConnectionError` the next call works as soon as the runtime is back.

    Args:
        url: the ingress, `http://127.0.0.1:8080`.

    Raises:
        ValueError: the URL is not one of http or https.
    """
    return SyncConnection(url)


class SyncConnection:
    """Calls a runtime in another process; the caller of generated `...SyncClient` classes. Any number of threads may use it at once.

    Each call is made, and a background call is on disk, when it returns.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._open_pool()
        self._closed = False

    def __enter__(self) -> SyncConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is open; calls that other threads wait for go on to their end."""
        self._closed = True
        self._own_pool().clear()

    def _open_pool(self) -> None:
        self._pid = os.getpid()
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=_KEPT, retries=False)

    def _own_pool(self) -> urllib3.PoolManager:
        if self._pid != os.getpid():
            # Forked: on the sockets of its parent this process would take the other's answers.
            _inherited.append(self._pool)
            self._open_pool()
        return self._pool

    # Calls

    def call(self, call: OutgoingCall) -> Any:
        """Makes a call and waits for its response; generated clients use it."""
        _, body = self._request(
            "POST", call_path(call, background=False), call.payload, headers_of(call), call.timeout_s, f"{call.service}/{call.method}"
        )
        return call.decode_response(body)

    def send(self, call: OutgoingCall) -> SyncHandle[Any]:
        """Makes a background or delayed call; generated clients use it."""
        _, body = self._request(
            "POST", call_path(call, background=True), call.payload, headers_of(call), call.timeout_s, f"{call.service}/{call.method}"
        )
        return SyncHandle(self, accepted_id(body), call.decode_response)

    def invocation(self, invocation_id: str) -> SyncHandle[Any]:
        """A handle for a known id. Its `result()` is the response message where its module is imported here, else bytes."""
        return SyncHandle(self, invocation_id)

    def method(self, name: str, *, key: str | None = None) -> SyncMethod[bytes, bytes]:
        """A method by name, `list.ListService/Append`: binary in, binary out.

        Args:
            name: service and method.
            key: for a KEYED service without a .proto; for one with a .proto it stands in the request, and is filled in where it does not.

        Raises:
            ValueError: the name has another form.
        """
        return SyncNamedMethod(self, name, key)

    def resolve_awakeable(self, id: str, value: object) -> None:
        """Completes an awakeable, and returns once that is on disk.

        Args:
            id: the awakeable's.
            value: a message, or what msgspec encodes as JSON.

        Raises:
            SerdeError: the value cannot be stored.
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """
        stored = encode(value)
        headers = {"Content-Type": "application/octet-stream", VALUE_TAG: stored.tag}
        self._request("POST", path("awakeables", id, "resolve"), stored.data, headers)

    def reject_awakeable(self, id: str, reason: str) -> None:
        """Fails an awakeable, and returns once that is on disk.

        Args:
            id: the awakeable's.
            reason: the message of the `TerminalError` that the handler gets.

        Raises:
            SerdeError: the reason cannot be stored.
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """
        check_text("the reason", reason)
        body = msgspec.json.encode({"reason": reason})
        self._request("POST", path("awakeables", id, "reject"), body, {"Content-Type": "application/json"})

    # What handles reach

    def result_of(self, invocation_id: str, decode: Callable[[bytes], Any] | None, timeout_s: float | None) -> Any:
        """Waits for an invocation's end; `handle.result()` uses it."""
        headers, body = self._request(
            "GET", path("invocation", invocation_id, "attach"), None, {"Accept": PROTO}, timeout_s, f"invocation {invocation_id}"
        )
        return (decode or decoder_of(headers.get("x-restate-method", "")))(body)

    def status_of(self, invocation_id: str) -> str:
        """An invocation's status; `handle.status()` uses it."""
        _, body = self._request("GET", path("invocation", invocation_id, "status"), None, {})
        return status_of(body)

    def cancel_invocation(self, invocation_id: str) -> None:
        """Asks an invocation to stop; `handle.cancel()` uses it."""
        self._request("POST", path("invocation", invocation_id, "cancel"), None, {})

    def kill_invocation(self, invocation_id: str) -> None:
        """Ends an invocation; `handle.kill()` uses it."""
        self._request("POST", path("invocation", invocation_id, "kill"), None, {})

    # Requests

    def _request(
        self, verb: str, where: str, payload: bytes | None, headers: Mapping[str, str], timeout_s: float | None = None, what: str = ""
    ) -> tuple[Mapping[str, str], bytes]:
        outside_only("a connection")
        if self._closed:
            raise ConnectionError(f"the connection to {self.url} is closed")
        if timeout_s is not None and timeout_s <= 0:
            raise TimeoutError(f"{what}: no time is left for a call")
        # http.client would send text as Latin-1; the ingress reads UTF-8.
        encoded: Any = {name: value.encode() for name, value in headers.items()}
        connect_s = CONNECT_TIMEOUT_S if timeout_s is None else min(CONNECT_TIMEOUT_S, timeout_s)
        try:
            response = self._own_pool().request(
                verb,
                self.url + where,
                body=payload,
                headers=encoded,
                redirect=False,
                timeout=urllib3.Timeout(connect=connect_s, total=timeout_s),
            )
        except (NewConnectionError, SSLError) as error:
            cause = error.args[0] if isinstance(error, SSLError) else error.__cause__
            reason = why_unreached(cause) if isinstance(cause, OSError) else str(error)
            raise ConnectionError(f"no runtime can be reached at {self.url}: {reason}") from None
        except PoolTimeout as error:
            raise self._timeout(error, timeout_s, what) from None
        except (HTTPError, OSError) as error:
            raise ConnectionError(
                f"the connection to {self.url} broke before there was an answer ({_reason(error)}); "
                f"a retry under the same idempotency key is safe"
            ) from None
        if response.status >= 300:
            raise read_error(response.status, response.headers, response.data, self.url)
        return response.headers, response.data

    def _timeout(self, error: PoolTimeout, timeout_s: float | None, what: str) -> Exception:
        if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            if timeout_s is None or timeout_s >= CONNECT_TIMEOUT_S:
                return ConnectionError(f"no runtime can be reached at {self.url}: no connection within {CONNECT_TIMEOUT_S} s")
            return TimeoutError(f"{what}: no connection to {self.url} within {timeout_s:g} s; the call was not made")
        return TimeoutError(f"{what}: no answer within {timeout_s:g} s; the invocation goes on")


def _reason(error: Exception) -> str:
    # urllib3's own words come first, the cause last.
    cause = error.args[-1] if error.args else error
    return str(cause) or type(cause).__name__


class SyncHandle(SyncInvocationHandle[Response]):
    """A background invocation, or one known by its id.

    Args:
        connection: the way to it.
        invocation_id: its id.
        decode: the method's response from bytes; `None` for an invocation that is known by its id only.
    """

    __slots__ = ("_connection", "_decode", "_id")

    def __init__(self, connection: SyncConnection, invocation_id: str, decode: Callable[[bytes], Response] | None = None) -> None:
        self._connection = connection
        self._id = invocation_id
        self._decode = decode

    def invocation_id(self) -> str:
        """The invocation's id."""
        return self._id

    def result(self, timeout: timedelta | float | None = None) -> Response:
        """Waits for the end and returns the method's response."""
        response: Response = self._connection.result_of(self._id, self._decode, seconds(timeout))
        return response

    def status(self) -> str:
        """The status as it is committed."""
        return self._connection.status_of(self._id)

    def cancel(self) -> None:
        """Asks the invocation to stop, and returns once that is on disk."""
        self._connection.cancel_invocation(self._id)

    def kill(self) -> None:
        """Ends the invocation and the awaited calls below it at once."""
        self._connection.kill_invocation(self._id)
