"""JSON to messages and back, with the exact place of every mistake.

protobuf's own parser makes the message. Before that the JSON is walked beside the message's descriptor: the parser does not say where a
mistake is, and lets some pass (an empty list for an object, letters that are no base64).
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn, cast

from google.protobuf import json_format, message_factory, struct_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from .errors import Code, TerminalError

__all__ = ["from_json", "is_repeated", "missing", "to_json"]

_SHOWN = 40
_ANY = "google.protobuf.Any"
_ANY_JSON = frozenset({"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"})
_AS_TEXT = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_OWN_JSON = _ANY_JSON | _AS_TEXT | _WRAPPERS | {_ANY}
"""Messages whose JSON is not an object with their fields; in an `Any` it stands under `value`."""
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_FLOAT_MAX = 3.4028234663852886e38
_VALUE = struct_pb2.Value.DESCRIPTOR


def to_json(message: Message) -> bytes:
    """A message as one line of JSON.

    Raises:
        TerminalError: INTERNAL, it holds what JSON has no words for: an `Any` whose type is not loaded, a NaN in a `Value`, ...
    """
    try:
        text = json_format.MessageToJson(message, indent=None, ensure_ascii=False, descriptor_pool=_pool_of(message.DESCRIPTOR))
        return text.encode()
    except (json_format.SerializeToJsonError, DecodeError, TypeError, ValueError) as error:
        raise TerminalError(f"the {message.DESCRIPTOR.full_name} cannot be written as JSON: {error}", Code.INTERNAL) from None


def from_json(body: bytes, type_: type[Message]) -> Message:
    """A message from JSON.

    Raises:
        TerminalError: INVALID_ARGUMENT, with the path of the field that does not fit.
    """
    mistake = _mistake_in(body, cast(Descriptor, type_.DESCRIPTOR))
    if mistake is not None:
        raise TerminalError(mistake, Code.INVALID_ARGUMENT)
    try:
        message = json_format.Parse(body, type_(), descriptor_pool=_pool_of(type_.DESCRIPTOR))
    except Exception as error:  # the parser lets ValueError, TypeError, RecursionError, ... of odd values through
        said = " ".join(str(error).split())
        raise TerminalError(f"the body is no {type_.DESCRIPTOR.full_name}: {said}", Code.INVALID_ARGUMENT) from None
    if not message.IsInitialized():
        raise TerminalError(missing(message), Code.INVALID_ARGUMENT)
    return message


def missing(message: Any) -> str:
    """What a message lacks whose required fields are not all there."""
    return f"{', '.join(message.FindInitializationErrors())}: required, and not given"


def _pool_of(descriptor: Any) -> Any:
    """Where the type of an `Any` is looked up: beside the message that holds it."""
    return descriptor.file.pool


class _Object(list[tuple[str, Any]]):
    """A JSON object with its keys as they were written, repeated ones too."""


class _Mistake(Exception):
    pass


def _refuse(path: str, problem: str) -> NoReturn:
    raise _Mistake(f"{path or 'the body'}: {problem}")


def _mistake_in(body: bytes, descriptor: Descriptor) -> str | None:
    try:
        value = json.loads(body.decode(), object_pairs_hook=_Object)
        _message(descriptor, value, "")
    except _Mistake as mistake:
        return str(mistake)
    except UnicodeDecodeError as mistake:
        return f"the body is no JSON: not UTF-8 at byte {mistake.start}"
    except json.JSONDecodeError as mistake:
        return f"the body is no JSON: {mistake.msg} at line {mistake.lineno}, column {mistake.colno}"
    except RecursionError:
        return "the body is nested too deeply"
    except ValueError as mistake:
        return f"the body is no JSON: {mistake}"
    return None


def _kind(value: Any) -> str:
    match value:
        case _Object():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value if len(value) <= _SHOWN else value[:_SHOWN] + "…", ensure_ascii=not value.isprintable())
        case _:
            return str(value)[:_SHOWN]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def _join(path: str, name: str) -> str:
    name = name if name.isprintable() else json.dumps(name)
    return f"{path}.{name}" if path else name


def _message(descriptor: Descriptor, value: Any, path: str) -> None:
    name = descriptor.full_name
    if isinstance(value, str):
        _unicode(value, path)
    if name == _ANY:
        _any(descriptor, value, path)
    elif name in _ANY_JSON:
        _free(descriptor, value, path)
    elif name in _WRAPPERS:
        _scalar(descriptor.fields_by_name["value"], value, path)
    elif name in _AS_TEXT:
        _text(descriptor, value, path)
    elif isinstance(value, _Object):
        _fields(descriptor, value, path)
    else:
        _refuse(path, f"expects an object ({name}), not {_kind(value)}")


def _fields(descriptor: Descriptor, value: _Object, path: str) -> None:
    by_json = {field.json_name: field for field in descriptor.fields}
    seen: set[str] = set()
    oneofs: dict[str, str] = {}
    for name, item in value:
        place = _join(path, name)
        _unicode(name, place)
        field = by_json.get(name) or descriptor.fields_by_name.get(name)
        if field is None:
            if name.startswith("["):
                continue  # an extension: protobuf's own message has to do
            _refuse(place, f"{descriptor.full_name} has no such field{_nearest(name, descriptor.fields_by_name)}")
        if field.name in seen:
            _refuse(place, "given twice")
        seen.add(field.name)
        oneof = field.containing_oneof
        if oneof is not None and item is not None:
            if oneof.name in oneofs:
                _refuse(place, f"of the oneof '{oneof.name}' one field can be set, and '{oneofs[oneof.name]}' is set as well")
            oneofs[oneof.name] = name
        if item is not None or _takes_null(field):
            _field(field, item, place)


def _takes_null(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or a map."""
    repeated: bool | None = getattr(field, "is_repeated", None)  # protobuf before 6.31 has the label only
    return cast(Any, field).label == FieldDescriptor.LABEL_REPEATED if repeated is None else repeated


