"""The message libraries that are built in: betterproto 2.0.0b7 and betterproto2."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from .codecs import MessageLibrary, carried_messages, codec_of, is_required, reaches

__all__ = ["built_in"]


def built_in(name: str) -> MessageLibrary:
    """The library of that name.

    Raises:
        ImportError: there is none of that name, or it is not installed.
    """
    makers: dict[str, Callable[[], MessageLibrary]] = {"betterproto": _betterproto, "betterproto2": _betterproto2}
    if name not in makers:
        raise ImportError(f"this restate_runtime knows no message library '{name}'; there is {', '.join(makers)}")
    try:
        return makers[name]()
    except ImportError as error:
        raise ImportError(
            f"the generated module's messages are {name}'s, which does not load: {error}; pip install 'protoc-gen-restate[{name}]'"
        ) from error


def _betterproto() -> MessageLibrary:
    from betterproto import Message as Base  # pyright: ignore[reportMissingImports]
    from betterproto.casing import pascal_case  # pyright: ignore[reportMissingImports]

    def decode(type_: type[Any], data: bytes) -> Any:
        return type_().parse(data)

    def full_name(type_: type[Any]) -> str | None:
        # Its classes do not know their messages: a class is called after the message, in a module called after the package.
        module = type_.__module__
        for message in carried_messages():
            package = message.file.package
            nested = message.full_name[len(package) + 1 if package else 0 :].replace(".", "_")
            if pascal_case(nested) == type_.__name__ and (not package or module == package or module.endswith(f".{package}")):
                return str(message.full_name)
        return None

    return MessageLibrary("betterproto", Base, _careful(bytes, Base), decode, full_name)


def _betterproto2() -> MessageLibrary:
    from betterproto2 import Message as Base  # pyright: ignore[reportMissingImports]

    def decode(type_: type[Any], data: bytes) -> Any:
        return type_.parse(data)

    def full_name(type_: type[Any]) -> str | None:
        known: Any = getattr(importlib.import_module(type_.__module__), "default_message_pool", None)
        url: str | None = None if known is None else known.type_to_url.get(type_)
        return None if url is None else url.rpartition("/")[2].lstrip(".")

    return MessageLibrary("betterproto2", Base, _careful(bytes, Base), decode, full_name)


def _careful(encode: Callable[[Any], bytes], base: type) -> Callable[[Any], bytes]:
    """Makes up for what both libraries do to some messages.

    They write a negative fraction of a second as a positive one, so that -0.5 s would arrive as 0.5 s: that is refused. They leave out a
    required field that is zero, without which the message is none: that is put in.
    """

    def check(value: Any) -> None:
        match value:
            case timedelta() if value < timedelta(0) and value % timedelta(seconds=1):
                raise ValueError(f"a negative Duration is of whole seconds, this one is {value.total_seconds():g} s")
            case list():
                for item in value:
                    check(item)
            case dict():
                for item in value.values():
                    check(item)
            case _ if isinstance(value, base):
                for item in vars(value).values():
                    check(item)

    # Of a class: whether it can hold a Duration, and protobuf's class of it where that has required fields.
    known: dict[type, tuple[bool, type[Message] | None]] = {}

    def careful(message: object) -> bytes:
        type_ = type(message)
        if type_ not in known:
            codec = codec_of(type_)
            wire = None if codec is None or not reaches(codec.wire.DESCRIPTOR, is_required) else codec.wire
            known[type_] = codec is None or reaches(codec.wire.DESCRIPTOR, _is_duration), wire
        holds_durations, incomplete = known[type_]
        if holds_durations:
            check(message)
        data = encode(message)
        return data if incomplete is None else _with_zeros(incomplete.FromString(data))

    return careful


def _with_zeros(message: Message) -> bytes:
    """The message with the required fields that were left out because they are zero."""
    if not message.IsInitialized():
        _fill(message)
    return message.SerializePartialToString()


def _fill(message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        if is_required(field) and field.message_type is None and not message.HasField(field.name):
            zero = _zero(field)
            if field.enum_type is None or zero in field.enum_type.values_by_number:
                setattr(message, field.name, zero)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if isinstance(value, Message) else value.values() if isinstance(value, Mapping) else value:
            if isinstance(item, Message):
                _fill(item)


def _zero(field: FieldDescriptor) -> Any:
    """What such libraries hold where nothing was given; the contract's own default may be another value."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return ""
        case FieldDescriptor.CPPTYPE_BOOL:
            return False
        case _:
            return 0


def _is_duration(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration"
