"""Tasks in which code of the user runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

__all__ = ["begin_task"]

T = TypeVar("T")


def begin_task(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: Context) -> asyncio.Task[T]:
    """A task that begins in a turn of the loop of its own.

    The loop is not asked for it: with `asyncio.eager_task_factory` the handler would begin inside the transition that starts it.
    """
    return asyncio.Task(coroutine, loop=loop, context=context)
