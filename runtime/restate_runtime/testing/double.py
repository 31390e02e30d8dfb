"""A caller that answers as a test says, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast, overload

from google.protobuf.message import DecodeError

from ..codecs import codec_of
from ..descriptors import find_service
from ..errors import Code, TerminalError
from ..handler.by_name import NamedMethod
from ..handler.client import EmptyMethod, InvocationHandle, Method, OutgoingCall, seconds
from ..handler.context import Context
from ..handler.futures import Call
from ..handler.outside import OutsideCall, OutsideHandle, failed, finished
from ..handler.scope import current_double
from ..handler.sync_client import SyncEmptyMethod, SyncInvocationHandle, SyncMethod, SyncNamedMethod
from ..identifiers import invocation_id
from ..serde import Value, encode
from .context import ContextDouble

__all__ = ["Answers", "Double", "EmptyAnswers", "Form", "RecordedCall"]

Request = TypeVar("Request")
Response = TypeVar("Response")
C = TypeVar("C", bound=Context)

_START = datetime(2000, 1, 1, tzinfo=UTC)


class Form(enum.Enum):
    """How a call was made."""

    AWAITED = "awaited"
    BACKGROUND = "background"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall(Generic[Request]):
    """One call that a double got.

    Attributes:
        method: `tour.v1.TicketService/Reserve`.
        form: how it was made.
        request: a copy of the request; an `Empty` where the method takes none, bytes for a call by name.
        key: the key for a KEYED service, `None` for the others.
        delay: of a delayed call.
        idempotency_key, headers: as they were given.
        invocation_id: what a handle of it says.
    """

    method: str
    form: Form
    request: Request
    key: str | None
    delay: timedelta | None
    idempotency_key: str | None
    headers: Mapping[str, str]
    invocation_id: str


Answer = Callable[[Any], Any]


class _Script:
    """The answers to one method: each is given once, the last one for good."""

    def __init__(self, takes_request: bool) -> None:
        self.answers: list[Answer] = []
        self.takes_request = takes_request

    def take(self) -> Answer | None:
        if len(self.answers) > 1:
            return self.answers.pop(0)
        return self.answers[0] if self.answers else None


class EmptyAnswers(Generic[Response]):
    """What a method without a request answers. Each statement replaces the one before."""

    def __init__(self, script: _Script) -> None:
        self._script = script

    def returns(self, *responses: Response) -> None:
        """Answers with these responses, one after another; the last one from then on."""
        self._script.answers = [_returning(response) for response in responses]

    def raises(self, error: Exception) -> None:
        """Fails with this error: a `TerminalError`, or, for callers outside handlers, what a connection raises."""

        def fail(_: Any) -> Any:
            raise error

        self._script.answers = [fail]

    def never(self) -> None:
        """Gives no answer: whoever waits waits for good, or until a timeout."""
        self._script.answers = [_never]

    def does(self, function: Callable[[], Response | Awaitable[Response]]) -> None:
        """Answers with what the function returns, or awaits."""
        self._script.answers = [lambda _: function()]


class Answers(EmptyAnswers[Response], Generic[Request, Response]):
    """What a method answers. Each statement replaces the one before."""

    def does(self, function: Callable[[Request], Response | Awaitable[Response]]) -> None:  # type: ignore[override]
        """Answers with what the function makes of the request, returned or awaited."""
        self._script.answers = [function]


def _returning(response: object) -> Answer:
    return lambda _: response


def _never(_: Any) -> Any:
    return NEVER


class _Never:
    pass


NEVER = _Never()
"""An answer that does not come."""


@dataclass(slots=True)
class Outcome:
    """What came of a call: a value, an error, something to be awaited for one, or nothing."""

    value: Any = None
    error: Exception | None = None
    pending: Awaitable[Any] | None = None
    source: Awaitable[Any] | None = None
    never: bool = False
    missing: str = ""

    def begin(self, context: contextvars.Context | None = None) -> Outcome:
        """Lets what is awaited run, whether or not somebody waits for it."""
        if self.pending is not None and not isinstance(self.pending, asyncio.Future):
            self.pending = task = asyncio.get_running_loop().create_task(_awaiting(self.pending), context=context)
            task.add_done_callback(_look)
        return self


async def _awaiting(pending: Awaitable[Any]) -> Any:
    return await pending


def _look(task: asyncio.Future[Any]) -> None:
    """Nobody has to take the outcome of a background call."""
    if not task.cancelled():
        task.exception()


@dataclass
class Double:
    """Stands in for a runtime: the caller of generated clients, awaited and sync, and the maker of contexts for handlers under test.

    Attributes:
        all_calls: every call that it got, in order.
        settled: awakeables that somebody settled, by id: the value that was given, or the `TerminalError`.
        cancelled, killed: ids of invocations that somebody cancelled or killed.
    """

    all_calls: list[RecordedCall[Any]] = field(default_factory=list)
    settled: dict[str, object] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    _scripts: dict[str, _Script] = field(default_factory=dict)
    _outcomes: dict[str, Outcome] = field(default_factory=dict)
    _contexts: list[ContextDouble] = field(default_factory=list)
    _ids: int = 0

    # --- what a test says and asks

    @overload
    def on(self, method: EmptyMethod[Response] | SyncEmptyMethod[Response]) -> EmptyAnswers[Response]: ...
    @overload
    def on(self, method: Method[Request, Response] | SyncMethod[Request, Response]) -> Answers[Request, Response]: ...
    def on(self, method: Any) -> Any:
        """Programs a method of a client: `double.on(tickets.reserve).returns(BoolValue(value=True))`."""
        empty = isinstance(method, (EmptyMethod, SyncEmptyMethod))
        script = self._scripts.setdefault(_name(method), _Script(not empty))
        return EmptyAnswers(script) if empty else Answers(script)

    @overload
    def calls(self, method: EmptyMethod[Any] | SyncEmptyMethod[Any]) -> list[RecordedCall[Any]]: ...
    @overload
    def calls(self, method: Method[Request, Any] | SyncMethod[Request, Any]) -> list[RecordedCall[Request]]: ...
    def calls(self, method: Any) -> list[RecordedCall[Any]]:
        """The calls of a method, in order."""
        return [call for call in self.all_calls if call.method == _name(method)]

    def context(
        self,
        type: type[C],
        *,
        key: str = "",
        state: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        attempt: int = 1,
        now: datetime = _START,
    ) -> C:
        """A context for a handler under test, whose calls go to this double.

        Actions of `ctx.run` are executed at once, and again as their policy says; where it has no bound, ten times. Time stands still,
        and passes when the handler waits for nothing else, or when `let_time_pass` says so.

        Args:
            type: the context that the handler takes: `KeyedContext`, or a generated one such as `UserSessionContext`.
            key: its key.
            state: what is stored before, by name.
            headers: those of the call.
            attempt: `ctx.attempt`.
            now: what `ctx.now()` says at first.
        """
        stored = {name: encode(value) for name, value in (state or {}).items()}
        made = ContextDouble(self, self._new_id(), key=key, state=stored, headers=headers or {}, attempt=attempt, now=now)
        self._contexts.append(made)
        current_double.set(made)
        return type(made)

    @property
    def open_awakeables(self) -> list[str]:
        """Ids of awakeables that handlers under test have made, and nobody has settled, in order."""
        return [id for context in self._contexts for id in context.open_awakeables()]

    def let_time_pass(self, duration: timedelta) -> None:
        """Moves the clocks of all contexts; sleeps and timeouts that are over by then end."""
        for context in self._contexts:
            context.let_time_pass(duration)

    async def resolve_awakeable(self, id: str, value: object) -> None:
        """Settles an awakeable of a handler under test; one of nobody's is noted in `settled`."""
        self.settle(id, encode(value), value)

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Fails an awakeable of a handler under test; one of nobody's is noted in `settled`."""
        self.settle(id, None, reason)

    def settle(self, id: str, value: Value | None, given: object) -> None:
        """For contexts: an awakeable is settled."""
        self.settled[id] = given
        for context in self._contexts:
            context.settle(id, value, str(given))

    # --- calls from outside

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        """For generated clients: an awaited call."""
        outcome = self.take(call, Form.AWAITED).begin()
        return cast(Call[Any], OutsideCall(self._source(outcome), _same, timeout_s=call.timeout_s, what=f"{call.service}/{call.method}"))

    def begin_send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        """For generated clients: a background or delayed call."""
        self.take(call, Form.DELAYED if call.delay_ms else Form.BACKGROUND).begin()
        return OutsideHandle(finished(self.all_calls[-1].invocation_id), self)

    def invocation(self, id: str) -> InvocationHandle[Any]:
        """A handle for a call that was made before."""
        return OutsideHandle(finished(id), self)

    def method(self, name: str, *, key: str | None = None) -> Method[bytes, bytes]:
        """A method by name, to program it or to call it."""
        return NamedMethod(self, name, key)

    async def result_of(self, invocation_id: str, decode: Any) -> Any:
        """For handles: the answer to a background call."""
        return await self._source(self.outcome(invocation_id))

    async def status_of(self, invocation_id: str) -> str:
        """For handles: `scheduled` for a delayed call, `completed` for every other."""
        return self._status(invocation_id)

    async def cancel_invocation(self, invocation_id: str) -> None:
        """For handles: noted in `cancelled`."""
        self.cancelled.append(invocation_id)

    async def kill_invocation(self, invocation_id: str) -> None:
        """For handles: noted in `killed`."""
        self.killed.append(invocation_id)

    def _status(self, id: str) -> str:
        return "scheduled" if any(call.invocation_id == id and call.form is Form.DELAYED for call in self.all_calls) else "completed"

    def _source(self, outcome: Outcome) -> asyncio.Future[Any]:
        if outcome.missing:
            return failed(AssertionError(outcome.missing))  # type: ignore[arg-type, unused-ignore]
        if outcome.error is not None:
            return failed(outcome.error)
        if outcome.never:
            return asyncio.get_running_loop().create_future()
        return finished(outcome.value) if outcome.pending is None else asyncio.shield(outcome.pending)

    # --- calls without an event loop

    def call(self, call: OutgoingCall) -> Any:
        """For generated sync clients: a call."""
        return self._result(self.take(call, Form.AWAITED), call.timeout_s, f"{call.service}/{call.method}")

    def send(self, call: OutgoingCall) -> SyncInvocationHandle[Any]:
        """For generated sync clients: a background or delayed call."""
        self.take(call, Form.DELAYED if call.delay_ms else Form.BACKGROUND)
        return _SyncHandle(self, self.all_calls[-1].invocation_id)

    def _result(self, outcome: Outcome, timeout_s: float | None, what: str) -> Any:
        if outcome.missing:
            raise AssertionError(outcome.missing)
        if outcome.error is not None:
            raise outcome.error
        if outcome.pending is not None:
            for unused in (outcome.pending, outcome.source):
                if inspect.iscoroutine(unused):
                    unused.close()
            raise TypeError(f"{what}: the answer to a sync client cannot be awaited; program it with a plain function")
        if outcome.never:
            if timeout_s is None:
                raise AssertionError(f"{what}: the call would wait for good")
            raise TimeoutError(f"{what}: no answer within {timeout_s:g} s; the invocation goes on")
        return outcome.value

    # --- for contexts too

    def take(self, call: OutgoingCall, form: Form) -> Outcome:
        """Notes a call, and what comes of it.

        Raises:
            AssertionError: it is an awaited call without an answer.
        """
        name = f"{call.service}/{call.method}"
        descriptor = call.descriptor
        request = call.payload if descriptor is None else descriptor.request_codec.decode(call.payload)
        id = invocation_id(self._new_id())
        delay = timedelta(milliseconds=call.delay_ms) if form is Form.DELAYED else None
        self.all_calls.append(
            RecordedCall(
                method=name,
                form=form,
                request=request,
                key=_key_of(call),
                delay=delay,
                idempotency_key=call.idempotency_key,
                headers=dict(call.headers or {}),
                invocation_id=id,
            )
        )
        outcome = self._outcomes[id] = self._answer(call, name, request)
        if outcome.missing and form is Form.AWAITED:
            raise AssertionError(outcome.missing)
        return outcome

    def _answer(self, call: OutgoingCall, name: str, request: Any) -> Outcome:
        script = self._scripts.get(name)
        answer = None if script is None else script.take()
        if answer is None:
            if call.descriptor is not None and call.descriptor.empty_response:
                return Outcome()
            return Outcome(missing=f"{name} was called, and the test has no answer for it: double.on(client.method).returns(...)")
        try:
            value = answer(request)
        except Exception as error:
            return Outcome(error=error)
        if value is NEVER:
            return Outcome(never=True)
        if inspect.isawaitable(value):
            return Outcome(pending=_awaited(value, call, name), source=value)
        return Outcome(value=_copy(value, call, name))

    def outcome(self, id: str) -> Outcome:
        """What came of the call with that id."""
        return self._outcomes.get(id) or Outcome(missing=f"no call of this test has the id {id}")

    def _new_id(self) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(16, "big")


