"""What an attempt's first messages say and the SDK keeps to itself: how often it was retried, and how much it has seen before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from ..engine.remote.frames import FROM_RUNTIME, FrameReader, MessageType, ProtocolError

__all__ = ["Opening", "current_opening"]

_LIMIT = 1 << 31
_FIRST_NOTIFICATION = 0x8000


class Opening:
    """Looks on while the journal of an attempt arrives.

    Attributes:
        failures: attempts that failed since the journal last grew.
        notifications: results that were recorded before this attempt, but for the ids of callees, which nobody asks for.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self.failures = 0
        self.notifications = 0
        self._receive = receive
        self._reader: FrameReader | None = FrameReader(FROM_RUNTIME, _LIMIT)
        self._left = -1
        self._ids: set[int] = set()

    async def receive(self) -> Any:
        """The next event of the connection, as it is."""
        event = await self._receive()
        if self._reader is not None and event.get("type") == "http.request":
            self._look(event.get("body") or b"")
        return event

    def _look(self, data: bytes) -> None:
        assert self._reader is not None
        try:
            frames = self._reader.feed(data)
        except ProtocolError:  # the SDK says so
            self._reader = None
            return
        for frame in frames:
            message: Any = frame.message
            if frame.type is MessageType.START:
                self._left = message.known_entries
                self.failures = message.retry_count_since_last_stored_entry
            elif self._left > 0:
                self._left -= 1
                if frame.type is MessageType.CALL:
                    self._ids.add(message.invocation_id_notification_idx)
                elif frame.type >= _FIRST_NOTIFICATION and message.completion_id not in self._ids:
                    self.notifications += 1
        if self._left == 0:
            self._reader = None


current_opening: ContextVar[Opening | None] = ContextVar("restate_opening", default=None)
