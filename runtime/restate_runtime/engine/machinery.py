"""One runtime's parts, assembled and taken apart in order: directory, files, core, committer, driver, timers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import Code, RuntimeFault, TerminalError
from ..handler.futures import terminal_error_of
from ..identifiers import invocation_id
from ..journal.entries import Failure, Input, Outcome
from ..journal.events import DetachWaiter, Recover, Tick
from ..journal.model import Invocation, State
from .alarm import Alarm
from .committer import Committer
from .crashpoints import Probe
from .driver import Driver
from .flight import FlightRecorder
from .options import Options
from .outposts import Outposts
from .registry import Registry
from .retention import Retention
from .shell import Shell
from .storage.contracts import load_access, store_contracts
from .storage.database import Database, connect
from .storage.directory import DataDirectory
from .storage.inspector import StorageInspector
from .storage.reader import Reader

__all__ = ["Clock", "Machinery", "system_clock"]

Clock = Callable[[], int]
"""Milliseconds since 1970."""

_LOG = logging.getLogger("restate_runtime.engine")
_WRITE_S = 2.0


def system_clock() -> int:
    """The system's time."""
    return time.time_ns() // 1_000_000


class _Waiter(asyncio.Future[bytes]):
    """What a caller outside waits with."""

    def __init__(self, given_up: Callable[[_Waiter], None], *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._given_up = given_up

    def cancel(self, msg: Any | None = None) -> bool:
        """Waits no longer."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._given_up(self)
        return cancelled


class Machinery:
    """Everything between the public runtime and the disk.

    Raises:
        RuntimeFault: the data directory cannot be opened; nothing is left half-open.
    """

    def __init__(self, registry: Registry, options: Options, *, probe: Probe, clock: Clock) -> None:
        self.registry = registry.copy()  # the App's own stays as it is: other runtimes may be started from it
        self.options = options
        self.now_ms = clock
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[RuntimeFault] = self.loop.create_future()
        self._probe = probe
        self._pid = os.getpid()
        self._open = True
        self._outside: set[asyncio.Future[bytes] | asyncio.Future[None]] = set()
        self._temporary = options.data_dir is None
        self.data_dir = options.data_dir or Path(tempfile.mkdtemp(prefix="restate-"))
        with contextlib.ExitStack() as opened:
            if self._temporary:
                opened.callback(self._remove)
            self._directory = DataDirectory(self.data_dir)
            if self._directory.made:
                opened.callback(self._remove)
            opened.callback(self._directory.release)
            try:
                self._assemble(opened)
            except OSError as error:
                raise RuntimeFault(
                    "RT0202", f"the data directory {self.data_dir} cannot be used: {error.strerror}: {error.filename}"
                ) from None
            opened.pop_all()

    def _assemble(self, opened: contextlib.ExitStack) -> None:
        directory = self._directory
        self._database = Database(directory, accept_data_loss=self.options.accept_data_loss)
        opened.callback(self._database.close, clean=False)
        store_contracts(self._database.connection, self.registry)
        for service, public in load_access(self._database.connection).items():
            self.registry.set_public(service, public)
        self._flight = FlightRecorder(directory.flight)
        opened.callback(self._flight.close)
        self._reader = Reader(connect(directory.database, read_only=True))
        opened.callback(self._reader.close)
        self.state = State(self.options.max_live_handlers)
        self.shell = Shell(self.state, self._reader, self.now_ms)
        self._alarm = Alarm(self.loop, self.now_ms, lambda: self.shell.step(Tick()))
        self.driver = Driver(self.shell, self.registry, self.options, self.loop, self._flight, self._probe)
        self.outposts = Outposts(self.shell, self.registry, self.options, self.driver, self._probe)
        self.inspector = StorageInspector(connect(directory.database, read_only=True), self.outposts.wait_of)
        opened.callback(self.inspector.close)
        self.committer = Committer(
            self._database,
            self.state,
            self.loop,
            batch_size=self.options.batch_size,
            probe=self._probe,
            durable=self.shell.durable,
            fatal=self._fatal,
        )
        opened.callback(self.committer.join)
        opened.callback(self.committer.abort)
        self._retention = Retention(
            directory.database, self.loop, self.registry, self.options, self.committer, self.shell.forget, self.now_ms
        )
        self.shell.committer = self.committer
        self.shell.attempts = self.driver
        self.outposts.open(self._reader.deployments())
        self.shell.reply = self.reply
        self.shell.alarm = self._alarm

    def start(self) -> None:
        """Takes up everything that is not completed.

        Raises:
            RuntimeFault: RT0204, a row that decides about an invocation's fate is damaged.
        """
        counters = self._database.counters
        recovered = self._reader.recover(counters.live)
        self.shell.step(
            Recover(
                recovered.invocations,
                recovered.timers,
                recovered.actions,
                recovered.subscribers,
                self._flight.before,
                counters.next_seq,
                counters.next_admission,
                self._database.unclean,
                recovered.promise_waiters,
            )
        )
        self.driver.deadlocks.recovered()
        if self._flight.before:
            # A handler that takes the process down at once must not take the count of its crashes along.
            self.committer.write_through()
        self._retention.start()

    # --- callers outside

    def check_open(self) -> None:
        """Refuses work that could not be kept.

        Raises:
            ConnectionError: the runtime is stopping or has lost its disk.
            RuntimeFault: RT0401, this is a forked process; RT0402, this is another event loop or thread.
        """
        if os.getpid() != self._pid:
            raise RuntimeFault("RT0401", f"the runtime was started by process {self._pid} and cannot be used after a fork: start one here")
        if asyncio._get_running_loop() is not self.loop:  # the documented function raises where there is none
            raise RuntimeFault("RT0402", "a runtime serves callers in its own event loop: use connect() from another one, or from a thread")
        if self.failed.done():
            raise ConnectionError(f"the runtime has stopped: {self.failed.result()}")
        if not self._open:
            raise ConnectionError("the runtime is stopping")

    def waiter(self, id: bytes) -> asyncio.Future[bytes]:
        """A future that gets the reply of an invocation, or a ConnectionError when the runtime stops first. Cancelled, it is forgotten."""
        future = _Waiter(partial(self._give_up, id), loop=self.loop)
        self._outside.add(future)
        return future

    def _give_up(self, id: bytes, waiter: asyncio.Future[bytes]) -> None:
        self._outside.discard(waiter)
        self.shell.step(DetachWaiter(id, waiter))

    def reply(self, waiter: object, outcome: Outcome) -> None:
        """What the core replies, now that it is on disk."""
        assert isinstance(waiter, asyncio.Future)
        self._outside.discard(waiter)
        if waiter.done():
            return
        self._probe("acknowledge")
        if isinstance(outcome, Failure):
            _fail(waiter, terminal_error_of(outcome))
        else:
            waiter.set_result(outcome.value.data)

    def durable(self, refusal: TerminalError | None = None) -> asyncio.Future[None]:
        """Done once everything up to now is on disk; then with that refusal, where there is one."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._outside.add(future)

        def release() -> None:
            self._outside.discard(future)
            if not future.done():
                self._probe("acknowledge")
                if refusal is None:
                    future.set_result(None)
                else:
                    _fail(future, refusal)

        self.committer.when_durable(release)
        return future

    # --- committed reads, for answers

    def committed_outcome(self, invocation: Invocation) -> Outcome | None:
        """The outcome on disk."""
        with self._reader.snapshot():
            row = self._reader.find(invocation.id)
            return None if row is None or not row.completed_ms else self._reader.outcome(row.seq)

    def committed_status(self, invocation: Invocation) -> str:
        """The status on disk.

        Raises:
            TerminalError: NOT_FOUND, it is not on disk yet.
        """
        row = self._reader.find(invocation.id)
        if row is None:
            raise TerminalError(f"there is no invocation {invocation_id(invocation.id)}", Code.NOT_FOUND)
        return row.status.value

    def request_of(self, invocation: Invocation) -> Input | None:
        """The request and headers of an invocation that is on disk; `None` where it was forgotten meanwhile."""
        with self._reader.snapshot():
            if self._reader.find(invocation.id) is None:
                return None
            first = self._reader.journal(invocation.seq, 1, 0)[0][0]
        assert isinstance(first, Input)
        return first

    # --- the end

    def _fatal(self, fault: RuntimeFault) -> None:
        _LOG.error("%s: the runtime has stopped", fault)
        self._open = False
        self.failed.set_result(fault)
        self.driver.drop()
        self.outposts.drop()
        self._disconnect(f"the runtime has stopped: {fault}")

    def _disconnect(self, why: str) -> None:
        self._alarm.close()
        self._retention.stop()
        outside, self._outside = self._outside, set()
        for future in outside:
            if not future.done():
                _fail(future, ConnectionError(why))

    @property
    def write_timeout_s(self) -> float:
        """How long a stop waits for the disk: what was taken is to be written, however short handlers are given."""
        return max(self.options.shutdown_timeout.total_seconds(), _WRITE_S)

    async def stop(self) -> None:
        """Suspends what waits, writes everything that the disk takes in time, closes the files."""
        if os.getpid() != self._pid or (not self._open and not self.failed.done()):
            return  # a forked process leaves the files to their owner
        if not self.failed.done():
            self._open = False
            timeout_s = self.options.shutdown_timeout.total_seconds()
            await asyncio.gather(self.driver.stop(timeout_s), self.outposts.stop(timeout_s))
            with contextlib.suppress(TimeoutError):
                if not self.committer.full:
                    await asyncio.wait_for(self.committer.flush(), self.write_timeout_s)
        await self.outposts.close()
        self.close(clean=not self.failed.done() and not self.committer.full)

    def give_up(self) -> None:
        """A start that failed: closes the files, and leaves nothing of a directory that it made."""
        self.close(clean=False)
        if self._directory.made:
            self._remove()

    def close(self, *, clean: bool) -> None:
        """Closes the files as they are; `clean` says that everything was written."""
        self._open = False
        self.driver.drop()
        self.outposts.drop()
        self.committer.abort()
        self.committer.join()
        self._disconnect("the runtime is stopping")
        try:
            self.inspector.close()
            self._reader.close()
            self._flight.close()
            self._database.close(clean=clean)
        finally:
            self._directory.release()
            if self._temporary:
                self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.data_dir, ignore_errors=True)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # a caller that is gone must not be reported by asyncio