def _name(method: Any) -> str:
    if isinstance(method, (NamedMethod, SyncNamedMethod)):
        return f"{method._service}/{method._method}"
    return str(method.descriptor.full_name)


def _key_of(call: OutgoingCall) -> str | None:
    """The key, which a call by name may leave to the engine.

    Raises:
        TerminalError: NOT_FOUND, the contract has no such method; INVALID_ARGUMENT, the request is none, or has no key.
    """
    service = find_service(call.service) if call.descriptor is None and call.key is None else None
    if service is None:
        return call.key  # what its contract says is not known here
    name = f"{call.service}/{call.method}"
    descriptor = next((one for one in service.methods if one.name == call.method), None)
    if descriptor is None:
        raise TerminalError(f"the service '{call.service}' has no method '{call.method}'", Code.NOT_FOUND)
    codec = descriptor.request_codec
    try:
        message = codec.parse(call.payload)
    except DecodeError as error:
        raise TerminalError(f"{name}: the request is no {codec.full_name}: {error}", Code.INVALID_ARGUMENT) from None
    if descriptor.key_field is None:
        return None
    key = getattr(message, descriptor.key_field)
    if not key:
        raise TerminalError(f"{name}: the key field '{descriptor.key_field}' is empty", Code.INVALID_ARGUMENT)
    return str(key)


