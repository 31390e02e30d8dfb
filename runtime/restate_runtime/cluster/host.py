"""What all attempts of one endpoint share: the services, the threads, the words for people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import types
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..descriptors import ServiceKind, find_service
from ..engine.devmode import Foreign, Watched
from ..engine.registry import SINGLETON_KEY, BoundMethod, HostedMethod, Registry
from ..engine.sources import describe_error
from ..engine.threads import DaemonPool
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.client import OutgoingCall
from ..ingress.headers import forwarded
from ..journal.lifecycle import MISSING
from ..transcode import from_json, to_json
from .attempt import Attempt
from .machine import Machine
from .opening import current_opening

if TYPE_CHECKING:
    from restate.server_context import ServerInvocationContext

__all__ = ["PROTO", "Host"]

PROTO = "application/proto"

_LOG = logging.getLogger("restate_runtime.handler")
_THREADS = 32
_REMEMBERED = 10_000
_FORM = "application/x-www-form-urlencoded"  # what curl says of any body


class Host:
    """The services of one App, as a cluster calls them."""

    def __init__(self, registry: Registry, dev: bool = False) -> None:
        self.registry = registry
        self._dev = dev
        self._foreign = Foreign(self.warn)
        self.pool = DaemonPool(_THREADS, "restate-action")
        self.annotations: dict[types.CodeType, Any] = {}
        self._attempts: set[Attempt] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    # --- attempts

    async def invoke(self, bound: BoundMethod, context: ServerInvocationContext, body: bytes) -> bytes:
        """One attempt: the request's bytes to the response's, in the shape that the SDK calls a handler."""
        attempt = Attempt(self, Machine(context), bound, current_opening.get())
        return await attempt.drive(lambda attempt: self._handle(bound, attempt, body))

    async def _handle(self, bound: BoundMethod, attempt: Attempt, body: bytes) -> bytes:
        descriptor = bound.descriptor
        as_json = _is_json(attempt.content_type, body)
        given = from_json(body, descriptor.request_codec.wire).SerializeToString() if as_json and body else body
        payload = self._request(bound, attempt, given)
        request = () if descriptor.empty_request else (descriptor.request_codec.decode(payload),)
        running = bound.handler(bound.context(attempt), *request)
        response = bound.encode_response(await (Watched(attempt, running, self._foreign.report) if self._dev else running))
        attempt.check_size(f"the response of {descriptor.full_name}", len(response))
        return to_json(descriptor.response_codec.wire.FromString(response)) if as_json else response

    def entered(self, attempt: Attempt) -> None:
        """The attempt begins."""
        self._attempts.add(attempt)
        self._idle.clear()
        if self._stopping:
            attempt.close_input()

    def left(self, attempt: Attempt) -> None:
        """The attempt is over."""
        self._attempts.discard(attempt)
        if not self._attempts:
            self._idle.set()

    def suspended(self, id: str, results: int) -> None:
        """An attempt is over that has seen so many results, and goes on in another one."""
        self._seen[id] = results
        self._seen.move_to_end(id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def seen_by(self, id: str, results: int) -> int | None:
        """How many results earlier attempts have seen; `None` where there was none.

        Args:
            id: the invocation's.
            results: how many are recorded; where it was suspended in another process, it goes on with the last of them.
        """
        seen = self._seen.pop(id, None)
        if seen is not None:
            return seen
        return results - 1 if results else None

    def leaves(self, task: asyncio.Task[None]) -> None:
        """The handler of an attempt that is over cleans up."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def cleaned_up(self, timeout_s: float) -> None:
        """Waits until the handlers of attempts that are over have cleaned up, or that long."""
        if self._leaving:
            await asyncio.wait(list(self._leaving), timeout=timeout_s)

    async def stop(self, timeout_s: float) -> None:
        """Suspends what waits, and gives the rest some time."""
        self._stopping = True
        for attempt in list(self._attempts):
            attempt.close_input()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
                if self._leaving:
                    await asyncio.wait(list(self._leaving))
        self.pool.close()

    # --- names and keys

    def shown_key(self, bound: BoundMethod, key: str) -> str:
        """The key as handlers see it: that of a SINGLETON is the cluster's own affair."""
        return "" if bound.kind is ServiceKind.SINGLETON else key

    def shown_headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """The headers that came with the call, without those of HTTP itself."""
        return forwarded(dict(headers)) or {}

    def address(self, call: OutgoingCall, *, engine_knows: bool) -> str | None:
        """The key under which a call's target lives on the cluster. A call by name gets its key, and its request gets the key.

        Args:
            call: its key and payload may change.
            engine_knows: the embedded engine addresses calls itself, of services that this process has never heard of, too.

        Raises:
            TerminalError: of a call by name: INVALID_ARGUMENT, its request or key is none.
            RuntimeFault: RT0304, nothing tells its key, or that of such a method.
        """
        if call.descriptor is None:
            try:
                method = self._method(call.service, call.method)
            except TerminalError as error:
                raise RuntimeFault(MISSING, f"{error.message}; without it the key of the call is not known") from None
            if method is not None:
                call.key, call.payload = method.addressed(call.payload, call.key)
            elif call.key is None and not engine_knows:
                raise RuntimeFault(
                    MISSING,
                    f"nothing here describes the service '{call.service}', and without that the key of the call is not known: import its "
                    f"generated module, or give key=",
                )
        if call.key is not None:
            return call.key
        return SINGLETON_KEY if self._kind(call.service) is ServiceKind.SINGLETON else None

    def _kind(self, service: str) -> ServiceKind | None:
        hosted = self.registry.services.get(service) or find_service(service)
        return None if hosted is None else hosted.kind

    def _method(self, service: str, method: str) -> HostedMethod | None:
        """A method that is hosted here, or that a generated module describes."""
        hosted = self.registry.services.get(service)
        if hosted is not None:
            return self.registry.resolve(service, method)
        known = find_service(service)
        if known is None:
            return None
        try:
            descriptor = known.method(method)
        except KeyError:
            raise TerminalError(f"the service '{service}' has no method '{method}'", Code.NOT_FOUND) from None
        return HostedMethod(service=service, name=method, kind=known.kind, descriptor=descriptor)

    def _request(self, bound: BoundMethod, attempt: Attempt, payload: bytes) -> bytes:
        """The request, checked. A KEY field that is absent is filled in; another key than the cluster's would be another's state."""
        message = bound.parse(payload)
        if bound.kind is ServiceKind.SINGLETON and attempt.given_key != SINGLETON_KEY:
            raise TerminalError(
                f"{bound.full_name} was called with the key '{attempt.given_key[:100]}': the one object of a SINGLETON has the key "
                f"'{SINGLETON_KEY}'",
                Code.INVALID_ARGUMENT,
            )
        if bound.kind is not ServiceKind.KEYED:
            return payload
        bound.take_key(message, attempt.key)
        return message.SerializeToString()

    # --- for people

    def warn(self, attempt: Attempt, text: str) -> None:
        """Something about a handler that its author should know."""
        _LOG.warning("[%s] %s: %s", attempt.target, attempt.id, text)

    def report_failure(self, attempt: Attempt, error: BaseException) -> None:
        """A failed attempt in the log, with its traceback: it is the user's code that failed."""
        _LOG.warning("[%s] %s: attempt failed: %s", attempt.target, attempt.id, describe_error(error), exc_info=error)


def _is_json(content_type: str, body: bytes) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != _FORM:
        return kind.endswith("json")
    # Services written with Restate's SDKs speak JSON and say no type. No protobuf message begins with a brace: it would be the start
    # of a group in field 15.
    return body[:1] == b"{"
