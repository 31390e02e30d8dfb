"""Dev mode: reports what a handler awaits that is no durable future."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from .sources import user_line

__all__ = ["Attempt", "Foreign", "Watched"]


class Attempt(Protocol):
    """The attempt of a handler, as far as it is looked at."""

    dead: bool

    @property
    def waker(self) -> object | None: ...


class Foreign:
    """Says what handlers await that is no durable future, once for each line.

    Args:
        warn: takes it, with the attempt that it is about.
    """

    def __init__(self, warn: Callable[[Any, str], None]) -> None:
        self._warn = warn
        self._said: set[str] = set()

    def report(self, attempt: Attempt, line: str) -> None:
        """A handler awaits something foreign at that line."""
        if line not in self._said:
            self._said.add(line)
            self._warn(
                attempt,
                f"awaits something foreign at {line}: it is not recorded, and happens again on every replay; "
                "use ctx.sleep, a call or an awakeable, or move it into ctx.run",
            )


class Watched:
    """Awaits a handler's coroutine and looks at everything that it waits for on the way.

    Args:
        attempt: whose handler it is; only its own waker is no foreign thing.
        coroutine: the handler's.
        report: told the line of the handler that awaits something foreign.
    """

    __slots__ = ("_attempt", "_coroutine", "_report")

    def __init__(self, attempt: Attempt, coroutine: Coroutine[Any, Any, Any], report: Callable[[Attempt, str], None]) -> None:
        self._attempt = attempt
        self._coroutine = coroutine
        self._report = report

    def __await__(self) -> Generator[Any, Any, Any]:
        attempt, coroutine = self._attempt, self._coroutine
        error: BaseException | None = None
        while True:
            try:
                waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            if not attempt.dead and (waits_for is None or waits_for is not attempt.waker):
                self._report(attempt, _awaiting_line(coroutine))
            try:
                # What a task sends back is always None.
                yield waits_for
            except BaseException as raised:
                error = raised


def _awaiting_line(coroutine: Any) -> str:
    """The innermost line of the handler's own code: below it are asyncio and other libraries."""
    line = ""
    while coroutine is not None:
        frame: types.FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not _is_library(frame):
            line = user_line(frame) or line
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None) or getattr(coroutine, "ag_await", None)
    return line


def _is_library(frame: types.FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith("asyncio.") or "site-packages" in frame.f_code.co_filename
