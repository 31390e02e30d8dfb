"""The file descriptors of services as one line of text, and services from file descriptors.

An endpoint sends the text along in its discovery, so that a gateway or a runtime which never imported the services can take keys from
requests, turn JSON into messages and show state. `describe` makes of it what a generated module would hold.

The text is `1:`, the version, then base64 of zlib of a `FileDescriptorSet`: the files of the services and what they import, dependencies
first, without protobuf's own. Kind, KEY fields and shared rpcs stand in it as options of `dev/restate`, whichever way they were declared.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor import MethodDescriptor as _Method
from google.protobuf.descriptor import ServiceDescriptor as _Service
from google.protobuf.message import DecodeError

from .codecs import add_files, is_well_known
from .descriptors import GENERATOR_ABI, MethodDescriptor, ServiceDescriptor, ServiceKind, StateDescriptor
from .errors import RuntimeFault
from .retry import OnExhausted, RetryOptions
from .transcode import is_repeated

__all__ = ["METADATA", "DescriptorSetError", "describe", "pack", "read_descriptors", "unpack"]

METADATA = "restate-runtime-descriptors"
"""Key of a service's metadata in discovery that holds the text."""

_VERSION = "1"
_LARGEST = 64 * 2**20
_EMPTY = "google.protobuf.Empty"
_FACTS = ("KEY", "EVENT_PAYLOAD", "EVENT_METADATA")
_KEY, _EVENT_PAYLOAD, _EVENT_METADATA = range(len(_FACTS))


class DescriptorSetError(ValueError):
    """A text or a set of files that does not describe services."""


# --- to text and back


def pack(services: Iterable[ServiceDescriptor]) -> str:
    """The files of these services, the same text each time."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    services = sorted(services, key=lambda service: service.name)
    for service in services:
        for file in _with_imports(service.descriptor.file):
            if file.name not in files:
                files[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    for service in services:
        _declare(service, files)
    data = descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)
    return f"{_VERSION}:{base64.b64encode(zlib.compress(data, 9)).decode()}"


def unpack(text: str) -> descriptor_pb2.FileDescriptorSet:
    """What `pack` made a text of.

    Raises:
        DescriptorSetError: it did not, or a newer version did.
    """
    version, colon, encoded = text.partition(":")
    if not colon or not version.isdecimal():
        raise DescriptorSetError(f"the text is no descriptors: it begins with '{text[:20]}'")
    if version != _VERSION:
        raise DescriptorSetError(f"the descriptors are of version {version}, this runtime reads version {_VERSION}: use a newer one")
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(encoded, validate=True), _LARGEST)
        if not unzip.eof:
            reason = f"they are larger than {_LARGEST} bytes" if len(data) == _LARGEST else "their end is missing"
            raise DescriptorSetError(f"the descriptors cannot be read: {reason}")
        return descriptor_pb2.FileDescriptorSet.FromString(data)
    except (binascii.Error, zlib.error, DecodeError) as error:
        raise DescriptorSetError(f"the descriptors cannot be read: {error}") from None


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """Dependencies first; protobuf's own files are left out."""
    seen: set[str] = set()

    def walk(file: FileDescriptor) -> Iterator[FileDescriptor]:
        if file.name in seen or is_well_known(file.name):
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            yield from walk(dependency)
        yield file

    return walk(file)


