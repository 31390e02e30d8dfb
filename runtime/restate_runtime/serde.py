"""Values as stored bytes and back, with a tag that says what the bytes are.

Messages are kept as binary protobuf under the tag `message:<full name>`, everything that msgspec encodes as JSON under `json`, and
what a user's `Serde` makes under `serde:<name>`. The tag lets every tool decode a value, and lets a wrong type be reported instead
of misread. Bytes from outside that came without a type have the tag `bytes`, and are read as the type that is asked for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import UnionType
from typing import Any, Protocol, TypeGuard, TypeVar, Union, get_args, get_origin

import msgspec
from google.protobuf.message import DecodeError, EncodeError, Message

from .codecs import Codec, codec_of, find_class, find_descriptor, is_foreign, is_message_type
from .errors import Code, TerminalError
from .transcode import from_json

__all__ = [
    "RAW",
    "Serde",
    "SerdeError",
    "Value",
    "check",
    "check_size",
    "check_text",
    "decode",
    "encode",
    "restore",
    "same",
    "same_settlement",
    "storable",
    "type_name",
]

T = TypeVar("T")

_MESSAGE = "message:"
_SERDE = "serde:"
_JSON = "json"
RAW = "bytes"
"""The tag of bytes that came from outside without a type: they are read as the type that is asked for."""

_encode_json = msgspec.json.Encoder().encode


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Stored bytes with the tag of what they are."""

    tag: str
    data: bytes


class SerdeError(TypeError):
    """A value that cannot be stored, or stored bytes that do not fit the type asked for."""


class Serde(Protocol[T]):
    """A user's own encoding. `name` is stored beside the bytes and must stay the same."""

    name: str

    def serialize(self, value: T) -> bytes:
        """The value as bytes."""
        ...

    def deserialize(self, data: bytes) -> T:
        """The bytes as a value, equal to the one that was serialized."""
        ...


def is_serde(type_: Any) -> TypeGuard[Serde[Any]]:
    """Whether it is a `Serde`. A message class is none, although it has methods of such names in some libraries."""
    # Not isinstance: with a protocol that costs more than the rest of a state access.
    return not isinstance(type_, type) and hasattr(type_, "deserialize") and hasattr(type_, "serialize")


def type_name(type_: object) -> str:
    """A type's name for error messages."""
    if is_serde(type_):
        return _SERDE + type_.name
    if is_message_type(type_) and (codec := codec_of(type_)) is not None:
        return codec.full_name
    return getattr(type_, "__name__", None) or str(type_)


def encode(value: object, type_: object = None) -> Value:
    """The value as it is stored.

    Args:
        value: a message, or what msgspec encodes; where a `Serde` is given, what that takes.
        type_: a `Serde`, or anything else, which then plays no part.

    Raises:
        SerdeError: the value cannot be stored, or would come back as something else.
    """
    if type_ is not None and is_serde(type_):
        return _serialize(value, type_)
    if isinstance(value, Message):
        try:
            return Value(_MESSAGE + value.DESCRIPTOR.full_name, value.SerializeToString())
        except Exception as error:  # EncodeError: a required field of proto2 is missing
            raise SerdeError(f"a {value.DESCRIPTOR.full_name} cannot be stored: {error}") from error
    if is_foreign(type(value)):
        return _encode_message(value)
    try:
        data = _encode_json(value)
    except Exception as error:  # msgspec raises TypeError, OverflowError, UnicodeEncodeError, ... for what it cannot encode
        raise SerdeError(f"a value of type {type(value).__name__} cannot be stored: {error}") from error
    if b"null" in data and _holds_non_finite(msgspec.to_builtins(value)):
        raise SerdeError("a NaN or infinite float cannot be stored: JSON has neither")
    return Value(_JSON, data)


def _encode_message(value: Any) -> Value:
    codec = _known(type(value))
    try:
        data = codec.encode(value)
    except EncodeError as error:
        raise SerdeError(f"a {codec.full_name} cannot be stored: {error}") from error
    return Value(_MESSAGE + codec.full_name, data)


def _known(type_: Any) -> Codec:
    codec = codec_of(type_)
    if codec is None:
        raise SerdeError(
            f"the message class {type_.__module__}.{type_.__qualname__} has no descriptor here: import a module that is generated from its "
            f".proto file"
        )
    return codec


def _serialize(value: object, serde: Serde[Any]) -> Value:
    check_text("the name of a Serde", serde.name)
    try:
        data: object = serde.serialize(value)
    except Exception as error:
        raise SerdeError(f"a value of type {type(value).__name__} cannot be stored: {serde.name}: {error!r}") from error
    if not isinstance(data, bytes):
        raise SerdeError(f"the Serde {serde.name} must give bytes, not a {type(data).__name__}")
    return Value(_SERDE + serde.name, data)


def _deserialize(data: bytes, serde: Serde[Any]) -> Any:
    try:
        return serde.deserialize(data)
    except Exception as error:
        raise SerdeError(f"the stored bytes are no {serde.name}: {error!r}") from error


def _holds_non_finite(value: object) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case dict():
            return any(_holds_non_finite(item) for item in value.values())
        case list() | tuple():
            return any(_holds_non_finite(item) for item in value)
        case _:
            return False


