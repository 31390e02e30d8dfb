"""What the headers of a request say."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Code
from ..handler.client import retention_seconds
from ..serde import storable
from ..web.errors import CallError

__all__ = ["check_utf8", "forwarded", "idempotency_key_of", "retention_of", "timeout_of"]

# Of the connection and of HTTP itself, not of the call: a handler does not see them.
_OWN = frozenset(
    {
        "connection", "cookie", "date", "expect", "forwarded", "host", "keep-alive", "origin", "pragma", "cache-control", "referer", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
    }
)  # fmt: skip
_OWN_PREFIXES = ("accept", "connect-", "content-", "idempotency-", "proxy-", "sec-", "x-restate-")
_MAX_TIMEOUT_DIGITS = 10

# Clients spell their names the same way each time: most are settled by one look-up, without lower().
_seen_own: set[str] = set()


def forwarded(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The headers for the handler's `ctx.headers`, names in lower case; `None` where there are none.

    A name that stands several times has its values joined with a comma, as HTTP reads them.

    Raises:
        CallError: a value is not UTF-8.
    """
    found: dict[str, str] | None = None
    for name, value in headers.items():
        if name in _seen_own:
            continue
        lower = name.lower()
        if lower in _OWN or lower.startswith(_OWN_PREFIXES):
            if len(_seen_own) < 256:
                _seen_own.add(name)
            continue
        if not value.isascii():
            check_utf8(lower, value)
        if found is None:
            found = {}
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def check_utf8(name: str, value: str) -> None:
    """Refuses a header's value that is not UTF-8.

    Raises:
        CallError: it is not.
    """
    # Bytes that are no UTF-8 arrive as halves of surrogate pairs, which cannot be stored.
    if storable(value) != value:
        raise CallError(f"the header {name} is not UTF-8", Code.INVALID_ARGUMENT)


def idempotency_key_of(headers: Mapping[str, str]) -> str | None:
    """The idempotency key, `None` where there is none.

    Raises:
        CallError: it is empty, or not UTF-8.
    """
    key = headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key:
        raise CallError("the header idempotency-key is empty", Code.INVALID_ARGUMENT)
    check_utf8("idempotency-key", key)
    return key


def timeout_of(headers: Mapping[str, str]) -> float | None:
    """The bound on the wait from `connect-timeout-ms`, in seconds.

    Raises:
        CallError: it is no such number, or the version in `connect-protocol-version` is unknown.
    """
    version = headers.get("Connect-Protocol-Version")
    if version is not None and version != "1":
        raise CallError(f"connect-protocol-version '{version[:20]}' is not supported: this is version 1", Code.INVALID_ARGUMENT)
    text = headers.get("Connect-Timeout-Ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_TIMEOUT_DIGITS):
        raise CallError(f"connect-timeout-ms '{text[:20]}' is no number of milliseconds with at most ten digits", Code.INVALID_ARGUMENT)
    return int(text) / 1000


def retention_of(headers: Mapping[str, str]) -> float | None:
    """How long a completed call answers repeats of its idempotency key, in seconds, from `idempotency-retention-period`.

    Raises:
        TerminalError: INVALID_ARGUMENT, it is no duration.
    """
    text = headers.get("Idempotency-Retention-Period")
    return None if text is None else retention_seconds(text)