def _same(value: Any) -> Any:
    return value


async def _awaited(value: Awaitable[Any], call: OutgoingCall, name: str) -> Any:
    return _copy(await value, call, name)


def _copy(value: Any, call: OutgoingCall, name: str) -> Any:
    """The response as it would arrive."""
    descriptor = call.descriptor
    wanted: type[Any] = bytes if descriptor is None else descriptor.response
    if descriptor is not None and descriptor.empty_response:
        if value is not None:
            raise TypeError(f"{name} answers nothing, not a {type(value).__name__}")
        return None
    codec = codec_of(type(value)) if descriptor is None else None
    if codec is not None:  # a call by name of a method that was programmed by its client
        return codec.encode(value)
    if not isinstance(value, wanted):
        raise TypeError(f"{name} answers a {wanted.__name__}, not a {type(value).__name__}")
    return value if descriptor is None else descriptor.response_codec.decode(descriptor.response_codec.encode(value))


class _SyncHandle(SyncInvocationHandle[Any]):
    def __init__(self, double: Double, id: str) -> None:
        self._double = double
        self._id = id

    def invocation_id(self) -> str:
        return self._id

    def result(self, timeout: timedelta | float | None = None) -> Any:
        return self._double._result(self._double.outcome(self._id), seconds(timeout), f"invocation {self._id}")

    def status(self) -> str:
        return self._double._status(self._id)

    def cancel(self) -> None:
        self._double.cancelled.append(self._id)

    def kill(self) -> None:
        self._double.killed.append(self._id)