@lru_cache(maxsize=1024)
def _json_decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_)


def decode(value: Value, type_: Any) -> Any:
    """The stored value as the type asked for.

    Args:
        value: what `encode` gave.
        type_: a message class, a type that msgspec decodes, or the `Serde` that encoded the value.

    Raises:
        SerdeError: it does not fit; the message names the stored and the wanted type.
    """
    tag = value.tag
    if tag == _JSON and not is_message_type(type_) and not is_serde(type_):
        try:
            decoder = _json_decoder(type_)
        except TypeError as error:
            raise SerdeError(f"{type_name(type_)} is not a type that can be restored: {error}") from error
        try:
            return decoder.decode(value.data)
        except (msgspec.DecodeError, ValueError) as error:
            raise SerdeError(f"the stored JSON is not of type {type_name(type_)}: {error}") from error
    if is_message_type(type_):
        codec = _known(type_)
        if tag in (RAW, _MESSAGE + codec.full_name):
            return _parse(codec, value.data)
        if tag == _JSON:
            return _parse_json(codec, value.data)
    elif is_serde(type_):
        if tag in (RAW, _SERDE + type_.name):
            return _deserialize(value.data, type_)
    elif tag == RAW:
        return value.data if type_ in (bytes, Any, object) else decode(Value(_JSON, value.data), type_)
    for member in get_args(type_) if isinstance(type_, UnionType) or get_origin(type_) is Union else ():
        if is_message_type(member) and tag == _MESSAGE + _known(member).full_name:
            return decode(value, member)
    raise SerdeError(f"stored is {tag}, wanted is {type_name(type_)}")


def restore(value: Value) -> Any:
    """The stored value as what its tag says, where no type is asked for.

    Raises:
        SerdeError: the tag names a message that is not loaded, or a `Serde`.
    """
    if value.tag == _JSON:
        return msgspec.json.decode(value.data)
    if value.tag == RAW:
        return value.data
    if value.tag.startswith(_MESSAGE):
        return _parse(_loaded_message(value.tag[len(_MESSAGE) :]), value.data)
    raise SerdeError(f"stored is {value.tag}: give the Serde as type=")


def same(first: Value, second: Value) -> bool:
    """Whether two values are equal, whoever wrote them: members of JSON and entries of a message's maps may come in another order."""
    if first == second or first.tag != second.tag:
        return first == second
    if first.tag == _JSON:
        return _canonical(first.data) == _canonical(second.data)
    if first.tag.startswith(_MESSAGE) and (type_ := find_class(first.tag[len(_MESSAGE) :])) is not None:
        wire = _known(type_).wire
        return bool(wire.FromString(first.data) == wire.FromString(second.data))
    return False


def same_settlement(first: Value, second: Value) -> bool:
    """Whether an awakeable is settled with what it was settled with before. SDKs settle in bytes that nobody knows the type of."""
    return same(first, second) or (RAW in (first.tag, second.tag) and first.data == second.data)


def _canonical(data: bytes) -> bytes:
    return msgspec.json.encode(_whole(msgspec.json.decode(data)), order="deterministic")


def _whole(value: Any) -> Any:
    """JSON has one kind of number."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


def check(value: Value) -> None:
    """Whether the bytes are what their tag says, as far as that can be known here.

    Raises:
        SerdeError: they are not.
    """
    if value.tag.startswith(_MESSAGE) and (type_ := find_class(value.tag[len(_MESSAGE) :])) is not None:
        codec = _known(type_)
        try:
            codec.parse(value.data)
        except DecodeError as error:
            raise SerdeError(f"the bytes are no {codec.full_name}: {error}") from error


def check_size(what: str, size: int, limit: int) -> None:
    """Refuses what is larger than a message may be.

    Raises:
        TerminalError: RESOURCE_EXHAUSTED; the message begins with `what`.
    """
    if size > limit:
        raise TerminalError(f"{what} has {size} bytes, the limit is {limit}", Code.RESOURCE_EXHAUSTED)


def check_text(what: str, value: object) -> None:
    """Refuses what is no text that can be stored: of another type, or with half a surrogate pair.

    Raises:
        SerdeError: it is not; the message begins with `what`.
    """
    if not isinstance(value, str):
        raise SerdeError(f"{what} is a string, not a {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SerdeError(f"{what} cannot be stored: {error}") from None


def storable(text: str) -> str:
    """The text, with `?` in place of what cannot be stored: names of files may hold half a surrogate pair."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _loaded_message(full_name: str) -> Codec:
    type_ = find_class(full_name)
    if type_ is None:
        reason = "give its class as type=" if find_descriptor(full_name) is not None else "import its module"
        raise SerdeError(f"stored is the message {full_name}, which is not loaded: {reason}")
    return _known(type_)


def _parse(codec: Codec, data: bytes) -> Any:
    try:
        return codec.decode(data)
    except DecodeError as error:
        raise SerdeError(f"the bytes are no {codec.full_name}: {error}") from error


def _parse_json(codec: Codec, data: bytes) -> Any:
    try:
        message = from_json(data, codec.wire)
    except TerminalError as error:
        raise SerdeError(f"the JSON is no {codec.full_name}: {error.message}") from None
    return _parse(codec, message.SerializeToString())
