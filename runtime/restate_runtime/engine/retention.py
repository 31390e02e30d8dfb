"""Forgetting completed invocations once their time is over."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from ..errors import RuntimeFault
from .committer import Committer
from .options import Options
from .registry import Registry
from .storage.database import connect
from .storage.reader import Reader

__all__ = ["Retention"]

_LOG = logging.getLogger("restate_runtime.engine")
_FIRST_S = 1.0
_INTERVAL_S = 60.0
_NEXT_PIECE_S = 0.1
_AT_ONCE = 500


class Retention:
    """Looks now and then for rows that nobody can ask for any more, and lets the committer delete them.

    It looks in a thread: many rows that are kept longer may stand between those whose time is over.

    Args:
        path: the database file.
        forget: deletes them.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        options: Options,
        committer: Committer,
        forget: Callable[[list[int]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._path = path
        self._loop = loop
        self._registry = registry
        self._journal_ms = round(options.journal_retention.total_seconds() * 1000)
        self._committer = committer
        self._forget = forget
        self._now_ms = now_ms
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        """Looks soon, and then again and again."""
        self._timer = self._loop.call_later(_FIRST_S, self._begin)

    def stop(self) -> None:
        """Nothing is deleted any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        own = {
            method.full_name: method.retention_ms(self._journal_ms)
            for service in self._registry.services.values()
            for method in service.methods.values()
            if method.retention is not None
        }
        threading.Thread(target=self._look, args=(self._now_ms(), own), name="restate-retention", daemon=True).start()

    def _look(self, now_ms: int, own: dict[str, int]) -> None:
        expired: list[int] = []
        try:
            reader = Reader(connect(self._path, read_only=True))
            try:
                expired = reader.expired(now_ms, self._journal_ms, own, _AT_ONCE)
            finally:
                reader.close()
        except (RuntimeFault, apsw.Error) as error:
            if not self._stopped:
                _LOG.error("completed invocations cannot be looked through, none is deleted: %s", error)
        try:
            self._loop.call_soon_threadsafe(self._found, expired)
        except RuntimeError:  # the loop was closed without stopping the runtime
            return

    def _found(self, expired: list[int]) -> None:
        if self._stopped:
            return
        try:
            if expired:
                self._forget(expired)
        except RuntimeFault as fault:
            _LOG.error("completed invocations cannot be deleted: %s", fault)
        # A long list is worked off in pieces, so that a commit stays short; each is on disk before the next one is looked for.
        again = _NEXT_PIECE_S if len(expired) == _AT_ONCE else _INTERVAL_S
        self._committer.when_durable(lambda: self._again(again))

    def _again(self, wait_s: float) -> None:
        if not self._stopped:
            self._timer = self._loop.call_later(wait_s, self._begin)