def _field(field: FieldDescriptor, value: Any, path: str) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _map(field.message_type, value, path)
    elif is_repeated(field):
        if not isinstance(value, list) or isinstance(value, _Object):
            _refuse(path, f"expects a list, not {_kind(value)}")
        for index, item in enumerate(value):
            if item is None and not _takes_null(field):
                _refuse(f"{path}[{index}]", "null is no element of a list")
            _single(field, item, f"{path}[{index}]")
    else:
        _single(field, value, path)


def _single(field: FieldDescriptor, value: Any, path: str) -> None:
    if isinstance(value, str):
        _unicode(value, path)
    if field.message_type is not None:
        _message(field.message_type, value, path)
    elif field.enum_type is not None:
        _enum(field.enum_type, value, path)
    else:
        _scalar(field, value, path)


def _map(entry: Descriptor, value: Any, path: str) -> None:
    if not isinstance(value, _Object):
        _refuse(path, f"expects an object, not {_kind(value)}")
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    seen: set[str] = set()
    for key, item in value:
        place = f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
        if key in seen:
            _refuse(place, "given twice")
        seen.add(key)
        _unicode(key, place)
        if key_field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            if key not in ("true", "false"):
                _refuse(place, "the key is not true or false")
        else:
            _scalar(key_field, key, place)
        if item is None and not _takes_null(value_field):
            _refuse(place, "null is no value of a map")
        _single(value_field, item, place)


