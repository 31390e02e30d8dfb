"""Where code runs: in a handler, in a side effect of one, or outside."""

from __future__ import annotations

from contextvars import ContextVar

from ..errors import RuntimeFault

__all__ = ["WAIT_FOR", "WAIT_WITH", "Abandoned", "current_handler", "misuse", "outside_only"]

current_handler: ContextVar[object | None] = ContextVar("restate_current_handler", default=None)
"""The attempt whose handler runs here; `None` outside handlers and inside side effects."""

WAIT_FOR = "a durable future cannot be awaited through asyncio.wait_for: use or_timeout"
WAIT_WITH = "a durable future cannot be bounded by asyncio.timeout or cancelled by asyncio: use or_timeout"


class Abandoned(BaseException):
    """Raised at the await of a handler whose attempt has left memory, so that its `finally` blocks run."""


def misuse(attempt: object) -> str:
    """What is wrong with a use of the context that is not by the handler's own task."""
    if current_handler.get() is attempt:
        return (
            "the context belongs to the handler's own task: instead of asyncio.gather, wait_for, task groups or other tasks "
            "use restate_runtime's gather, race, select, as_completed or or_timeout"
        )
    return "the context cannot be used inside a side effect: do it before or after ctx.run"


def outside_only(what: str) -> None:
    """Refuses what would bypass the journal.

    Args:
        what: the caller, for the message: "a connection".

    Raises:
        RuntimeFault: RT0402, inside a handler.
    """
    if current_handler.get() is not None:
        raise RuntimeFault("RT0402", f"{what} cannot be used inside a handler: use ctx as caller, or move the call into ctx.run")
