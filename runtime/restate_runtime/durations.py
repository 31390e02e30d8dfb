"""Durations as people type them."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec

__all__ = ["parse_duration", "whole_milliseconds"]

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


def parse_duration(text: str | float) -> timedelta:
    """`15m`, `1h30m`, `500ms`, `2.5s`, ISO 8601's `PT15M`, or a number of seconds.

    Raises:
        ValueError: it is none of these, or negative.
    """
    compact = str(text).strip()
    if not isinstance(text, str) or _NUMBER.fullmatch(compact):
        seconds = float(text)
        if seconds >= 0 and seconds < timedelta.max.total_seconds():
            return timedelta(seconds=seconds)
        raise ValueError(f"not a duration: '{text}' is negative or too long")
    parts = _PART.findall(compact)
    if parts and "".join(number + unit for number, unit in parts) == compact:
        try:
            return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta(0))
        except OverflowError:
            raise ValueError(f"not a duration: '{text}' is too long") from None
    try:
        duration = msgspec.convert(compact, timedelta)
    except msgspec.ValidationError:
        raise ValueError(f"not a duration: '{text}' (write 500ms, 30s, 15m, 2h, 1d or PT15M)") from None
    if duration < timedelta(0):
        raise ValueError(f"not a duration: '{text}' is negative")
    return duration


def whole_milliseconds(duration: timedelta) -> int:
    """Rounded up, so that nothing that waits for so long goes on too early."""
    microseconds = (duration.days * 86_400 + duration.seconds) * 1_000_000 + duration.microseconds
    return -(-microseconds // 1000)
