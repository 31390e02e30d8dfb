"""Values of options as Python expressions."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from .imports import ImportTable, Section
from .model import CallOptions, Retry

__all__ = ["Literals"]


class Literals(NamedTuple):
    """Writes expressions for one module.

    Attributes:
        imports: the module's imports, which take what an expression needs.
        restate: the runtime's name in the module.
    """

    imports: ImportTable
    restate: str

    def settings(self, options: CallOptions) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Arguments of a descriptor, without those that have their defaults: each one's text, and the arguments of the call in it."""
        found: list[tuple[str, tuple[str, ...]]] = [] if options.private is None else [(f"private={options.private}", ())]
        if options.retry is not None:
            found.append((f"retry={self.restate}.RetryOptions", self._retry(options.retry)))
        for name, value in (("inactivity_timeout", options.inactivity_timeout), ("retention", options.retention)):
            if value is not None:
                found.append((f"{name}={self._duration(value)}", ()))
        return tuple(found)

    def _retry(self, retry: Retry) -> tuple[str, ...]:
        durations = {
            "initial_interval": retry.initial_interval,
            "max_interval": retry.max_interval,
            "max_duration": retry.max_duration,
        }
        given = [f"{name}={self._duration(value)}" for name, value in durations.items() if value is not None]
        if retry.factor is not None:
            given.append(f"factor={retry.factor!r}")
        if retry.max_attempts is not None:
            given.append(f"max_attempts={retry.max_attempts}")
        if retry.fails is not None:
            given.append(f"on_exhausted={self.restate}.OnExhausted.{'FAIL' if retry.fails else 'PAUSE'}")
        return tuple(given)

    def _duration(self, value: timedelta) -> str:
        """In its largest unit that comes out even."""
        name = self.imports.member("datetime", "timedelta", Section.STANDARD)
        for unit in ("days", "hours", "minutes", "seconds", "milliseconds"):
            count, rest = divmod(value, timedelta(**{unit: 1}))
            if not rest and (count or unit == "seconds"):
                return f"{name}({unit}={count})"
        return f"{name}(microseconds={value // timedelta(microseconds=1)})"
