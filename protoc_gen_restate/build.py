"""From linked descriptors to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from . import naming
from .annotations import Place
from .load import Loaded
from .model import Contract, FieldRole, File, InputField, Message, Method, Service, ServiceKind
from .protobuf import FieldDescriptorProto
from .settings import call_options, handler_type, is_shared, service_type, states
from .shipped import SHIPPED, is_shipped
from .source import SourceMap

if TYPE_CHECKING:
    from google.protobuf import descriptor as _descriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto

__all__ = ["build"]

# Field numbers in descriptor.proto, which paths of SourceCodeInfo are made of.
_PACKAGE, _SERVICE, _SYNTAX, _EDITION = 2, 6, 12, 14
_FIELD, _METHOD, _INPUT = 2, 2, 2

# TYPE_STRING -> string; the linked descriptor has the number only.
_SCALARS = {kind.number: kind.name.removeprefix("TYPE_").lower() for kind in FieldDescriptorProto.Type.DESCRIPTOR.values}


def build(loaded: Loaded, names: Iterable[str], default_kind: ServiceKind | None = None, sync_clients: bool = True) -> Contract:
    """The model of the files with those names.

    Args:
        loaded: the request's files.
        names: the files to generate for.
        default_kind: what services without a service type are; `None` where they are left alone.
        sync_clients: whether there are clients for code without an event loop.
    """
    builder = _Builder(loaded, default_kind)
    files = tuple(builder.file(name) for name in names)
    copies = [name for name, package in loaded.annotations.files if f"{package.replace('.', '/')}.proto" in SHIPPED.keys() - {name}]
    return Contract(files, sync_clients, copies=tuple(loaded.source(name).location(_PACKAGE) for name in copies))


class _Builder:
    """Makes the models of one request's files, each message's once."""

    def __init__(self, loaded: Loaded, default_kind: ServiceKind | None) -> None:
        self._loaded = loaded
        self._default_kind = default_kind
        self._messages: dict[str, Message] = {}
        self._deprecated: dict[str, bool] = {}

    def file(self, name: str) -> File:
        linked, proto = self._loaded.file(name), self._loaded.proto(name)
        source = self._loaded.source(name)
        services = [self._service(linked, proto, index) for index in range(len(proto.service))]
        # The topmost comment is often a licence, so the package's goes first.
        comment = source.comments(_PACKAGE) or source.comments(_SYNTAX) or source.comments(_EDITION)
        values = [value for enum in proto.enum_type for value in enum.value]  # they are at the top, too
        types = [item.name for items in (proto.message_type, proto.enum_type) for item in items]
        return File(
            name=name,
            comments=comment,
            services=tuple(service for service in services if service is not None),
            types=tuple(types),
            definitions=frozenset({*types, *(item.name for items in (values, proto.extension) for item in items)}),
            keyed=tuple(self._keyed(linked.message_types_by_name.values())) if proto.service else (),
            deprecated=proto.options.deprecated,
        )

    def _service(self, file: _descriptor.FileDescriptor, proto: FileDescriptorProto, index: int) -> Service | None:
        """The model of a service; `None` where it is left alone."""
        raw = proto.service[index]
        given = self._loaded.annotations.of(Place.SERVICE, raw)
        found = service_type(given)
        if found is None and self._default_kind is None:
            return None
        default = self._default_kind
        kind, kind_name, contradiction = found or (default, default.name if default is not None else "", "")
        source = self._loaded.source(file.name)
        path = (_SERVICE, index)
        location, comment = source.both(*path)
        linked = file.services_by_name[raw.name]
        methods = [
            self._method(method, item, source, (*path, _METHOD, number), kind)
            for number, (method, item) in enumerate(zip(linked.methods, raw.method, strict=True))
        ]
        return Service(
            name=raw.name,
            full_name=linked.full_name,
            python_name=naming.class_name(raw.name),
            constant=naming.constant_name(raw.name),
            kind=kind,
            kind_name=kind_name,
            methods=tuple(method for method in methods if found is not None or not method.streaming),
            comments=comment,
            location=location,
            shipped=is_shipped(proto),
            contradiction=contradiction,
            states=states(self._loaded, given, source, path, self._message),
            options=call_options(given, source, path, on_service=True),
            deprecated=raw.options.deprecated or proto.options.deprecated,
            annotated=found is not None,
            left_out=tuple((method.name, method.location) for method in methods if method.streaming and found is None),
        )

    def _method(
        self,
        linked: _descriptor.MethodDescriptor,
        proto: MethodDescriptorProto,
        source: SourceMap,
        path: tuple[int, ...],
        kind: ServiceKind | None,
    ) -> Method:
        given = self._loaded.annotations.of(Place.METHOD, proto)
        location, comment = source.both(*path)
        return Method(
            name=proto.name,
            python_name=naming.method_name(proto.name),
            input=self._message(linked.input_type),
            output=self._message(linked.output_type),
            streaming=proto.client_streaming or proto.server_streaming,
            comments=comment,
            location=location,
            input_location=source.location(*path, _INPUT),
            shared=is_shared(given, kind),
            handler_type=handler_type(given),
            options=call_options(given, source, path, on_service=False),
            deprecated=proto.options.deprecated,
        )

    def _message(self, linked: _descriptor.Descriptor) -> Message:
        name = linked.full_name
        if name not in self._messages:
            chain = _outermost_first(linked)
            self._messages[name] = Message(
                full_name=name,
                file=linked.file.name,
                path=tuple(part.name for part in chain),
                fields=tuple(self._fields(linked)),
                deprecated=self._file_is_deprecated(linked.file)
                or any(part.has_options and self._loaded.message(part)[1].options.deprecated for part in chain),
            )
        return self._messages[name]

    def _keyed(self, messages: Iterable[_descriptor.Descriptor]) -> Iterator[Message]:
        if not self._loaded.annotations.can_stand(Place.FIELD):
            return
        for linked in messages:
            message = self._message(linked)
            if message.having(FieldRole.KEY):
                yield message
            yield from self._keyed(linked.nested_types)

    def _file_is_deprecated(self, file: _descriptor.FileDescriptor) -> bool:
        if file.name not in self._deprecated:
            self._deprecated[file.name] = file.has_options and self._loaded.proto(file.name).options.deprecated
        return self._deprecated[file.name]

    def _fields(self, linked: _descriptor.Descriptor) -> Iterator[InputField]:
        """The annotated fields of a message."""
        annotations = self._loaded.annotations
        if not annotations.can_stand(Place.FIELD):
            return
        path, proto = self._loaded.message(linked)
        for index, (item, raw) in enumerate(zip(linked.fields, proto.field, strict=True)):
            named = annotations.of(Place.FIELD, raw).get("dev.restate.ext.field")
            role = next((role for role in FieldRole if role.name == named), None)
            if role is not None:
                yield InputField(
                    name=item.name,
                    type=self._type(item, raw),
                    role=role,
                    in_oneof=raw.HasField("oneof_index") and not raw.proto3_optional,
                    location=self._loaded.source(linked.file.name).location(*path, _FIELD, index),
                )

    def _type(self, item: _descriptor.FieldDescriptor, raw: FieldDescriptorProto) -> str:
        """The field's type as a .proto spells it."""
        message = item.message_type
        if message is not None and self._loaded.is_map_entry(message):
            key, value = (message.fields_by_name[name] for name in ("key", "value"))
            return f"map<{_element(key)}, {_element(value)}>"
        return f"repeated {_element(item)}" if raw.label == raw.LABEL_REPEATED else _element(item)


def _outermost_first(message: _descriptor.Descriptor) -> list[_descriptor.Descriptor]:
    return [*_outermost_first(message.containing_type), message] if message.containing_type is not None else [message]


def _element(item: _descriptor.FieldDescriptor) -> str:
    named = item.message_type or item.enum_type
    return str(named.full_name) if named is not None else _SCALARS[item.type]
