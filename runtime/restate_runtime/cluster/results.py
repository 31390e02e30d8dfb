"""Results as the SDK's machine gives them, as outcomes of the journal's nodes."""

from __future__ import annotations

from typing import Any

import msgspec

from ..envelope import open_envelope
from ..errors import Code
from ..journal.entries import Failure, Outcome, Success
from ..serde import Value

__all__ = ["ABSENT", "identifier", "names", "payload", "rejected_or_sealed", "sealed", "state"]

ABSENT = Success(Value("", b""))
"""A state that is not there."""


def payload(found: Any) -> Outcome:
    """Of a call, an attach or a timer: bytes as they are."""
    return found if isinstance(found, Failure) else Success(Value("", found or b""))


def sealed(found: Any) -> Outcome:
    """Of a side effect."""
    return found if isinstance(found, Failure) else Success(open_envelope(found or b""))


def state(found: Any) -> Outcome:
    """Of a state value."""
    return ABSENT if found is None else sealed(found)


def rejected_or_sealed(found: Any) -> Outcome:
    """Of an awakeable. One that was rejected through Restate's own API fails with 500, which says no more than ABORTED does here."""
    if isinstance(found, Failure) and found.code == Code.INTERNAL.value:
        return Failure(Code.ABORTED.value, found.message)
    return sealed(found)


def names(found: Any) -> Outcome:
    """Of the names of states."""
    return found if isinstance(found, Failure) else Success(Value("json", msgspec.json.encode(sorted(found or ()))))


def identifier(found: Any) -> Outcome:
    """Of an invocation's id."""
    return found if isinstance(found, Failure) else Success(Value("", str(found).encode()))
