"""A CodeGeneratorRequest, read no further than it is needed.

Most of a request is source info of messages, and files that are only imported. Parsed through narrower messages of the same field numbers,
what is not looked at stays a run of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from typing import TypeAlias

    _Kind: TypeAlias = descriptor_pb2.FieldDescriptorProto.Type.ValueType

__all__ = ["RawFile", "Request", "locations", "read"]


@dataclass(frozen=True)
class RawFile:
    """One .proto file.

    Attributes:
        name: `tour/v1/tour.proto`.
        package: `tour.v1`.
        descriptor: its serialized FileDescriptorProto, without source info.
        source_info: its serialized SourceCodeInfo.
    """

    name: str
    package: str
    descriptor: bytes
    source_info: bytes

    @cached_property
    def proto(self) -> descriptor_pb2.FileDescriptorProto:
        """The descriptor, without source info.

        Raises:
            DecodeError: it is damaged.
        """
        return descriptor_pb2.FileDescriptorProto.FromString(self.descriptor)


@dataclass(frozen=True, slots=True)
class Request:
    """What protoc asks for.

    Attributes:
        parameter: the plugin's options.
        wanted: the names of the files to generate for.
        files: those and what they import, dependencies first.
    """

    parameter: str
    wanted: tuple[str, ...]
    files: tuple[RawFile, ...]


def read(data: bytes) -> Request:
    """Reads a serialized CodeGeneratorRequest.

    Raises:
        DecodeError: it is damaged.
    """
    request = _REQUEST.FromString(data)
    return Request(request.parameter, tuple(request.file_to_generate), tuple(map(_file, request.proto_file)))


def locations(source_info: bytes) -> Iterable[bytes]:
    """The serialized Locations of a serialized SourceCodeInfo.

    Raises:
        DecodeError: it is damaged.
    """
    found: Iterable[bytes] = _SOURCE_INFO.FromString(source_info).location
    return found


def _file(data: bytes) -> RawFile:
    file = _FILE.FromString(data)
    source_info = file.source_code_info
    file.ClearField("source_code_info")
    return RawFile(file.name, file.package, file.SerializeToString(), source_info)


def _narrowed() -> tuple[Any, Any, Any]:
    """Classes for what is looked at of CodeGeneratorRequest, FileDescriptorProto and SourceCodeInfo; they keep all else unread."""
    kinds = descriptor_pb2.FieldDescriptorProto

    def one(name: str, number: int, kind: _Kind = kinds.TYPE_STRING) -> descriptor_pb2.FieldDescriptorProto:
        return kinds(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)

    def many(name: str, number: int, kind: _Kind = kinds.TYPE_STRING) -> descriptor_pb2.FieldDescriptorProto:
        return kinds(name=name, number=number, type=kind, label=kinds.LABEL_REPEATED)

    messages = {
        "Request": [many("file_to_generate", 1), one("parameter", 2), many("proto_file", 15, kinds.TYPE_BYTES)],
        "File": [one("name", 1), one("package", 2), one("source_code_info", 9, kinds.TYPE_BYTES)],
        "SourceInfo": [many("location", 1, kinds.TYPE_BYTES)],
    }
    file = descriptor_pb2.FileDescriptorProto(name="narrowed.proto")
    for name, fields in messages.items():
        file.message_type.add(name=name, field=fields)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    request, file_, info = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in messages)
    return request, file_, info


_REQUEST, _FILE, _SOURCE_INFO = _narrowed()
