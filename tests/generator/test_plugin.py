"""The plugin as protoc sees it: what it declares, and what damaged requests give."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.compiler import plugin_pb2

from protoc_gen_restate.compiled import schema
from protoc_gen_restate.plugin import respond

REQUEST = Path(__file__).with_name("requests").joinpath("protoc-30.0.bin").read_bytes()


def answer(data: bytes) -> plugin_pb2.CodeGeneratorResponse:
    return plugin_pb2.CodeGeneratorResponse.FromString(respond(data))


def changed(**fields: object) -> plugin_pb2.CodeGeneratorRequest:
    request = plugin_pb2.CodeGeneratorRequest.FromString(REQUEST)
    request.MergeFrom(plugin_pb2.CodeGeneratorRequest(**fields))  # type: ignore[arg-type]
    return request


def test_features_and_editions_are_declared() -> None:
    response = answer(REQUEST)
    assert response.supported_features == 3
    assert response.minimum_edition == descriptor_pb2.EDITION_PROTO2
    assert response.maximum_edition == descriptor_pb2.EDITION_2024


def test_the_same_request_gives_the_same_bytes() -> None:
    assert respond(REQUEST) == respond(REQUEST)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 100, REQUEST[:-7], REQUEST[: len(REQUEST) // 2]])
def test_what_is_not_a_request_gives_a_clear_error(data: bytes) -> None:
    response = answer(data)
    assert response.error.endswith("[RST001]")
    assert not response.file


def test_a_file_that_was_not_sent_gives_a_clear_error() -> None:
    assert answer(changed(file_to_generate=["other.proto"]).SerializeToString()).error.endswith("[RST001]")


def test_a_missing_dependency_gives_a_clear_error() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(REQUEST)
    del request.proto_file[0]
    response = answer(request.SerializeToString())
    assert "cannot load this file" in response.error
    assert response.error.endswith("[RST002]")


def test_without_source_info_everything_but_comments_is_there() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(REQUEST)
    for file in request.proto_file:
        file.ClearField("source_code_info")
    response = answer(request.SerializeToString())
    assert not response.error
    assert "class StockBase" in response.file[0].content
    assert "Keeps stock" not in response.file[0].content


def test_damaged_requests_never_end_in_a_fault_of_the_plugin() -> None:
    dice = random.Random(20)
    outcomes = set()
    for _ in range(400):
        data = bytearray(REQUEST)
        for _ in range(dice.choice([1, 1, 2, 8])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        response = answer(bytes(data))
        assert "RST005" not in response.error, response.error
        assert not (response.error and response.file)
        outcomes.add(response.error[-8:] if response.error else "code")
    assert {"code", "[RST001]", "[RST002]"} <= outcomes


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("emtpy=keep", "--restate_opt: unknown option 'emtpy'; did you mean 'empty'? [RST004]"),
        ("empty", "--restate_opt: option 'empty' is 'omit' or 'keep', not '' [RST004]"),
        ("empty=keep,empty=omit", "--restate_opt: option 'empty' is given twice [RST004]"),
    ],
)
def test_faulty_options_are_named(parameter: str, message: str) -> None:
    assert answer(changed(parameter=parameter).SerializeToString()).error == message


def test_comments_in_another_encoding_do_no_harm() -> None:
    response = answer(REQUEST.replace(b"Keeps stock", b"K\xe9\xe9ps stock"))
    assert not response.file or "K\ufffd\ufffdps stock" in response.file[0].content
    assert bool(response.file) != response.error.endswith("[RST007]")


@pytest.mark.parametrize("name", [b"services/shop.proto", b"dev/restate/ext.proto", b"google/protobuf/descriptor.proto"])
def test_names_of_files_in_another_encoding_give_a_clear_error(name: bytes) -> None:
    assert name in REQUEST
    response = answer(REQUEST.replace(name, b"\xe9" + name[1:]))
    assert response.error.endswith("[RST007]")


@pytest.mark.parametrize(
    "module",
    [
        "argparse",
        "dataclasses",
        "google.protobuf.descriptor_pb2",
        "google.protobuf.text_format",
        "importlib.metadata",
        "jinja2",
        "pluggy",
    ],
)
def test_a_run_loads_nothing_that_it_does_not_need(module: str) -> None:
    program = (
        "import sys, protoc_gen_restate.__main__\n"
        "from protoc_gen_restate.plugin import respond\n"
        "assert b'Base(' in respond(sys.stdin.buffer.read())\n"
        "sys.exit(sys.argv[1] in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, module], input=REQUEST).returncode == 0


def test_the_schema_is_that_of_the_installed_protobuf() -> None:
    """As far as both know it: that one may be older or newer."""
    pool = descriptor_pool.DescriptorPool()
    for copy, installed in ((schema.DESCRIPTOR, descriptor_pb2.DESCRIPTOR), (schema.PLUGIN, plugin_pb2.DESCRIPTOR)):
        ours, theirs = messages(pool.AddSerializedFile(copy)), messages(installed)
        assert len(ours.keys() & theirs.keys()) > 3
        for name in ours.keys() & theirs.keys():
            common = ours[name].keys() & theirs[name].keys()
            assert common, name
            assert {field: ours[name][field] for field in common} == {field: theirs[name][field] for field in common}


def messages(file: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """Numbers and types of fields, by messages."""

    def of(owner: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
        for message in owner.values():
            yield message.full_name, {item.name: (item.number, item.type) for item in message.fields}
            yield from of(message.nested_types_by_name)

    return {name: fields for name, fields in of(file.message_types_by_name) if fields}


@pytest.mark.parametrize("file", sorted(Path(__file__).with_name("requests").glob("*.bin")), ids=lambda path: path.stem)
def test_protobuf_in_pure_python_gives_the_same_answer(file: Path) -> None:
    answers = [
        subprocess.run(
            [sys.executable, "-m", "protoc_gen_restate"],
            input=file.read_bytes(),
            capture_output=True,
            check=True,
            env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation},
        ).stdout
        for implementation in ("upb", "python")
    ]
    assert answers[0] == answers[1]
