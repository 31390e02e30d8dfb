"""Random legal descriptors with hostile names and comments: every output imports. Damaged requests: always a clean error.

The examples are always the same, so that a run says something about the code. RESTATE_TEST_FUZZ=2000 makes it that many others.
"""

from __future__ import annotations

import contextlib
import io
import keyword
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, empty_pb2
from google.protobuf.compiler import plugin_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.restate import ext_pb2, options_pb2
from protoc_gen_restate.plugin import respond

from .conftest import ruff

REQUEST = (Path(__file__).with_name("requests") / "protoc-30.0.bin").read_bytes()
MORE = int(os.environ.get("RESTATE_TEST_FUZZ", "0"))
STEADY = settings(
    max_examples=MORE or 60, deadline=None, derandomize=not MORE, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)

WORDS = [
    *keyword.kwlist, *keyword.softkwlist, "self", "cls", "ctx", "request", "restate", "abc", "typing", "Final", "property", "type", "list",
    "print", "object", "Exception", "builtins", "annotations", "importlib", "google", "dev", "datetime", "timedelta", "DESCRIPTOR",
    "Service", "Client", "Method", "Empty", "_file", "__init__", "__class__", "__slots__", "__all__", "__name__", "_", "__",
    "_1", "a__b", "A", "URL", "x1Y2", "GetURL2", "base", "state", "State", "Base", "send", "delayed", "TypeChecking", "Shared", "Sync",
    "getattr", "vars", "message_factory", "__dict__", "__doc__", "__module__", "K_FIELD_NUMBER", "mro", "str", "bytes", "Context",
    "descriptor_pool", "empty_pb2", "fuzz_pb2", "fuzz", "restate_runtime",
]  # fmt: skip
USED = (descriptor_pb2, ext_pb2, duration_pb2, empty_pb2, options_pb2)
NAMES = st.one_of(st.sampled_from(WORDS), st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,12}\Z"))
STATES = NAMES.filter(lambda name: name[0] != "_")
PIECES = ['"', '"""', "\\", "'", "\n", "\r\n", "\t", "{{", "{%", "\u202e", "\0", "#", " ", "* "]
COMMENTS = st.lists(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(PIECES)), max_size=30).map("".join)


def distinct(names: list[str]) -> list[str]:
    """Names that are one in Python are an error of the contract's, which other tests show."""
    kept: dict[str, str] = {}
    for name in names:
        kept.setdefault(re.sub(r"[^a-z0-9]", "", name.lower()), name)
    return list(kept.values())


@st.composite
def files(draw: st.DrawFn) -> descriptor_pb2.FileDescriptorProto:
    """A legal file with services."""
    file = descriptor_pb2.FileDescriptorProto(name="fuzz.proto", syntax="proto3", dependency=[used.DESCRIPTOR.name for used in USED[1:]])
    file.options.deprecated = draw(st.integers(0, 9)) == 0
    file.source_code_info.location.add(path=[2], span=[0, 0, 1], leading_comments=draw(COMMENTS), trailing_comments=draw(COMMENTS))
    file.package = ".".join(draw(st.lists(st.sampled_from(["fuzz", "v1", "shop", "class", "Cap"]), max_size=2)))
    messages = distinct(draw(st.lists(NAMES, min_size=1, max_size=5)))
    services = [name for name in distinct(draw(st.lists(NAMES, min_size=1, max_size=3))) if name not in messages]
    for name in messages:
        message = file.message_type.add(name=name)
        key = message.field.add(name=draw(NAMES), number=1, type=9, label=1)
        key.options.Extensions[ext_pb2.field] = ext_pb2.KEY
        message.options.deprecated = draw(st.integers(0, 9)) == 0
        for name_of_nested in distinct(draw(st.lists(NAMES.filter(lambda nested, key=key: nested != key.name), max_size=2))):
            nested = message.nested_type.add(name=name_of_nested)
            nested.field.add(name="k", number=1, type=9, label=1).options.Extensions[ext_pb2.field] = ext_pb2.KEY
            nested.nested_type.add(name=draw(NAMES.filter(lambda inner: inner != "k")))
    prefix = f".{file.package}" if file.package else ""
    types = [".google.protobuf.Empty", *full_names(prefix, file.message_type)]
    for number, name in enumerate(services):
        service = file.service.add(name=name)
        kind = draw(st.sampled_from([ext_pb2.UNKEYED, ext_pb2.KEYED, ext_pb2.SINGLETON]))
        service.options.Extensions[ext_pb2.service_type] = kind
        service.options.deprecated = draw(st.booleans())
        for state in distinct(draw(st.lists(STATES, max_size=0 if kind == ext_pb2.UNKEYED else 2))):
            type_ = draw(st.sampled_from(["string", "int64", "double", "bool", "bytes", *(name.lstrip(".") for name in types)]))
            service.options.Extensions[options_pb2.state].add(name=state, type=type_)
        place = file.source_code_info.location.add(path=[6, number], span=[1, 0, 1])
        place.leading_comments = draw(COMMENTS)
        for index, rpc in enumerate(distinct(draw(st.lists(NAMES, min_size=1, max_size=4)))):
            method = service.method.add(name=rpc)
            method.input_type = draw(st.sampled_from(types[1 if kind == ext_pb2.KEYED else 0 :]))
            method.output_type = draw(st.sampled_from(types))
            method.options.deprecated = draw(st.booleans())
            if kind != ext_pb2.UNKEYED and draw(st.booleans()):
                method.options.Extensions[options_pb2.shared] = True
            place = file.source_code_info.location.add(path=[6, number, 2, index], span=[1, 0, 1])
            place.trailing_comments = draw(COMMENTS)
    return file


