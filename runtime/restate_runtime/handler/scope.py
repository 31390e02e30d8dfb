"""Where code runs: in a handler, in a side effect of one, or outside."""

from __future__ import annotations

from contextvars import ContextVar

from ..errors import RuntimeFault

__all__ = ["ContextMisuse", "current_handler", "outside_only"]


class ContextMisuse(RuntimeError):
    """A context was used inside a side effect, or in another task or thread than its handler's."""


current_handler: ContextVar[object | None] = ContextVar("restate_current_handler", default=None)
"""The attempt whose handler runs here; `None` outside handlers and inside side effects."""


def outside_only(what: str) -> None:
    """Refuses what would bypass the journal.

    Args:
        what: the caller, for the message: "a connection".

    Raises:
        RuntimeFault: RT0402, inside a handler.
    """
    if current_handler.get() is not None:
        raise RuntimeFault("RT0402", f"{what} cannot be used inside a handler: use ctx as caller, or move the call into ctx.run")
