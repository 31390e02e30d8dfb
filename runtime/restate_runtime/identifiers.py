"""Ids of invocations and awakeables, as text and as bytes.

An invocation's id is 128 random bits. An awakeable's id is Restate's: `sign_1`, then base64url of the invocation's id and the
signal's index (32 bits, big endian), so that whoever holds it needs no lookup to know where it belongs.
"""

from __future__ import annotations

import base64
import binascii

__all__ = ["FIRST_AWAKEABLE_INDEX", "awakeable_id", "invocation_id", "parse_awakeable_id", "parse_invocation_id"]

FIRST_AWAKEABLE_INDEX = 17
"""Signals 1 to 16 are reserved by Restate's service protocol; 1 is CANCEL."""

_INVOCATION = "inv_1"
_AWAKEABLE = "sign_1"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def invocation_id(raw: bytes) -> str:
    """The id that people and clients see."""
    return _INVOCATION + _encode(raw)


def parse_invocation_id(text: object) -> bytes | None:
    """The sixteen bytes of an invocation's id, or `None` where the text is none."""
    if not isinstance(text, str) or not text.startswith(_INVOCATION):
        return None
    raw = _decode(text[len(_INVOCATION) :])
    return raw if raw is not None and len(raw) == 16 and invocation_id(raw) == text else None


def awakeable_id(invocation: bytes, index: int) -> str:
    """The id to hand to whoever shall settle the awakeable."""
    return _AWAKEABLE + _encode(invocation + index.to_bytes(4, "big"))


def parse_awakeable_id(text: object) -> tuple[bytes, int] | None:
    """The invocation's id and the signal's index, or `None` where the text is no awakeable's id."""
    if not isinstance(text, str) or not text.startswith(_AWAKEABLE):
        return None
    raw = _decode(text[len(_AWAKEABLE) :])
    if raw is None or len(raw) != 20:
        return None
    index = int.from_bytes(raw[16:], "big")
    if index < FIRST_AWAKEABLE_INDEX or awakeable_id(raw[:16], index) != text:
        return None
    return raw[:16], index