def full_names(prefix: str, messages: Iterable[descriptor_pb2.DescriptorProto]) -> list[str]:
    found = [(f"{prefix}.{message.name}", message) for message in messages]
    return [inner for name, message in found for inner in (name, *full_names(name, message.nested_type))]


def request_for(file: descriptor_pb2.FileDescriptorProto, parameter: str) -> plugin_pb2.CodeGeneratorRequest:
    request = plugin_pb2.CodeGeneratorRequest(file_to_generate=[file.name], parameter=parameter)
    for module in USED:
        module.DESCRIPTOR.CopyToProto(request.proto_file.add())
    request.proto_file.add().CopyFrom(file)
    return request


def is_legal(file: descriptor_pb2.FileDescriptorProto) -> bool:
    pool = descriptor_pool.DescriptorPool()
    for module in USED:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    bare = descriptor_pb2.FileDescriptorProto()
    bare.CopyFrom(file)
    bare.ClearField("source_code_info")
    try:
        pool.AddSerializedFile(bare.SerializeToString())
        pool.FindFileByName(file.name)
    except Exception:  # two things of one name
        return False
    return True


# Imports each module in turn, with messages made from its descriptors instead of protoc's module.
IMPORTER = """
import sys, types
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, empty_pb2
from google.protobuf.internal import builder
from dev.restate import ext_pb2, options_pb2
from restate_runtime import ServiceDescriptor
import pathlib
folder = pathlib.Path(sys.argv[1])
for case in sorted(folder.iterdir()):
    pool = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, ext_pb2, duration_pb2, empty_pb2, options_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile((case / "file.bin").read_bytes())
    file = pool.FindFileByName("fuzz.proto")
    messages = types.ModuleType("fuzz_pb2")
    messages.DESCRIPTOR = file
    builder.BuildMessageAndEnumDescriptors(file, vars(messages))  # as protoc's own modules do
    builder.BuildTopDescriptorsAndMessages(file, "fuzz_pb2", vars(messages))
    descriptor_pool.Default = lambda: pool
    sys.modules["fuzz_pb2"] = messages
    text = (case / "fuzz_restate.py").read_text("utf-8")
    module = types.ModuleType("fuzz_restate")
    exec(compile(text, str(case), "exec", dont_inherit=True), vars(module))
    assert all(hasattr(module, name) for name in module.__all__), case
    services = [value for value in vars(module).values() if isinstance(value, ServiceDescriptor)]
    assert len(services) == len(file.services_by_name), case
    for method in (method for service in services for method in service.methods):
        assert method.request.DESCRIPTOR.full_name == method.descriptor.input_type.full_name, case
        assert method.response.DESCRIPTOR.full_name == method.descriptor.output_type.full_name, case
print("ok")
"""


@pytest.mark.timeout(120 + MORE)
def test_whatever_a_contract_is_called_its_module_imports(tmp_path: Path) -> None:
    seen: list[str] = []

    @STEADY
    @given(files(), st.sampled_from(["lint=off", "lint=off,unimplemented=raise", "lint=off,empty=keep,sync=off"]))
    def generate(file: descriptor_pb2.FileDescriptorProto, parameter: str) -> None:
        if not file.service or not is_legal(file):
            return
        answer = plugin_pb2.CodeGeneratorResponse.FromString(respond(request_for(file, parameter).SerializeToString()))
        assert "RST005" not in answer.error, answer.error
        if answer.error:
            assert re.fullmatch(r"(?s)fuzz\.proto:\d+:\d+: .* \[RST1\d\d\]", answer.error), answer.error
            return
        folder = tmp_path / f"{len(seen):04}"
        folder.mkdir()
        file.ClearField("source_code_info")
        (folder / "file.bin").write_bytes(file.SerializeToString())
        (module,) = answer.file
        (folder / module.name).write_text(module.content, "utf-8", newline="")
        seen.append(module.content)

    generate()
    assert len(seen) > 10
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTER, tmp_path], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr[-3000:]
    modules = sorted(tmp_path.glob("*/*_restate.py"))
    assert ruff("check", "--output-format=concise", *modules) == ""
    assert ruff("format", "--diff", *modules) == ""


@pytest.mark.timeout(60 + MORE)
@settings(parent=STEADY, max_examples=MORE or 300)
@given(st.data())
def test_a_damaged_request_gets_a_clean_error(data: st.DataObject) -> None:
    damaged = bytearray(REQUEST)
    match data.draw(st.sampled_from(["flip", "cut", "insert", "noise"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 8))):
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        case "cut":
            del damaged[data.draw(st.integers(0, len(damaged))) :]
        case "insert":
            place = data.draw(st.integers(0, len(damaged)))
            damaged[place:place] = data.draw(st.binary(max_size=20))
        case _:
            damaged = bytearray(data.draw(st.binary(max_size=200)))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        answer = plugin_pb2.CodeGeneratorResponse.FromString(respond(bytes(damaged)))
    assert printed.getvalue() == ""
    assert not (answer.error and answer.file)
    assert "RST005" not in answer.error, answer.error
    assert "Traceback" not in answer.error
    if answer.error:
        assert re.search(r"\[RST\d{3}\]$", answer.error), answer.error