def _declare(service: ServiceDescriptor, files: Mapping[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Writes what the service's own module resolved into the options that readers look at."""
    proto = next(item for item in files[service.descriptor.file.name].service if item.name == service.descriptor.name)
    _set(proto.options, _SERVICE(type=_KINDS[service.kind]))
    methods = {method.name: method for method in proto.method}
    for method in service.methods:
        if method.shared:
            _set(methods[method.name].options, _METHOD(shared=True))
        resolved = {_KEY: method.key_field, _EVENT_PAYLOAD: method.event_payload_field, _EVENT_METADATA: method.event_metadata_field}
        for fact, name in resolved.items():
            field = None if name is None else _field(method.descriptor.input_type, name, files)
            if field is not None:
                _set(field.options, _FIELD(type=fact))


def _set(options: Any, facts: Any) -> None:
    # Of a field that stands twice the last one counts.
    options.MergeFromString(facts.SerializeToString())


def _field(
    message: Descriptor, name: str, files: Mapping[str, descriptor_pb2.FileDescriptorProto]
) -> descriptor_pb2.FieldDescriptorProto | None:
    file = files.get(message.file.name)
    if file is None:
        return None
    path = []
    inner: Descriptor | None = message
    while inner is not None:
        path.append(inner.name)
        inner = inner.containing_type
    among: Any = file.message_type
    found: Any = None
    for part in reversed(path):
        found = next(item for item in among if item.name == part)
        among = found.nested_type
    return next((field for field in found.field if field.name == name), None)


# --- services


def read_descriptors(paths: Iterable[Path]) -> dict[str, ServiceDescriptor]:
    """The annotated services of files that `protoc --include_imports --descriptor_set_out` wrote, by full name.

    Raises:
        RuntimeFault: RT0003, a file cannot be read, or is something else.
    """
    found: dict[str, ServiceDescriptor] = {}
    for path in paths:
        try:
            services = describe(descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()))
        except OSError as error:
            raise RuntimeFault("RT0003", f"--descriptors: {path} cannot be read: {error.strerror}") from None
        except (DecodeError, DescriptorSetError) as error:
            raise RuntimeFault(
                "RT0003", f"--descriptors: {path} is no set of descriptors (protoc --include_imports --descriptor_set_out): {error}"
            ) from None
        if not services:
            raise RuntimeFault("RT0003", f"--descriptors: {path} describes no annotated service")
        found |= services
    return found


def describe(files: descriptor_pb2.FileDescriptorSet) -> dict[str, ServiceDescriptor]:
    """The annotated services of the files, by full name, with message classes of their own.

    They are not what `find_service` finds: that knows the services of generated modules.

    Args:
        files: dependencies first, as `unpack` or `protoc --include_imports --descriptor_set_out` gives them.

    Raises:
        DescriptorSetError: the files do not fit together, or break a rule of their annotations.
    """
    pool = descriptor_pool.DescriptorPool()
    try:
        linked = add_files(pool, files.file)
        found: dict[str, ServiceDescriptor] = {}
        for file in linked:
            for service in file.services_by_name.values():
                facts = _SERVICE.FromString(service.GetOptions().SerializeToString())
                if facts.HasField("type") or facts.HasField("go_type"):
                    found[service.full_name] = _service(pool, service, facts)
    except (TypeError, KeyError, DecodeError) as error:
        raise DescriptorSetError(f"the file descriptors do not fit together: {error}") from None
    return found


def _service(pool: descriptor_pool.DescriptorPool, service: _Service, facts: Any) -> ServiceDescriptor:
    kind = _KIND_OF.get(facts.type) if facts.HasField("type") else _GO_KINDS.get(facts.go_type)
    if kind is None:
        raise DescriptorSetError(f"{service.full_name}: its service type {facts.type or facts.go_type} is none that can be hosted")
    return ServiceDescriptor(
        abi=GENERATOR_ABI,
        name=service.full_name,
        kind=kind,
        methods=tuple(_method(method, kind) for method in service.methods),
        descriptor=service,
        states=tuple(StateDescriptor(name=item.name, python_name=item.name, type=_state_type(pool, item.type)) for item in facts.state),
        private=facts.private,
        retry=_retry(facts),
        inactivity_timeout=_duration(facts, "inactivity_timeout"),
        retention=_duration(facts, "retention"),
        generated=False,
    )


def _method(method: _Method, kind: ServiceKind) -> MethodDescriptor[Any, Any]:
    facts = _METHOD.FromString(method.GetOptions().SerializeToString())
    key_field = _annotated(method.input_type, _KEY) if kind is ServiceKind.KEYED else None
    if kind is ServiceKind.KEYED and key_field is None:
        raise DescriptorSetError(
            f"{method.containing_service.full_name}/{method.name}: its input {method.input_type.full_name} has no KEY field"
        )
    return MethodDescriptor(
        name=method.name,
        python_name=re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method.name).lower(),
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        descriptor=method,
        key_field=key_field,
        event_payload_field=_annotated(method.input_type, _EVENT_PAYLOAD),
        event_metadata_field=_annotated(method.input_type, _EVENT_METADATA),
        empty_request=method.input_type.full_name == _EMPTY,
        empty_response=method.output_type.full_name == _EMPTY,
        shared=facts.shared or facts.go_type == _GO_SHARED,
        private=facts.private if facts.HasField("private") else None,
        retry=_retry(facts),
        inactivity_timeout=_duration(facts, "inactivity_timeout"),
        retention=_duration(facts, "retention"),
    )


