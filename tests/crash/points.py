"""Crash points by their numbers: which a run takes, and the run at each."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence

__all__ = ["at_each", "sample"]

_STUCK_S = 60


def sample(points: int, size: int | None) -> list[int]:
    """Points by their numbers, from 1: so many, drawn with the seed `RESTATE_TEST_SEED` or with one that is printed; or all of them."""
    if size is None:
        return list(range(1, points + 1))
    seed = int(os.environ.get("RESTATE_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    chosen = sorted(random.Random(seed).sample(range(1, points + 1), size))
    print(f"RESTATE_TEST_SEED={seed}: points {chosen} of {points}")
    return chosen


async def at_each(points: Sequence[int], one: Callable[[int], Awaitable[bool]], *, alive: int, at_once: int = 2) -> None:
    """Runs at each point.

    Args:
        points: their numbers.
        one: the run; whether something was killed in it.
        alive: at so many nothing need be killed: times differ from run to run, and the last points may not be reached.
        at_once: so many side by side; a run mostly waits.
    """
    failures: list[str] = []
    lived: list[int] = []
    room = asyncio.Semaphore(at_once)

    async def guarded(point: int) -> None:
        async with room:
            try:
                async with asyncio.timeout(_STUCK_S):
                    if not await one(point):
                        lived.append(point)
            except Exception as error:
                failures.append(f"point {point}: {type(error).__name__}: {error}")

    await asyncio.gather(*map(guarded, points))
    assert not failures, "\n".join(failures)
    assert len(lived) <= alive, f"nothing was killed at {lived}"
