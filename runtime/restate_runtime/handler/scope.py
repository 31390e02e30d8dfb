"""Where code runs: in a handler, in a side effect of one, or outside."""

from __future__ import annotations

from contextvars import ContextVar

from ..errors import RuntimeFault

__all__ = [
    "INSIDE_ACTION",
    "OTHER_TASK",
    "WAIT_FOR",
    "WAIT_WITH",
    "Abandoned",
    "ContextMisuse",
    "current_double",
    "current_handler",
    "misuse",
    "outside_only",
]

INSIDE_ACTION = "the context cannot be used inside a side effect: do it before or after ctx.run"
OTHER_TASK = (
    "the context belongs to the handler's own task: instead of asyncio.gather, wait_for, task groups or other tasks "
    "use restate_runtime's gather, race, select, as_completed or or_timeout"
)
WAIT_FOR = "a durable future cannot be awaited through asyncio.wait_for: use or_timeout"
WAIT_WITH = "a durable future cannot be bounded by asyncio.timeout or cancelled by asyncio: use or_timeout"


class ContextMisuse(RuntimeError):
    """A context was used inside a side effect, or in another task or thread than its handler's."""


class Abandoned(BaseException):
    """Raised at the await of a handler whose attempt has left memory, so that its `finally` blocks run."""


current_handler: ContextVar[object | None] = ContextVar("restate_current_handler", default=None)
"""The attempt whose handler runs here; `None` outside handlers and inside side effects."""

current_double: ContextVar[object | None] = ContextVar("restate_current_double", default=None)
"""What the last context stands on that a test made here; `None` outside tests."""


def misuse(attempt: object) -> str:
    """What is wrong with a use of the context that is not by the handler's own task."""
    return OTHER_TASK if current_handler.get() is attempt else INSIDE_ACTION


def outside_only(what: str) -> None:
    """Refuses what would bypass the journal.

    Args:
        what: the caller, for the message: "a connection".

    Raises:
        RuntimeFault: RT0402, inside a handler.
    """
    if current_handler.get() is not None:
        raise RuntimeFault("RT0402", f"{what} cannot be used inside a handler: use ctx as caller, or move the call into ctx.run")
