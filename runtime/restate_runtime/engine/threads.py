"""A bounded pool of daemon threads: a side effect that hangs does not keep the process alive."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["DaemonPool"]

_Job = tuple[asyncio.Future[Any], contextvars.Context, Callable[[], Any]]


class DaemonPool:
    """Threads are made when needed, up to `size`, and stay.

    `concurrent.futures` does not do: it joins its threads when the interpreter exits.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def run(self, context: contextvars.Context, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Calls the function in a thread, within that context."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._idle.acquire(blocking=False) and self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._jobs.put((future, context, function))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, context, function = job
            if future.cancelled():  # given up while there was no thread for it
                self._idle.release()
                continue
            loop = future.get_loop()
            try:
                outcome: tuple[Any, BaseException | None] = (context.run(function), None)
            except BaseException as error:  # SystemExit in a side effect is its failure, not the thread's
                outcome = (None, error)
            self._idle.release()
            try:
                loop.call_soon_threadsafe(_settle, future, *outcome)
            except RuntimeError:  # the loop was closed meanwhile
                return

    def close(self) -> None:
        """Lets idle threads end; busy ones end with their job."""
        for _ in range(self._threads):
            self._jobs.put(None)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, (StopIteration, KeyboardInterrupt, GeneratorExit)):  # which a future cannot carry, or which would end the loop
        future.set_exception(RuntimeError(f"the side effect raised {type(error).__name__}"))
    else:
        future.set_exception(error)
