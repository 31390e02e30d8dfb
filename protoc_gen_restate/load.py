"""A request's files, linked in a descriptor pool of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from .annotations import ANNOTATIONS, Annotations
from .model import Finding, Location
from .protobuf import DescriptorPool
from .request import RawFile
from .source import SourceMap

if TYPE_CHECKING:
    from google.protobuf import descriptor as _descriptor
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

__all__ = ["LoadError", "Loaded", "load"]

# Field numbers in descriptor.proto, which paths of SourceCodeInfo are made of.
_MESSAGE, _NESTED, _EXTENSION, _ONEOF = 4, 3, 7, 8
# Packages of the shipped contracts.
_OURS = {"dev.restate", *(annotation.package for annotation in ANNOTATIONS)}


class LoadError(Exception):
    """The request's files cannot be linked."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


class Loaded:
    """The linked files of a request, by their names."""

    def __init__(self, pool: DescriptorPool, files: Mapping[str, RawFile], linked: Mapping[str, _descriptor.FileDescriptor]) -> None:
        self.pool = pool
        self.files = files
        self._linked = linked
        self._sources: dict[str, SourceMap] = {}

    @cached_property
    def annotations(self) -> Annotations:
        return Annotations(self.pool)

    def file(self, name: str) -> _descriptor.FileDescriptor:
        """The linked file of that name."""
        return self._linked[name]

    def proto(self, name: str) -> FileDescriptorProto:
        """The file of that name as it came, without source info."""
        return self.files[name].proto

    def message(self, linked: _descriptor.Descriptor) -> tuple[tuple[int, ...], DescriptorProto]:
        """A message as it came, with its path in SourceCodeInfo."""
        path: tuple[int, ...] = ()
        if linked.containing_type is None:
            number, siblings = _MESSAGE, self.proto(linked.file.name).message_type
        else:
            path, outer = self.message(linked.containing_type)
            number, siblings = _NESTED, outer.nested_type
        index = next(index for index, proto in enumerate(siblings) if proto.name == linked.name)
        return (*path, number, index), siblings[index]

    def is_map_entry(self, linked: _descriptor.Descriptor) -> bool:
        """protoc made that message, for a map."""
        return linked.has_options and self.message(linked)[1].options.map_entry

    def source(self, name: str) -> SourceMap:
        """Places and comments of the file of that name."""
        if name not in self._sources:
            self._sources[name] = SourceMap(self.files[name])
        return self._sources[name]


def load(files: Iterable[RawFile]) -> Loaded:
    """Links the files, which come with dependencies first, as protoc sends them.

    Raises:
        LoadError: they do not fit together, or Python's protobuf refuses one of them.
        DecodeError: one of them is damaged.
    """
    by_name = {file.name: file for file in files}
    pool = DescriptorPool()
    linked: dict[str, _descriptor.FileDescriptor] = {}
    findings: list[Finding] = []
    faulty: set[str] = set()
    for file in by_name.values():
        found = list(_refused(file)) if file.package in _OURS else []
        if not found and faulty.isdisjoint(file.proto.dependency if faulty else ()):
            try:
                # Not `Add`: that one only notes the file, and a fault in it would come up later, far from here. What it answers is kept,
                # since a pool does not find a file by a name with letters beyond ASCII.
                linked[file.name] = pool.AddSerializedFile(file.descriptor)
                continue
            except Exception as error:  # its implementations raise whatever they run into
                _ = file.proto  # damaged, which is no fault of the contract's
                reason = " ".join(str(error).split())
                found = [Finding(Location(file.name), "RST002", f"Python's protobuf cannot load this file: {reason}")]
        faulty.add(file.name)  # and so are those that import it, of which there is nothing to say
        findings += found
    if findings:
        raise LoadError(findings)
    return Loaded(pool, by_name, linked)


def _refused(file: RawFile) -> Iterable[Finding]:
    """Copies of the shipped contracts that cannot be worked with, though protoc takes them."""
    source = SourceMap(file)
    numbers = {item.name: item.number for item in ANNOTATIONS if item.package == file.package}
    for index, extension in enumerate(file.proto.extension if numbers else ()):
        name = f"{file.package}.{extension.name}"
        if numbers.get(name, extension.number) != extension.number:
            reason = f"{name} has the number {extension.number} here, and {numbers[name]} in Restate's file"
            yield Finding(source.location(_EXTENSION, index), "RST006", reason)
    if file.package == "dev.restate":
        # Protobuf's own message for Restate's published file says nothing useful.
        for index, message in enumerate(file.proto.message_type):
            if message.name == "InvokeRequest" and any(oneof.name == "argument" for oneof in message.oneof_decl):
                yield Finding(source.location(_MESSAGE, index, _ONEOF, 0), "RST003", _PUBLISHED)


_PUBLISHED = (
    "this is Restate's published services.proto, whose oneof 'argument' has the JSON name of one of its fields, which Python's protobuf "
    "refuses; use the copy from `protoc-gen-restate --include`, which calls it 'body': same on the wire and in JSON"
)