def _annotated(message: Descriptor, fact: int) -> str | None:
    """The field with an annotation, `dev.restate.ext.field`."""
    for field in message.fields:
        facts = _FIELD.FromString(field.GetOptions().SerializeToString())
        if facts.HasField("type") and facts.type == fact:
            if not _fits(field, fact):
                raise DescriptorSetError(f"{message.full_name}.{field.name}: a field of its type cannot be {_FACTS[fact]}")
            return str(field.name)
    return None


def _fits(field: FieldDescriptor, fact: int) -> bool:
    if fact == _EVENT_METADATA:
        entry = field.message_type
        return entry is not None and entry.GetOptions().map_entry and all(part.type == field.TYPE_STRING for part in entry.fields)
    return not is_repeated(field) and field.type in ((field.TYPE_STRING,) if fact == _KEY else (field.TYPE_STRING, field.TYPE_BYTES))


def _state_type(pool: descriptor_pool.DescriptorPool, name: str) -> type[Any]:
    scalar = {"string": str, "int64": int, "double": float, "bool": bool, "bytes": bytes}.get(name)
    return scalar or message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _duration(facts: Any, name: str) -> timedelta | None:
    if not facts.HasField(name):
        return None
    value = getattr(facts, name)
    return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def _retry(facts: Any) -> RetryOptions | None:
    if not facts.HasField("retry"):
        return None
    retry = facts.retry
    given: dict[str, Any] = {name: _duration(retry, name) for name in ("initial_interval", "max_interval", "max_duration")}
    given |= {name: getattr(retry, name) for name in ("factor", "max_attempts") if retry.HasField(name)}
    if retry.HasField("on_exhausted"):
        given["on_exhausted"] = OnExhausted.FAIL if retry.on_exhausted else OnExhausted.PAUSE
    return RetryOptions(**given)


# --- options by their numbers: the contract's own copy of dev/restate may be in any pool, or in none

_KINDS = {ServiceKind.UNKEYED: 0, ServiceKind.KEYED: 1, ServiceKind.SINGLETON: 2}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
_GO_KINDS = {0: ServiceKind.UNKEYED, 1: ServiceKind.KEYED}
_GO_SHARED = 2


def _facts() -> tuple[Any, Any, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    types = {
        "int32": field.TYPE_INT32,
        "int64": field.TYPE_INT64,
        "bool": field.TYPE_BOOL,
        "double": field.TYPE_DOUBLE,
        "string": field.TYPE_STRING,
    }
    times = {"inactivity_timeout": ("Duration", 51243), "retention": ("Duration", 51244)}
    shape: dict[str, dict[str, tuple[str, int]]] = {
        "Duration": {"seconds": ("int64", 1), "nanos": ("int32", 2)},
        "State": {"name": ("string", 1), "type": ("string", 2)},
        "Retry": {
            "initial_interval": ("Duration", 1),
            "max_interval": ("Duration", 2),
            "factor": ("double", 3),
            "max_attempts": ("int32", 4),
            "max_duration": ("Duration", 5),
            "on_exhausted": ("int32", 6),
        },
        "Service": {"type": ("int32", 51234), "go_type": ("int32", 2051), "state": ("State", 51240), "private": ("bool", 51241)}
        | {"retry": ("Retry", 51242)}
        | times,
        "Method": {"go_type": ("int32", 2051), "shared": ("bool", 51240), "private": ("bool", 51241), "retry": ("Retry", 51242)} | times,
        "Field": {"type": ("int32", 51234)},
    }
    file = descriptor_pb2.FileDescriptorProto(name="restate_runtime/options.proto", package="restate_runtime.options")
    for name, fields in shape.items():
        message = file.message_type.add(name=name)
        for field_name, (kind, number) in fields.items():
            repeated = kind == "State"
            message.field.add(
                name=field_name,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=types.get(kind, field.TYPE_MESSAGE),
                type_name=None if kind in types else f".restate_runtime.options.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    service, method, of_field = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"restate_runtime.options.{name}"))
        for name in ("Service", "Method", "Field")
    )
    return service, method, of_field


_SERVICE, _METHOD, _FIELD = _facts()
