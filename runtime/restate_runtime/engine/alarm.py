"""The one timer of the event loop that wakes the core when something is due."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

__all__ = ["Alarm"]

_LONGEST_MS = 10_000


class Alarm:
    """Rings once, when the time comes.

    Args:
        loop: whose timer it is.
        now_ms: the time, in milliseconds since 1970.
        ring: called when something is due.

    Attributes:
        due_ms: when that is; `None` where nothing is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, now_ms: Callable[[], int], ring: Callable[[], None]) -> None:
        self.due_ms: int | None = None
        self._loop = loop
        self._now_ms = now_ms
        self._ring = ring
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        # In a context of its own: a timer that a handler happens to set must not keep that handler's attempt.
        self._context = contextvars.copy_context()

    def set(self, due_ms: int | None) -> None:
        """Rings at that time, and not when it would have rung."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.due_ms = due_ms
        if due_ms is not None and not self._closed:
            # Bounded: when the system's clock jumps, what is due is found within the bound.
            wait_ms = min(max(due_ms - self._now_ms(), 0), _LONGEST_MS)
            self._timer = self._loop.call_later(wait_ms / 1000, self._go_off, context=self._context)

    def _go_off(self) -> None:
        self._timer = None
        self.due_ms = None
        self._ring()

    def close(self) -> None:
        """It never rings again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
