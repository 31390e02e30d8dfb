"""Group commit: while one batch is being synced, the next one fills. What leaves the engine waits here.

The rows are written on the event loop's thread and only COMMIT, which waits for the disk, runs in a thread: many small calls into
SQLite from a second thread would each wait for Python's interpreter lock.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable

import apsw

from ..errors import RuntimeFault
from ..journal.model import State
from .crashpoints import Probe
from .storage.batch import Batch
from .storage.database import Database
from .storage.meta import Counters

__all__ = ["Committer"]

_LOG = logging.getLogger("restate_runtime.engine")
_IDLE_FLUSH_S = 0.01
_FULL_RETRY_S = 0.25
_LARGE = 4096


class Committer:
    """Owns the batches between the core and the disk.

    Args:
        durable: told after each commit, before anything of the batch leaves.
        fatal: told when the disk or the directory is lost; nothing leaves from then on.

    Attributes:
        filling: the batch that takes records now.
    """

    def __init__(
        self,
        database: Database,
        state: State,
        loop: asyncio.AbstractEventLoop,
        *,
        batch_size: int | None,
        probe: Probe,
        durable: Callable[[Batch], None],
        fatal: Callable[[RuntimeFault], None],
    ) -> None:
        self._database = database
        self._state = state
        self._loop = loop
        self._batch_size = batch_size
        self._probe = probe
        self._durable = durable
        self._fatal = fatal
        self.filling = Batch(database.batch + 1)
        self._closed: deque[Batch] = deque()
        self._committing: Batch | None = None
        self._scheduled: asyncio.Handle | None = None
        self._wakers: list[asyncio.Future[None]] = []
        self._jobs: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stopped = False
        self.full: str = ""
        self.last_durable = database.batch
        self._thread = threading.Thread(target=self._commit_loop, name="restate-commit", daemon=True)
        self._thread.start()

    # --- filling

    def pending(self) -> list[Batch]:
        """Batches that are not durable, newest first: readers look here before they look on disk."""
        batches = [self.filling, *reversed(self._closed)]
        if self._committing is not None:
            batches.append(self._committing)
        return batches

    def end_transition(self) -> None:
        """The records since the last call belong together."""
        batch = self.filling
        batch.begun = True
        batch.transitions += 1
        if (self._batch_size is not None and batch.transitions >= self._batch_size) or batch.transitions >= _LARGE:
            self._close_filling()
            self._schedule(now=True)
        elif self._scheduled is None and self._committing is None:
            self._schedule(now=False)

    def _close_filling(self) -> None:
        state = self._state
        batch = self.filling
        batch.close(Counters(state.next_seq, state.next_admission, len(state.invocations)))
        self._closed.append(batch)
        self.filling = Batch(batch.number + 1)

    # --- leaving

    def when_durable(self, release: Callable[[], None]) -> None:
        """Calls `release` once everything recorded so far is on disk, of the transition under way too; at once where it is."""
        if self._stopped:
            return
        if self.filling.begun:
            self.filling.releases.append(release)
            self._schedule(now=True)
        elif self._closed:
            self._closed[-1].releases.append(release)
        elif self._committing is not None:
            self._committing.releases.append(release)
        else:
            release()

    def write_through(self) -> None:
        """Makes everything recorded so far durable before it returns; for a start, when no commit is under way.

        Raises:
            RuntimeFault: RT0206 or RT0208, the disk does not take it.
        """
        if self.filling.transitions:
            self._close_filling()
        while self._closed:
            batch = self._closed.popleft()
            try:
                self._database.write(batch)
                self._database.commit(batch)
            except apsw.Error as error:
                code = "RT0208" if isinstance(error, apsw.FullError) else "RT0206"
                raise RuntimeFault(code, f"{self._database.directory.path}: {error}") from None
            self._take_durable(batch)

    async def flush(self) -> None:
        """Returns once everything recorded so far is on disk."""
        done: asyncio.Future[None] = self._loop.create_future()
        self.when_durable(lambda: None if done.done() else done.set_result(None))
        if self._stopped and not done.done():
            return
        self._wakers.append(done)
        try:
            await done
        finally:
            self._wakers.remove(done)

    # --- committing

    def _schedule(self, *, now: bool) -> None:
        if self._committing is not None or self._stopped or self.full:
            return  # the end of the commit looks again
        if self._scheduled is not None:
            if not now or not isinstance(self._scheduled, asyncio.TimerHandle):
                return
            self._scheduled.cancel()
        self._scheduled = self._loop.call_soon(self._begin) if now else self._loop.call_later(_IDLE_FLUSH_S, self._begin)

    def _begin(self) -> None:
        self._scheduled = None
        if self._committing is not None or self._stopped:
            return
        if not self._closed:
            if not self.filling.transitions:
                return
            self._close_filling()
        batch = self._closed[0]
        self._probe("write")
        try:
            self._database.write(batch)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError) as error:
            self._wait_for_room(error)
            return
        except apsw.Error as error:
            code = "RT0204" if isinstance(error, (apsw.CorruptError, apsw.SQLError, apsw.ConstraintError)) else "RT0206"
            self._fail(RuntimeFault(code, f"{self._database.directory.path}: {error}"))
            return
        except RuntimeFault as fault:
            self._fail(fault)
            return
        except Exception as error:  # whoever waits must not wait for ever: the process ends, and recovery starts from what is on disk
            self._fail(RuntimeFault("RT0209", f"{self._database.directory.path}: {type(error).__name__}: {error}"))
            return
        self._closed.popleft()
        self._committing = batch
        self._jobs.put(batch)

    def _commit_loop(self) -> None:
        while (batch := self._jobs.get()) is not None:
            error: apsw.Error | OSError | None = None
            try:
                self._database.commit(batch)
            except (apsw.Error, OSError) as problem:
                error = problem
            try:
                self._loop.call_soon_threadsafe(self._committed, batch, error)
            except RuntimeError:  # the loop was closed without stopping the runtime
                return

    def _committed(self, batch: Batch, error: apsw.Error | OSError | None) -> None:
        if self._stopped:
            return
        self._committing = None
        if error is not None:
            if isinstance(error, (apsw.FullError, apsw.BusyError)):
                self._closed.appendleft(batch)
                self._wait_for_room(error)
            else:
                self._fail(RuntimeFault("RT0206", f"{self._database.directory.path}: {error}"))
            return
        if self.full:
            _LOG.warning("there is room on the disk again: the runtime goes on")
            self.full = ""
        self._probe("written")
        self._take_durable(batch)
        if self._closed or self.filling.releases:
            self._begin()
        elif self.filling.transitions:
            self._schedule(now=False)

    def _take_durable(self, batch: Batch) -> None:
        self.last_durable = batch.number
        self._durable(batch)
        for release in batch.releases:
            release()

    def _wait_for_room(self, error: apsw.Error) -> None:
        self._database.rollback()
        if not self.full:
            self.full = f"the disk of {self._database.directory.path} has no room: {error}"
            _LOG.error("%s [RT0208]; new calls are refused until there is", self.full)
        self._scheduled = self._loop.call_later(_FULL_RETRY_S, self._begin)

    def _fail(self, fault: RuntimeFault) -> None:
        self.abort()
        self._fatal(fault)

    # --- ending

    def abort(self) -> None:
        """Nothing is written and nothing leaves from now on."""
        self._stopped = True
        if self._scheduled is not None:
            self._scheduled.cancel()
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)
        self._jobs.put(None)

    def join(self) -> None:
        """Waits for the commit that is under way; call after `abort`."""
        self._thread.join()
