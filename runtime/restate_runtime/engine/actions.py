"""Side effects: runs a body once everything before it is on disk, and gives its result to the core."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..errors import Code, TerminalError
from ..handler.scope import ContextMisuse, current_handler
from ..handler.tasks import begin_task
from ..journal.entries import Failure, Outcome, Success
from ..journal.events import ActionEnded, ActionFailed
from ..retry import RetryPolicy
from ..serde import SerdeError, Value, decode, encode, restore, storable, type_name
from .sources import describe_error
from .threads import DaemonPool

if TYPE_CHECKING:
    from .attempt import Attempt
    from .driver import Driver

__all__ = ["Action", "Actions", "call_body", "encode_result", "is_misuse", "refuse_lossy", "result_type"]

_THREADS = 32


class Stage(enum.Enum):
    """Where a side effect of an attempt in memory stands."""

    WAITING = "waiting"
    """For its turn, or for its next execution."""
    RUNNING = "running"
    """Its body runs."""
    CANCELLED = "cancelled"
    """The attempt is over."""


class Action:
    """One side effect of one attempt in memory.

    Attributes:
        cut: the await of it was cancelled.
    """

    __slots__ = ("_task", "attempt", "body", "completion_id", "context", "cut", "name", "policy", "stage", "wanted")

    def __init__(self, attempt: Attempt, completion_id: int, name: str, body: Callable[[], Any], wanted: Any, policy: RetryPolicy) -> None:
        self.attempt = attempt
        self.completion_id = completion_id
        self.name = name
        self.body = body
        self.wanted = wanted
        self.policy = policy
        self.stage = Stage.WAITING
        self.context = contextvars.copy_context()
        self.context.run(current_handler.set, None)
        self.cut = False
        self._task: asyncio.Task[None] | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        """Its body runs in that task."""
        self.stage = Stage.RUNNING
        self._task = task

    def cancel(self) -> None:
        """Nobody takes its result any more. A body in a thread runs to its end all the same."""
        self.stage = Stage.CANCELLED
        if self._task is not None:
            self._task.cancel()

    def let_go(self) -> asyncio.Task[None] | None:
        """Nobody takes its result any more, and it runs to its end all the same, in that task."""
        self.stage = Stage.CANCELLED
        return self._task


class Actions:
    """Prepares and executes side effects."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._pool = DaemonPool(_THREADS, "restate-action")
        self._annotations: dict[types.CodeType, Any] = {}
        self._loose: set[asyncio.Task[None]] = set()

    def result_type(self, action: Callable[[], Any], given: Any) -> Any:
        """How the result is restored: as `result_type` says."""
        return result_type(action, given, self._annotations)

    def prepare(self, attempt: Attempt, completion_id: int, name: str, body: Callable[[], Any], wanted: Any, policy: RetryPolicy) -> Action:
        """A side effect that begins with `start`."""
        return Action(attempt, completion_id, name, body, wanted, policy)

    def drop(self, action: Action) -> None:
        """Its handler has returned. A body whose await was cancelled is not interrupted."""
        if not action.cut:
            action.cancel()
            return
        task = action.let_go()
        if task is not None:
            self._loose.add(task)
            task.add_done_callback(self._loose.discard)

    def start(self, action: Action) -> None:
        """Runs the body, unless it runs already."""
        if action.stage is Stage.WAITING:
            task = begin_task(self._execute(action), self._driver.loop, action.context)
            action.begin(task)

    async def _execute(self, action: Action) -> None:
        driver = self._driver
        attempt = action.attempt
        invocation = attempt.invocation
        began_ms = driver.now_ms()
        slot = driver.flight.enter(invocation.id)
        outcome: Outcome | None = None
        error: BaseException | None = None
        try:
            value = await call_body(action.body, action.context, self._pool)
        except TerminalError as terminal:
            outcome = Failure(terminal.code.value, storable(terminal.message))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as problem:  # SystemExit too: it is the side effect's failure, not the end of the process
            error = problem
        else:
            outcome = encode_result(action.name, value, action.wanted, driver.check_size)
        finally:
            driver.flight.leave(slot)
        if action.stage is Stage.CANCELLED:
            return
        if error is not None and is_misuse(error):
            attempt.misused(describe_error(error), error)
            return
        if outcome is not None:
            driver.step(ActionEnded(invocation.seq, attempt.token, action.completion_id, outcome))
            return
        assert error is not None
        action.stage = Stage.WAITING
        text = describe_error(error)
        driver.warn(attempt, f"side effect '{action.name}' failed: {text}")
        driver.step(ActionFailed(invocation.seq, attempt.token, action.completion_id, action.name, text, began_ms, action.policy))
        driver.rested(attempt)

    def close(self) -> None:
        """Ends what still runs, and lets the threads end."""
        for task in self._loose:
            task.cancel()
        self._pool.close()


async def call_body(body: Callable[[], Any], context: contextvars.Context, pool: DaemonPool) -> Any:
    """Calls a side effect's body: an async one here, a sync one in a thread of the pool, within that context."""
    if inspect.iscoroutinefunction(body):
        return await body()
    # A copy: the context itself is entered by this task.
    value = await pool.run(context.copy(), body)
    return await value if inspect.isawaitable(value) else value


def encode_result(name: str, value: Any, wanted: Any, check_size: Callable[[str, int], None]) -> Outcome:
    """The result as it is recorded. One that cannot be restored is a terminal error: trying again would repeat the effect."""
    try:
        encoded = encode(value, wanted)
        check_size(f"the result of side effect '{name}'", len(encoded.data))
        refuse_lossy(value, encoded, wanted)
    except SerdeError as error:
        return Failure(Code.INTERNAL.value, f"the result of side effect '{name}' cannot be restored: {error}")
    except TerminalError as error:
        return Failure(error.code.value, error.message)
    except Exception as error:  # a Serde of the user's
        return Failure(Code.INTERNAL.value, f"the result of side effect '{name}' cannot be restored: {describe_error(error)}")
    return Success(encoded)


def is_misuse(error: BaseException) -> bool:
    """Whether the body of a side effect used the context of its handler."""
    if isinstance(error, BaseExceptionGroup):  # of a task group in the body
        return error.subgroup(ContextMisuse) is not None
    return isinstance(error, ContextMisuse)


def result_type(action: Callable[[], Any], given: Any, known: dict[types.CodeType, Any]) -> Any:
    """How the result is restored: as the type given, else as the return annotation says, else (`None`) by its tag."""
    if given is not None:
        return given
    function: Any = action
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):  # an object with __call__
        function = type(function).__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None or not getattr(function, "__annotations__", None):
        return None
    if code not in known:
        known[code] = _return_annotation(function)
    return known[code]


def _return_annotation(function: Any) -> Any:
    try:
        wanted = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None  # names only a type checker knows
    if typing.get_origin(wanted) in (Awaitable, Coroutine):  # of a plain function that returns what is to be awaited
        wanted = typing.get_args(wanted)[-1]
    return None if wanted in (Any, object, None, type(None)) or isinstance(wanted, typing.TypeVar) else wanted


def refuse_lossy(value: Any, encoded: Value, wanted: Any) -> None:
    """Refuses a result that a replay could not give back.

    Raises:
        SerdeError: it would come back as something else.
    """
    if wanted is not None:
        decode(encoded, wanted)
        return
    restored = restore(encoded)
    if type(restored) is not type(value) or restored != value:
        raise SerdeError(
            f"a {type_name(type(value))} comes back as {type_name(type(restored))}: annotate the action's return type, or give type="
        )
