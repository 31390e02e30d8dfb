"""From linked descriptors to the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor as _descriptor
from google.protobuf import descriptor_pb2

from . import comments, naming
from .load import Loaded
from .model import Contract, FieldRole, File, InputField, Message, Method, Service, ServiceKind
from .settings import call_options, handler_type, is_shared, service_type, states
from .shipped import is_shipped

__all__ = ["build"]

# Field numbers in descriptor.proto, which paths of SourceCodeInfo are made of.
_PACKAGE, _MESSAGE, _SERVICE, _SYNTAX, _EDITION = 2, 4, 6, 12, 14
_NESTED, _FIELD, _METHOD, _INPUT = 3, 2, 2, 2

# TYPE_STRING -> string; the linked descriptor has the number only.
_SCALARS = {kind.number: kind.name.removeprefix("TYPE_").lower() for kind in descriptor_pb2.FieldDescriptorProto.Type.DESCRIPTOR.values}


def build(loaded: Loaded, names: Iterable[str], default_kind: ServiceKind | None = None, sync_clients: bool = True) -> Contract:
    """The model of the files with those names.

    Args:
        loaded: the request's files.
        names: the files to generate for.
        default_kind: what services without a service type are; `None` where they are left alone.
        sync_clients: whether there are clients for code without an event loop.
    """
    return Contract(tuple(_file(loaded, loaded.file(name), default_kind) for name in names), sync_clients)


def _file(loaded: Loaded, file: _descriptor.FileDescriptor, default_kind: ServiceKind | None) -> File:
    source = loaded.source(file.name)
    shipped = is_shipped(loaded.protos[file.name])
    services = []
    for index, service in enumerate(_services(file)):
        given = loaded.annotations.of(loaded.protos[file.name].service[index].options)
        found = service_type(given)
        if found is not None or default_kind is not None:
            services.append(_service(loaded, service, index, given, found, default_kind, shipped))
    # The topmost comment is often a licence, so the package's goes first.
    comment = source.comments(_PACKAGE) or source.comments(_SYNTAX) or source.comments(_EDITION)
    definitions = frozenset({*file.message_types_by_name, *file.enum_types_by_name, *file.extensions_by_name, *file.services_by_name})
    return File(
        name=file.name,
        comments=comments.clean(comment),
        services=tuple(services),
        definitions=definitions,
        deprecated=_file_is_deprecated(file),
    )


def _services(file: _descriptor.FileDescriptor) -> list[_descriptor.ServiceDescriptor]:
    return sorted(file.services_by_name.values(), key=lambda service: service.index)


def _file_is_deprecated(file: _descriptor.FileDescriptor) -> bool:
    return bool(file.GetOptions().deprecated)


def _service(
    loaded: Loaded,
    service: _descriptor.ServiceDescriptor,
    index: int,
    given: Mapping[str, Any],
    found: tuple[ServiceKind | None, str, str] | None,
    default_kind: ServiceKind | None,
    shipped: bool,
) -> Service:
    source = loaded.source(service.file.name)
    kind, kind_name, contradiction = found or (default_kind, default_kind.name if default_kind is not None else "", "")
    methods = tuple(_method(loaded, method, index, kind) for method in service.methods)
    left_out = tuple((method.name, method.location) for method in methods if method.streaming and found is None)
    return Service(
        name=service.name,
        full_name=service.full_name,
        python_name=naming.class_name(service.name),
        constant=naming.constant_name(service.name),
        kind=kind,
        kind_name=kind_name,
        methods=tuple(method for method in methods if found is not None or not method.streaming),
        comments=comments.clean(source.comments(_SERVICE, index)),
        location=source.location(_SERVICE, index),
        shipped=shipped,
        contradiction=contradiction,
        states=states(loaded, given, source, (_SERVICE, index), _message),
        options=call_options(given, source, (_SERVICE, index), on_service=True),
        deprecated=bool(service.GetOptions().deprecated) or _file_is_deprecated(service.file),
        annotated=found is not None,
        left_out=left_out,
    )


def _method(loaded: Loaded, method: _descriptor.MethodDescriptor, service: int, kind: ServiceKind | None) -> Method:
    file = method.containing_service.file.name
    source = loaded.source(file)
    path = (_SERVICE, service, _METHOD, method.index)
    given = loaded.annotations.of(loaded.protos[file].service[service].method[method.index].options)
    return Method(
        name=method.name,
        python_name=naming.method_name(method.name),
        input=_message(loaded, method.input_type),
        output=_message(loaded, method.output_type),
        streaming=bool(method.client_streaming or method.server_streaming),
        comments=comments.clean(source.comments(*path)),
        location=source.location(*path),
        input_location=source.location(*path, _INPUT),
        shared=is_shared(given, kind),
        handler_type=handler_type(given),
        options=call_options(given, source, path, on_service=False),
        deprecated=bool(method.GetOptions().deprecated),
    )


def _message(loaded: Loaded, message: _descriptor.Descriptor) -> Message:
    chain = _outermost_first(message)
    path, proto = _find(loaded.protos[message.file.name].message_type, [part.name for part in chain])
    source = loaded.source(message.file.name)
    fields = []
    for index, (item, raw) in enumerate(zip(message.fields, proto.field, strict=True)):
        named = loaded.annotations.of(raw.options).get("dev.restate.ext.field")
        role = next((role for role in FieldRole if role.name == named), None)
        if role is not None:
            fields.append(
                InputField(
                    name=item.name,
                    type=_type(item, raw),
                    role=role,
                    in_oneof=raw.HasField("oneof_index") and not raw.proto3_optional,
                    location=source.location(*path, _FIELD, index),
                )
            )
    return Message(
        full_name=message.full_name,
        file=message.file.name,
        path=tuple(part.name for part in chain),
        fields=tuple(fields),
        deprecated=_file_is_deprecated(message.file) or any(part.GetOptions().deprecated for part in chain),
    )


def _outermost_first(message: _descriptor.Descriptor) -> list[_descriptor.Descriptor]:
    return [*_outermost_first(message.containing_type), message] if message.containing_type is not None else [message]


def _find(
    siblings: Sequence[descriptor_pb2.DescriptorProto], names: Sequence[str], number: int = _MESSAGE
) -> tuple[tuple[int, ...], descriptor_pb2.DescriptorProto]:
    """The message of that name, outermost part first, with its path in SourceCodeInfo."""
    index = next(index for index, proto in enumerate(siblings) if proto.name == names[0])
    if len(names) == 1:
        return (number, index), siblings[index]
    path, found = _find(siblings[index].nested_type, names[1:], _NESTED)
    return (number, index, *path), found


def _type(item: _descriptor.FieldDescriptor, raw: descriptor_pb2.FieldDescriptorProto) -> str:
    """The field's type as a .proto spells it."""
    message = item.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (message.fields_by_name[name] for name in ("key", "value"))
        return f"map<{_element(key)}, {_element(value)}>"
    return f"repeated {_element(item)}" if raw.label == raw.LABEL_REPEATED else _element(item)


def _element(item: _descriptor.FieldDescriptor) -> str:
    named = item.message_type or item.enum_type
    return str(named.full_name) if named is not None else _SCALARS[item.type]
