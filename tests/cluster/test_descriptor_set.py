"""Descriptors on their way: packed as text, read where no generated module is."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from sample.v1 import cart_restate, events_restate, sample_restate

from restate_runtime.descriptor_set import DescriptorSetError, describe, pack, unpack
from restate_runtime.descriptors import ServiceDescriptor, ServiceKind, find_service
from tour.v1 import tour_restate

SERVICES = [
    value
    for module in (tour_restate, sample_restate, cart_restate, events_restate)
    for value in vars(module).values()
    if isinstance(value, ServiceDescriptor)
]


def facts(service: ServiceDescriptor) -> Any:
    """What a reader goes by."""
    methods = [
        (
            method.name,
            method.python_name,
            method.key_field,
            method.event_payload_field,
            method.event_metadata_field,
            method.shared,
            method.private,
            method.retry,
            method.inactivity_timeout,
            method.retention,
            method.empty_request,
            method.empty_response,
        )
        for method in service.methods
    ]
    states = [(state.name, state.type.__name__) for state in service.states]
    return service.kind, methods, states, service.private, service.retry, service.inactivity_timeout, service.retention


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_comes_back_as_it_was(service: ServiceDescriptor) -> None:
    assert facts(describe(unpack(pack([service])))[service.name]) == facts(service)


def test_the_same_text_whatever_the_order() -> None:
    assert pack(SERVICES) == pack(reversed(SERVICES))
    assert describe(unpack(pack(SERVICES))).keys() == {service.name for service in SERVICES}


def test_messages_are_read_with_classes_of_their_own() -> None:
    described = describe(unpack(pack([sample_restate.COUNTER])))[sample_restate.COUNTER.name]
    add, own = described.method("Add"), sample_restate.COUNTER.method("Add")
    assert add.request is not own.request
    assert add.request(name="a", amount=2).SerializeToString() == own.request(name="a", amount=2).SerializeToString()


def test_generated_modules_stay_what_handlers_find() -> None:
    describe(unpack(pack(SERVICES)))
    assert find_service(sample_restate.COUNTER.name) is sample_restate.COUNTER


def large(messages: int) -> descriptor_pb2.FileDescriptorSet:
    """A contract with names that do not compress."""
    chance = random.Random(4)
    file = descriptor_pb2.FileDescriptorProto(name="large.proto", package="large", syntax="proto3")
    for number in range(messages):
        message = file.message_type.add(name=f"M{number}X{chance.getrandbits(256):x}")
        message.field.add(name=f"f{chance.getrandbits(256):x}", number=1, label=1, type=9)
    service = file.service.add(name="Service")
    service.options.MergeFromString(b"\x90\x82\x19\x00")  # dev.restate.ext.service_type = UNKEYED
    for number in range(messages):
        name = f".large.{file.message_type[number].name}"
        service.method.add(name=f"Method{number}", input_type=name, output_type=name)
    return descriptor_pb2.FileDescriptorSet(file=[file])


def test_large_contracts() -> None:
    text = pack(describe(large(1500)).values())
    assert len(text) > 100_000
    service = describe(unpack(text))["large.Service"]
    assert service.kind is ServiceKind.UNKEYED
    assert len(service.methods) == 1500


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no descriptors"),
        ("{}", "is no descriptors"),
        ("2:AAAA", "of version 2, this runtime reads version 1"),
        ("1:!!", "cannot be read"),
        ("1:", "their end is missing"),
        ("1:AAAA", "cannot be read"),
        (pack(SERVICES)[:402], "their end is missing"),
    ],
)
def test_what_is_no_descriptors(text: str, problem: str) -> None:
    with pytest.raises(DescriptorSetError, match=problem):
        unpack(text)


def test_files_that_do_not_fit_together() -> None:
    files = unpack(pack([sample_restate.COUNTER]))
    del files.file[0]
    with pytest.raises(DescriptorSetError, match="do not fit together"):
        describe(files)


def test_an_annotation_that_its_field_cannot_have() -> None:
    files = unpack(pack([events_restate.FEED]))
    page = next(message for file in files.file for message in file.message_type if message.name == "Page")
    page.field[1].type = page.field[1].TYPE_INT32
    with pytest.raises(DescriptorSetError, match=r"sample\.v1\.Page\.text: a field of its type cannot be EVENT_PAYLOAD"):
        describe(files)


def test_a_keyed_service_without_a_key() -> None:
    files = large(1)
    files.file[0].service[0].options.MergeFromString(b"\x90\x82\x19\x01")
    with pytest.raises(DescriptorSetError, match=r"large.Service/Method0: its input large.M0X\w+ has no KEY field"):
        describe(files)
