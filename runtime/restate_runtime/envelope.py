"""Values with their tags as plain bytes: how a Restate cluster keeps what the embedded engine keeps in two columns.

A sealed value is a NUL byte, the tag, another NUL byte, and the value's bytes: `\\0json\\0{"seats": 3}`. No JSON and no protobuf message
begins with a NUL byte, so that bytes which somebody else stored are told apart from sealed ones: they have the tag `bytes`, and are read
as the type that is asked for. Text stays readable in Restate's own tools.
"""

from __future__ import annotations

from .serde import RAW, SerdeError, Value

__all__ = ["open_envelope", "seal"]

_MARK = b"\0"
_PLAIN = frozenset({"json", RAW})
_PREFIXES = ("message:", "serde:")
_LONGEST_TAG = 1024


def seal(value: Value) -> bytes:
    """The value's bytes with its tag in front.

    Raises:
        SerdeError: the tag cannot be told from the bytes: the name of a `Serde` holds a NUL, or is very long.
    """
    tag = value.tag.encode()
    if _MARK in tag or len(tag) > _LONGEST_TAG:
        raise SerdeError(
            f"the name of a Serde is at most {_LONGEST_TAG - len(_PREFIXES[1])} bytes long and holds no NUL: {value.tag[:40]!r}"
        )
    return b"".join((_MARK, tag, _MARK, value.data))


def open_envelope(data: bytes) -> Value:
    """What `seal` made; anything else as bytes that came without a type."""
    if data[:1] == _MARK:
        end = data.find(_MARK, 1, _LONGEST_TAG + 2)
        if end > 0:
            try:
                tag = data[1:end].decode()
            except UnicodeDecodeError:
                tag = ""
            if tag in _PLAIN or tag.startswith(_PREFIXES):
                return Value(tag, data[end + 1 :])
    return Value(RAW, data)
