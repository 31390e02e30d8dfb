"""Message classes of any library, tied to protobuf's own descriptors.

A generated module speaks of the classes of one library: google.protobuf's, betterproto's, or another one's. The classes of
google.protobuf carry their descriptors. Modules for the others bring the serialized descriptors along (`load_file`): they are linked in
a pool of their own, apart from protobuf's default one, and every class is paired with the class that protobuf makes of its descriptor.
Handlers and clients see the library's classes; whatever needs descriptors (keys, JSON, checks) goes through the paired class.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from .transcode import missing

__all__ = [
    "Codec",
    "MessageLibrary",
    "Unreadable",
    "add_files",
    "carried_messages",
    "codec_of",
    "find_class",
    "find_descriptor",
    "is_foreign",
    "is_message_type",
    "is_required",
    "is_well_known",
    "load_file",
    "pair",
    "reaches",
]


class Unreadable(DecodeError):
    """A message as it should be, for which its library has no value: a Timestamp of the year 10,000 as a `datetime`."""


@dataclass(frozen=True, slots=True, eq=False)
class MessageLibrary:
    """What the runtime has to know of a library of message classes.

    Attributes:
        name: for people.
        base: the class that all message classes extend.
        encode: a message to its binary form.
        decode: a message class and a binary form to a message; raises where that is impossible.
        full_name: the name in the .proto of a message class that no rpc speaks of, `None` where the library does not know it.
    """

    name: str
    base: type
    encode: Callable[[Any], bytes]
    decode: Callable[[type[Any], bytes], Any]
    full_name: Callable[[type[Any]], str | None] = lambda type_: None


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """One message class.

    Attributes:
        full_name: the message's name in the .proto.
        wire: protobuf's class of the message; for google.protobuf the class itself.
        encode: a message to its binary form; raises protobuf's `EncodeError` where that is impossible.
        decode: a binary form that was stored to a message; raises protobuf's `DecodeError` where that is impossible, `Unreadable` for
            another library's message that only the library does not understand.
        parse: a binary form from outside to protobuf's message; raises `DecodeError`, also where a required field of proto2 is missing.
    """

    full_name: str
    wire: type[Message]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    parse: Callable[[bytes], Message]


_libraries: dict[type, MessageLibrary] = {}
_pools: list[descriptor_pool.DescriptorPool] = []
_files: dict[str, FileDescriptor] = {}
_codecs: dict[type, Codec | None] = {}
_classes: dict[str, type] = {}
"""The classes that rpcs speak of, and others that were looked for, by full name; those of google.protobuf are in its own pool."""

_WELL_KNOWN = frozenset(
    f"google/protobuf/{name}.proto"
    for name in ("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers")
)


def load_file(name: str, *, messages: str | MessageLibrary, files: str) -> FileDescriptor:
    """The descriptor of a .proto file that a generated module brings along; generated modules call it.

    Args:
        name: the file's name.
        messages: the library of the module's message classes, or the name of a built-in one.
        files: a FileDescriptorSet in base 85: the file and what it imports, dependencies first, without protobuf's own files.

    Raises:
        ImportError: the library is not known, or not installed.
    """
    if isinstance(messages, str):
        from .libraries import built_in  # which needs this module

        library = built_in(messages)
    else:
        library = messages
    if library.base not in _libraries:
        for type_ in [type_ for type_, codec in _codecs.items() if codec is None]:
            del _codecs[type_]
    _libraries[library.base] = library
    protos = descriptor_pb2.FileDescriptorSet.FromString(base64.b85decode(files)).file
    file = _linked(name, protos)
    _files[name] = file
    return file


def _linked(name: str, protos: Sequence[descriptor_pb2.FileDescriptorProto]) -> FileDescriptor:
    for pool in _pools:
        try:
            return _add(pool, name, protos)
        except Exception:  # it holds another version of one of the files; protobuf's implementations raise different errors
            continue
    pool = descriptor_pool.DescriptorPool()
    _pools.append(pool)
    return _add(pool, name, protos)


def _add(pool: descriptor_pool.DescriptorPool, name: str, protos: Iterable[descriptor_pb2.FileDescriptorProto]) -> FileDescriptor:
    add_files(pool, protos)
    found: FileDescriptor = pool.FindFileByName(name)
    return found


def add_files(pool: descriptor_pool.DescriptorPool, protos: Iterable[descriptor_pb2.FileDescriptorProto]) -> list[FileDescriptor]:
    """Links files in a pool, dependencies first; protobuf's own are added where they are imported.

    Raises:
        TypeError: they do not fit together.
    """
    names = []
    for proto in protos:
        names.append(proto.name)
        if is_well_known(proto.name):  # the one that is here: that of another protoc may be written otherwise
            _add_well_known(pool, proto.name)
            continue
        for dependency in proto.dependency:
            if is_well_known(dependency):
                _add_well_known(pool, dependency)
        pool.AddSerializedFile(proto.SerializeToString())
    return [pool.FindFileByName(name) for name in names]


def is_well_known(name: str) -> bool:
    """Whether it is one of protobuf's own files, which everybody has."""
    return name in _WELL_KNOWN


def _add_well_known(pool: descriptor_pool.DescriptorPool, name: str) -> None:
    module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    for dependency in module.DESCRIPTOR.dependencies:
        _add_well_known(pool, dependency.name)
    pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)


