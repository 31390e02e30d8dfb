"""A CodeGeneratorRequest, read no further than it is needed.

Most of a request is source info of messages, and files that are only imported. Parsed through narrower messages of the same field numbers,
what is not looked at stays a run of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from .protobuf import DescriptorPool, FieldDescriptorProto, FileDescriptorProto, message_class

if TYPE_CHECKING:
    from typing import TypeAlias

    _Kind: TypeAlias = FieldDescriptorProto.Type.ValueType

__all__ = ["RawFile", "Request", "read"]


class RawFile:
    """One .proto file.

    Attributes:
        name: `tour/v1/tour.proto`.
        package: `tour.v1`.
        descriptor: its serialized FileDescriptorProto, without source info.
        locations: the serialized Locations of its source info.
    """

    def __init__(self, name: str, package: str, descriptor: bytes, locations: Sequence[bytes]) -> None:
        self.name = name
        self.package = package
        self.descriptor = descriptor
        self.locations = locations

    @cached_property
    def proto(self) -> FileDescriptorProto:
        """The descriptor, without source info.

        Raises:
            DecodeError: it is damaged.
        """
        return FileDescriptorProto.FromString(self.descriptor)


class Request(NamedTuple):
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
        UnicodeDecodeError: a name in it is not in UTF-8.
    """
    request = _narrowed().FromString(data)
    return Request(_text(request.parameter), tuple(map(_text, request.file_to_generate)), tuple(map(_file, request.proto_file)))


def _text(text: str | bytes) -> str:
    """Protobuf gives what it cannot decode as bytes."""
    return text if isinstance(text, str) else text.decode()


def _file(file: Any) -> RawFile:
    # Cleared, it is on its own: it stays what it is, and is no part of the file any more.
    locations = file.source_code_info.location
    file.ClearField("source_code_info")
    return RawFile(_text(file.name), _text(file.package), file.SerializeToString(), locations)


def _narrowed() -> Any:
    """The class of a CodeGeneratorRequest with little more than files' names and the bytes of Locations; all else is kept unread."""
    kinds = FieldDescriptorProto

    def one(name: str, number: int, kind: _Kind = kinds.TYPE_STRING, of: str | None = None) -> FieldDescriptorProto:
        return kinds(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=kind, type_name=of)

    def many(name: str, number: int, kind: _Kind = kinds.TYPE_STRING, of: str | None = None) -> FieldDescriptorProto:
        return kinds(name=name, number=number, label=kinds.LABEL_REPEATED, type=kind, type_name=of)

    messages = {
        "Request": [many("file_to_generate", 1), one("parameter", 2), many("proto_file", 15, kinds.TYPE_MESSAGE, ".File")],
        "File": [one("name", 1), one("package", 2), one("source_code_info", 9, kinds.TYPE_MESSAGE, ".SourceInfo")],
        "SourceInfo": [many("location", 1, kinds.TYPE_BYTES)],
    }
    file = FileDescriptorProto(name="narrowed.proto")
    for name, fields in messages.items():
        file.message_type.add(name=name, field=fields)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_class(pool.FindMessageTypeByName("Request"))
