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
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import Message

__all__ = [
    "Codec",
    "MessageLibrary",
    "add_files",
    "codec_of",
    "find_class",
    "find_descriptor",
    "is_foreign",
    "is_message_type",
    "is_well_known",
    "load_file",
    "pair",
]


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
        encode: a message to its binary form.
        decode: a binary form to a message; raises protobuf's `DecodeError` where that is impossible.
    """

    full_name: str
    wire: type[Message]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


_libraries: dict[type, MessageLibrary] = {}
_pools: list[descriptor_pool.DescriptorPool] = []
_files: dict[str, FileDescriptor] = {}
_codecs: dict[type, Codec | None] = {}
_classes: dict[str, type] = {}
"""The classes that rpcs speak of, by full name; those of google.protobuf are in its own pool."""

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
    library = _built_in(messages) if isinstance(messages, str) else messages
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
        for dependency in proto.dependency:
            if is_well_known(dependency):
                _add_well_known(pool, dependency)
        pool.AddSerializedFile(proto.SerializeToString())
        names.append(proto.name)
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
    """The message class of that full name: one that an rpc speaks of, or what protobuf has loaded."""
    found = _classes.get(full_name)
    if found is not None:
        return found
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


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
    return Codec(str(type_.DESCRIPTOR.full_name), type_, type_.SerializeToString, type_.FromString)


def _foreign(type_: type[Any], library: MessageLibrary, descriptor: Descriptor) -> Codec:
    wire = message_factory.GetMessageClass(descriptor)

    def decode(data: bytes) -> Any:
        wire.FromString(data)  # its error says what is wrong; such libraries check little
        return library.decode(type_, data)

    return Codec(str(descriptor.full_name), wire, library.encode, decode)


def _library_of(type_: type[Any]) -> MessageLibrary | None:
    if not _libraries:
        return None
    return next((_libraries[base] for base in type_.__mro__ if base in _libraries), None)


def _built_in(name: str) -> MessageLibrary:
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
        for message in _messages():
            package = message.file.package
            nested = message.full_name[len(package) + 1 if package else 0 :].replace(".", "_")
            if pascal_case(nested) == type_.__name__ and (not package or module == package or module.endswith(f".{package}")):
                return str(message.full_name)
        return None

    return MessageLibrary("betterproto", Base, bytes, decode, full_name)


def _betterproto2() -> MessageLibrary:
    from betterproto2 import Message as Base  # pyright: ignore[reportMissingImports]

    def decode(type_: type[Any], data: bytes) -> Any:
        return type_.parse(data)

    def full_name(type_: type[Any]) -> str | None:
        module = importlib.import_module(type_.__module__)
        url: str | None = module.default_message_pool.type_to_url.get(type_)
        return None if url is None else url.rpartition("/")[2].lstrip(".")

    return MessageLibrary("betterproto2", Base, bytes, decode, full_name)


def _messages() -> Iterator[Descriptor]:
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
