"""Restate's ids, as far as anything here looks into them.

An invocation's id is `inv_1`, a partition key of 64 bits in eleven digits of base 62, and 128 bits in twenty-two, both little-endian. An
awakeable's is `sign_1`, then base64url of the same 24 bytes and the signal's index: from it follows the invocation that waits for it.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets

from ..errors import Code, TerminalError

__all__ = ["awaiting", "awakeable_id", "check_invocation_id", "given_key", "is_invocation_id", "own_key"]

_INVOCATION = re.compile(r"inv_1[0-9A-Za-z]{33}")
_AWAKEABLE = re.compile(r"sign_1[0-9A-Za-z_-]{38}")
_OWN_KEY = re.compile(r"call-[0-9a-f]{32}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def is_invocation_id(text: str) -> bool:
    """Whether it is one of a Restate cluster."""
    if _INVOCATION.fullmatch(text) is None:
        return False
    try:
        _raw(text)
    except OverflowError:
        return False
    return True


def check_invocation_id(text: str) -> None:
    """Refuses what is no invocation's id.

    Raises:
        TerminalError: INVALID_ARGUMENT.
    """
    if not is_invocation_id(text):
        raise TerminalError(f"'{text[:100]}' is no invocation's id", Code.INVALID_ARGUMENT)


def own_key() -> str:
    """An idempotency key for a call that was given none."""
    return f"call-{secrets.token_hex(16)}"


def given_key(key: str | None) -> str | None:
    """The idempotency key that the caller gave; `None` where the gateway made it."""
    return None if key is None or _OWN_KEY.fullmatch(key) else key


def awaiting(text: str) -> tuple[str, int] | None:
    """The id of the invocation that an awakeable is of, and the signal's index; `None` where the text is no awakeable's id."""
    if _AWAKEABLE.fullmatch(text) is None:
        return None
    try:
        raw = base64.b64decode(text.removeprefix("sign_1") + "==", altchars=b"-_")
    except binascii.Error:
        return None
    if len(raw) != 28:
        return None
    found = f"inv_1{_base62(raw[:8], 11)}{_base62(raw[8:24], 22)}", int.from_bytes(raw[24:], "big")
    return found if awakeable_id(*found) == text else None  # the last digit has bits to spare, and the cluster wants them empty


def awakeable_id(invocation_id: str, index: int) -> str:
    """The id of an awakeable of an invocation; `awaiting` takes it apart again."""
    raw = _raw(invocation_id) + index.to_bytes(4, "big")
    return "sign_1" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(invocation_id: str) -> bytes:
    digits = invocation_id.removeprefix("inv_1")
    return _bytes(digits[:11], 8) + _bytes(digits[11:], 16)


def _bytes(digits: str, length: int) -> bytes:
    number = 0
    for digit in digits:
        number = number * 62 + _DIGITS.index(digit)
    return number.to_bytes(length, "little")


def _base62(raw: bytes, width: int) -> str:
    number = int.from_bytes(raw, "little")
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits.rjust(width, _DIGITS[0])