def pair(type_: type[Any], descriptor: Descriptor) -> Codec:
    """The codec of a message class whose descriptor is known: an rpc's request or response.

    Raises:
        TypeError: the class is of no library that is known.
    """
    codec = _codecs.get(type_)
    if codec is None:
        if issubclass(type_, Message):
            codec = _protobuf(type_)
        else:
            library = _library_of(type_)
            if library is None:
                raise TypeError(f"{type_.__qualname__} is no message class of a library that is known")
            codec = _foreign(type_, library, descriptor)
            _classes[codec.full_name] = type_
        _codecs[type_] = codec
    return codec


def codec_of(type_: object) -> Codec | None:
    """The codec of a message class, `None` for anything else."""
    if not isinstance(type_, type):
        return None
    if type_ not in _codecs:
        if issubclass(type_, Message):
            _codecs[type_] = _protobuf(type_)
        elif (library := _library_of(type_)) is not None:
            name = library.full_name(type_)
            descriptor = None if name is None else find_descriptor(name)
            if descriptor is None:
                return None  # for now: its file may be loaded later
            _codecs[type_] = _foreign(type_, library, descriptor)
        else:
            _codecs[type_] = None
    return _codecs[type_]


def is_message_type(type_: object) -> bool:
    """Whether it is a message class of any library."""
    return isinstance(type_, type) and (issubclass(type_, Message) or is_foreign(type_))


def is_foreign(type_: type[Any]) -> bool:
    """Whether it is a message class of another library than google.protobuf."""
    return bool(_libraries) and _library_of(type_) is not None


def find_class(full_name: str) -> type[Any] | None:
    """The message class of that full name: one that an rpc speaks of, what protobuf has loaded, or one of another library."""
    found = _classes.get(full_name)
    if found is not None:
        return found
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return _find_foreign(full_name)
    return message_factory.GetMessageClass(descriptor)


def _find_foreign(full_name: str) -> type[Any] | None:
    if find_descriptor(full_name) is None:
        return None
    for library in _libraries.values():
        waiting: list[type[Any]] = library.base.__subclasses__()
        while waiting:
            type_ = waiting.pop()
            if library.full_name(type_) == full_name:
                _classes[full_name] = type_
                return type_
            waiting.extend(type_.__subclasses__())
    return None


def find_descriptor(full_name: str) -> Descriptor | None:
    """The descriptor of a message in the files that generated modules brought along."""
    for pool in _pools:
        try:
            found: Descriptor = pool.FindMessageTypeByName(full_name)
        except KeyError:
            continue
        return found
    return None


def _protobuf(type_: type[Message]) -> Codec:
    # What is stored may be older than a field that is required today.
    return Codec(str(type_.DESCRIPTOR.full_name), type_, type_.SerializeToString, type_.FromString, _parser(type_))


def _foreign(type_: type[Any], library: MessageLibrary, descriptor: Descriptor) -> Codec:
    wire = message_factory.GetMessageClass(descriptor)
    parse = _parser(wire)

    # Such libraries check little: what they write is read as protobuf reads it, and what they shall read is so before.

    def encode(message: Any) -> bytes:
        try:
            data = library.encode(message)
        except Exception as error:
            raise EncodeError(f"{library.name} cannot write it: {type(error).__name__}: {error}") from error
        try:
            parse(data)
        except DecodeError as error:
            raise EncodeError(f"what {library.name} makes of it is no {descriptor.full_name}: {error}") from None
        return data

    def decode(data: bytes) -> Any:
        wire.FromString(data)
        try:
            return library.decode(type_, data)
        except Exception as error:
            raise Unreadable(f"{library.name} cannot read it: {type(error).__name__}: {error}") from error

    return Codec(str(descriptor.full_name), wire, encode, decode, parse)


def _parser(wire: type[Message]) -> Callable[[bytes], Message]:
    if not reaches(wire.DESCRIPTOR, is_required):
        return wire.FromString

    def parse(data: bytes) -> Message:
        message = wire.FromString(data)  # which does not ask for required fields
        if not message.IsInitialized():
            raise DecodeError(missing(message))
        return message

    return parse


def reaches(descriptor: Any, wanted: Callable[[FieldDescriptor], bool]) -> bool:
    """Whether the message, or one that it can hold, has such a field."""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            if wanted(field):
                return True
            if field.message_type is not None:
                waiting.append(field.message_type)
    return False


def is_required(field: FieldDescriptor) -> bool:
    """Whether it is a required field of proto2."""
    required: bool | None = getattr(field, "is_required", None)  # early releases of protobuf 6 have the label only
    return cast(Any, field).label == FieldDescriptor.LABEL_REQUIRED if required is None else required


def _library_of(type_: type[Any]) -> MessageLibrary | None:
    if not _libraries:
        return None
    return next((_libraries[base] for base in type_.__mro__ if base in _libraries), None)


def carried_messages() -> Iterator[Descriptor]:
    """Every message of the files that generated modules brought along, longest package first."""
    files = sorted(_with_imports(), key=lambda file: -len(file.package))
    waiting = [message for file in files for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop(0)
        yield message
        waiting.extend(message.nested_types)


def _with_imports() -> Iterable[FileDescriptor]:
    seen: dict[str, FileDescriptor] = {}
    waiting = list(_files.values())
    while waiting:
        file = waiting.pop()
        if file.name not in seen:
            seen[file.name] = file
            waiting.extend(file.dependencies)
    return seen.values()