def _enum(enum: EnumDescriptor, value: Any, path: str) -> None:
    if isinstance(value, str) and value in enum.values_by_name:
        return
    try:
        number = int(_plain(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is not None and (number in enum.values_by_number or (not enum.is_closed and -(2**31) <= number < 2**31)):
        return
    hint = _nearest(value, enum.values_by_name) if isinstance(value, str) else ""
    names = ", ".join(list(enum.values_by_name)[:8])
    _refuse(path, f"{_kind(value)} is no {enum.full_name} ({names}){hint}")


def _scalar(field: FieldDescriptor, value: Any, path: str) -> None:
    kind = field.cpp_type
    if kind in _INTEGERS:
        _integer(value, _INTEGERS[kind], path)
    elif kind in _FLOATS:
        _float(value, kind == FieldDescriptor.CPPTYPE_FLOAT, path)
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            _refuse(path, f"expects true or false, not {_kind(value)}")
    elif not isinstance(value, str):
        _refuse(path, f"expects a string, not {_kind(value)}")
    elif field.type == FieldDescriptor.TYPE_BYTES:
        _bytes(value, path)


def _unicode(value: str, path: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(path, "the string holds half of a surrogate pair, which is no Unicode")


def _plain(value: Any) -> Any:
    """A number; as a string without what only Python takes for a part of one: `1_000`, blanks, digits of other scripts."""
    if isinstance(value, str) and not (value.isascii() and "_" not in value and value == value.strip()):
        raise ValueError
    return value


def _bytes(value: str, path: str) -> None:
    try:
        standard = value.encode().translate(bytes.maketrans(b"-_", b"+/"))
        base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        _refuse(path, f"expects base64, not {_kind(value)}")


def _integer(value: Any, bounds: tuple[int, int], path: str) -> None:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = int(_plain(value))
        if isinstance(value, float) and number != value:
            raise ValueError
    except (ValueError, OverflowError):
        _refuse(path, f"expects a whole number, not {_kind(value)}")
    lowest, highest = bounds
    if not lowest <= number <= highest:
        _refuse(path, f"{_kind(value)} is out of range ({lowest} to {highest})")


def _float(value: Any, single: bool, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(path, f'{value} is no JSON: write it as a string, "NaN", "Infinity" or "-Infinity"')
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(_plain(value))
    except ValueError:
        _refuse(path, f"expects a number, not {_kind(value)}")
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or (single and abs(number) > _FLOAT_MAX):
        _refuse(path, f"{_kind(value)} is out of range")


def _text(descriptor: Descriptor, value: Any, path: str) -> None:
    examples = {"Timestamp": '"2024-05-01T12:00:00Z"', "Duration": '"90s"', "FieldMask": '"name,address"'}
    try:
        if not isinstance(value, str):
            raise ValueError
        json_format.Parse(json.dumps(value), message_factory.GetMessageClass(descriptor)())
    except Exception:
        _refuse(path, f"{_kind(value)} is no {descriptor.full_name}: write it as {examples[descriptor.name]}")


def _any(descriptor: Descriptor, value: Any, path: str) -> None:
    if not isinstance(value, _Object):
        _refuse(path, f"expects an object, not {_kind(value)}")
    if not value:
        return
    given = [item for name, item in value if name == "@type"]
    place = _join(path, "@type")
    if len(given) > 1:
        _refuse(place, "given twice")
    if not given or not isinstance(given[0], str):
        _refuse(path, 'expects "@type", the URL of the message\'s type')
    _unicode(given[0], place)
    name = given[0].rpartition("/")[2]
    try:
        inner: Descriptor = _pool_of(descriptor).FindMessageTypeByName(name)
    except KeyError:
        _refuse(place, f"{_kind(given[0])} names no message that is known here")
    rest = _Object(pair for pair in value if pair[0] != "@type")
    if inner.full_name not in _OWN_JSON:
        _fields(inner, rest, path)
    elif [name for name, _ in rest] == ["value"]:
        _message(inner, rest[0][1], _join(path, "value"))
    else:
        _refuse(path, f'expects "value", the JSON of the {inner.full_name}')


def _free(descriptor: Descriptor, value: Any, path: str) -> None:
    match value:
        case _Object():
            seen: set[str] = set()
            for key, item in value:
                place = f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
                if key in seen:
                    _refuse(place, "given twice")
                seen.add(key)
                _unicode(key, place)
                _free(_VALUE, item, place)
        case list() if descriptor.name in ("ListValue", "Value"):
            for index, item in enumerate(value):
                _free(_VALUE, item, f"{path}[{index}]")
        case float() if not math.isfinite(value):
            _refuse(path, f"{value} is no JSON")
        case _ if descriptor.name == "Struct":
            _refuse(path, f"expects an object, not {_kind(value)}")
        case _ if descriptor.name == "ListValue":
            _refuse(path, f"expects a list, not {_kind(value)}")
        case str():
            _unicode(value, path)
        case _:
            pass
