"""A request's files, linked in a descriptor pool of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from google.protobuf import descriptor as _descriptor
from google.protobuf import descriptor_pb2, descriptor_pool

from .annotations import ANNOTATIONS, Annotations
from .model import Finding, Location

__all__ = ["LoadError", "Loaded", "SourceMap", "load"]

# Field numbers in descriptor.proto, which paths of SourceCodeInfo are made of.
_MESSAGE, _EXTENSION, _ONEOF = 4, 7, 8


class LoadError(Exception):
    """The request's files cannot be linked."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


@dataclass(frozen=True)
class SourceMap:
    """Where things stand in one .proto file, and their comments."""

    proto: descriptor_pb2.FileDescriptorProto

    @cached_property
    def _by_path(self) -> dict[tuple[int, ...], descriptor_pb2.SourceCodeInfo.Location]:
        return {tuple(location.path): location for location in self.proto.source_code_info.location}

    def location(self, *path: int) -> Location:
        """Where the thing at that path begins; the nearest enclosing one where the path has no place of its own."""
        while path and path not in self._by_path:
            path = path[:-1]
        found = self._by_path.get(path)
        if found is None or not path or len(found.span) < 2:
            return Location(self.proto.name)
        return Location(self.proto.name, found.span[0] + 1, found.span[1] + 1)

    def comments(self, *path: int) -> str:
        """The comment above the thing at that path, else the one behind it."""
        found = self._by_path.get(path)
        text: str | bytes = "" if found is None else found.leading_comments or found.trailing_comments
        # A file in another encoding than UTF-8: protobuf gives what it cannot decode as bytes.
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


@dataclass(frozen=True)
class Loaded:
    """The linked files of a request."""

    pool: descriptor_pool.DescriptorPool
    protos: Mapping[str, descriptor_pb2.FileDescriptorProto]
    _sources: dict[str, SourceMap] = field(default_factory=dict)

    @cached_property
    def annotations(self) -> Annotations:
        return Annotations(self.pool)

    def file(self, name: str) -> _descriptor.FileDescriptor:
        """The linked file of that name."""
        return self.pool.FindFileByName(name)

    def source(self, name: str) -> SourceMap:
        """Places and comments of the file of that name."""
        if name not in self._sources:
            self._sources[name] = SourceMap(self.protos[name])
        return self._sources[name]


def load(protos: Iterable[descriptor_pb2.FileDescriptorProto]) -> Loaded:
    """Links the files, which come with dependencies first, as protoc sends them.

    Raises:
        LoadError: they do not fit together, or Python's protobuf refuses one of them.
    """
    by_name = {proto.name: proto for proto in protos}
    pool = descriptor_pool.DescriptorPool()
    refused = [finding for proto in by_name.values() for finding in _refused(proto)]
    if refused:
        raise LoadError(refused)
    for proto in by_name.values():
        bare = descriptor_pb2.FileDescriptorProto()
        bare.CopyFrom(proto)
        bare.ClearField("source_code_info")
        try:
            # Not `Add`: that one only notes the file, and a fault in it would come up later, far from here.
            pool.AddSerializedFile(bare.SerializeToString())
            pool.FindFileByName(proto.name)
        except Exception as error:  # its implementations raise whatever they run into
            reason = " ".join(str(error).split())
            raise LoadError([Finding(Location(proto.name), "RST002", f"Python's protobuf cannot load this file: {reason}")]) from None
    return Loaded(pool, by_name)


def _refused(proto: descriptor_pb2.FileDescriptorProto) -> Iterable[Finding]:
    """Copies of the shipped contracts that cannot be worked with, though protoc takes them."""
    source = SourceMap(proto)
    numbers = {item.name: item.number for item in ANNOTATIONS if item.package == proto.package}
    for index, extension in enumerate(proto.extension if numbers else ()):
        name = f"{proto.package}.{extension.name}"
        if numbers.get(name, extension.number) != extension.number:
            reason = f"{name} has the number {extension.number} here, and {numbers[name]} in Restate's file"
            yield Finding(source.location(_EXTENSION, index), "RST006", reason)
    if proto.package == "dev.restate":
        # Protobuf's own message for Restate's published file says nothing useful.
        for index, message in enumerate(proto.message_type):
            if message.name == "InvokeRequest" and any(oneof.name == "argument" for oneof in message.oneof_decl):
                yield Finding(source.location(_MESSAGE, index, _ONEOF, 0), "RST003", _PUBLISHED)


_PUBLISHED = (
    "this is Restate's published services.proto, whose oneof 'argument' has the JSON name of one of its fields, which Python's protobuf "
    "refuses; use the copy from `protoc-gen-restate --include`, which calls it 'body': same on the wire and in JSON"
)
