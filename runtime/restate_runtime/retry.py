"""Retry policies: when the next attempt is due, or that there is none."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

__all__ = ["OnExhausted", "RetryOptions", "RetryPolicy"]


class OnExhausted(enum.Enum):
    """What becomes of an invocation whose attempts are spent."""

    PAUSE = "pause"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff.

    The defaults are those of a side effect. An invocation's default is `INVOCATION_RETRY`: 70 attempts, then pause, as Restate's.

    Attributes:
        initial_interval: wait before the second execution.
        max_interval: longest wait between two executions; where it is shorter than `initial_interval`, every wait is that.
        factor: growth of the wait from one execution to the next; 1 or more.
        max_attempts: executions in all, the first included; `None` for no bound.
        max_duration: time since the first execution after which no further one begins; `None` for no bound.
        on_exhausted: for an invocation's policy: pause it, or fail it. A spent side effect always fails.

    Raises:
        TypeError: an interval is no timedelta.
        ValueError: an interval is negative, the factor is below 1, or `max_attempts` is below 1.
    """

    initial_interval: timedelta = timedelta(milliseconds=50)
    max_interval: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    on_exhausted: OnExhausted = OnExhausted.PAUSE

    def __post_init__(self) -> None:
        for name in ("initial_interval", "max_interval", "max_duration"):
            value = getattr(self, name)
            if not isinstance(value, timedelta) and not (value is None and name == "max_duration"):
                raise TypeError(f"a RetryPolicy's {name} is a timedelta, not a {type(value).__name__}")
        if self.initial_interval < timedelta(0) or self.max_interval < timedelta(0):
            raise ValueError("a RetryPolicy's intervals cannot be negative")
        if self.factor < 1:
            raise ValueError(f"a RetryPolicy's factor must be 1 or more, not {self.factor}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"a RetryPolicy's max_attempts must be 1 or more, not {self.max_attempts}")
        if isinstance(self.on_exhausted, str):  # "pause" reads better in an App than OnExhausted.PAUSE
            object.__setattr__(self, "on_exhausted", OnExhausted(self.on_exhausted))

    def delay_ms(self, failures: int, elapsed_ms: int) -> int | None:
        """Milliseconds to wait after so many failed executions, or `None` when the policy is spent.

        Args:
            failures: executions that have failed, at least 1.
            elapsed_ms: time since the first execution began.
        """
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        first = self.initial_interval.total_seconds() * 1000
        longest = max(first, self.max_interval.total_seconds() * 1000)
        try:
            delay = min(first * float(self.factor) ** (failures - 1), longest)
        except OverflowError:  # past the longest interval its value does not matter
            delay = longest if first else 0
        if self.max_duration is not None and elapsed_ms + delay > self.max_duration.total_seconds() * 1000:
            return None
        return round(delay)


INVOCATION_RETRY = RetryPolicy(max_attempts=70)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """The part of an invocation retry policy that a contract fixes; what is `None` stays as it is configured elsewhere.

    Attributes:
        initial_interval, max_interval, factor, max_duration, on_exhausted: as in `RetryPolicy`.
        max_attempts: as there; 0 for no bound.
    """

    initial_interval: timedelta | None = None
    max_interval: timedelta | None = None
    factor: float | None = None
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    on_exhausted: OnExhausted | None = None

    def over(self, policy: RetryPolicy) -> RetryPolicy:
        """The policy with these fields instead of its own."""
        given: dict[str, Any] = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        if given.get("max_attempts") == 0:
            given["max_attempts"] = None
        return replace(policy, **given)
