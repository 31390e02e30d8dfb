"""Side effects on a Restate cluster: the body runs here, the cluster keeps its result and counts its failures."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine.actions import call_body, encode_result, is_misuse
from ..engine.sources import describe_error
from ..envelope import seal
from ..errors import Code, TerminalError
from ..handler.scope import current_handler
from ..handler.tasks import begin_task
from ..journal.entries import Failure, Outcome, Success
from ..retry import RetryPolicy
from ..serde import SerdeError, storable

if TYPE_CHECKING:
    from .attempt import Attempt

__all__ = ["Action"]


class Action:
    """One side effect of one attempt: its body is started once, when the machine asks for it.

    Attributes:
        cut: the await of it was cancelled. Its body is not interrupted.
    """

    __slots__ = ("_body", "_context", "_failures", "_handle", "_name", "_policy", "_task", "_wanted", "attempt", "cut")

    def __init__(
        self, attempt: Attempt, handle: int, name: str, body: Callable[[], Any], wanted: Any, policy: RetryPolicy, failures: int
    ) -> None:
        self.attempt = attempt
        self.cut = False
        self._failures = failures
        self._handle = handle
        self._name = name
        self._body = body
        self._wanted = wanted
        self._policy = policy
        self._context = contextvars.copy_context()
        self._context.run(current_handler.set, None)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs the body."""
        self._task = begin_task(self._execute(), asyncio.get_running_loop(), self._context)

    def cancel(self) -> None:
        """Nobody takes its result any more. A body in a thread runs to its end all the same."""
        if self._task is not None:
            self._task.cancel()

    def drop(self) -> None:
        """Its handler has ended. A body whose await was cancelled goes on, without anybody who takes its result."""
        if not self.cut:
            self.cancel()
        elif self._task is not None:
            self.attempt.host.leaves(self._task)

    async def _execute(self) -> None:
        attempt = self.attempt
        began = time.monotonic()
        outcome: Outcome
        try:
            value = await call_body(self._body, self._context, attempt.host.pool)
            outcome = encode_result(self._name, value, self._wanted, attempt.check_size)
        except TerminalError as error:
            outcome = Failure(error.code.value, storable(error.message))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit too: it is the side effect's failure, not the end of the process
            self._failed(error, began)
            return
        if attempt.dead:
            return
        data = b""
        if isinstance(outcome, Success):
            try:
                data = seal(outcome.value)
            except SerdeError as error:
                outcome = Failure(Code.INTERNAL.value, f"the result of side effect '{self._name}' cannot be restored: {error}")
        attempt.run_ended(self._handle, outcome, data)

    def _failed(self, error: BaseException, began: float) -> None:
        if self.attempt.dead:
            return
        if is_misuse(error):
            self.attempt.misused(error)
            return
        text = describe_error(error)
        self.attempt.host.warn(self.attempt, f"side effect '{self._name}' failed: {text}")
        times = self._failures + 1
        final = f"the side effect '{self._name}' failed {times} times; the last with: {text}"
        self.attempt.run_failed(self._handle, final, round((time.monotonic() - began) * 1000), self._policy)
