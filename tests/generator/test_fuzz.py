"""Random legal descriptors with hostile names and comments: every output imports. Damaged requests: always a clean error."""

from __future__ import annotations

import contextlib
import io
import keyword
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.compiler import plugin_pb2
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dev.restate import ext_pb2
from protoc_gen_restate.plugin import respond

REQUEST = (Path(__file__).with_name("requests") / "protoc-30.0.bin").read_bytes()
STEADY = settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

WORDS = [
    *keyword.kwlist, *keyword.softkwlist, "self", "cls", "ctx", "request", "restate", "abc", "typing", "Final", "property", "type", "list",
    "print", "object", "Exception", "builtins", "annotations", "importlib", "google", "dev", "datetime", "timedelta", "DESCRIPTOR",
    "Service", "Client", "Method", "Empty", "_file", "__init__", "__class__", "__slots__", "__all__", "__name__", "_", "__",
    "_1", "a__b", "A", "URL", "x1Y2", "GetURL2", "base", "state", "Base", "send", "delayed",
    "descriptor_pool", "empty_pb2", "fuzz_pb2", "fuzz", "restate_runtime",
]  # fmt: skip
NAMES = st.one_of(st.sampled_from(WORDS), st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,12}\Z"))
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
    file = descriptor_pb2.FileDescriptorProto(name="fuzz.proto", syntax="proto3", dependency=["dev/restate/ext.proto"])
    file.package = ".".join(draw(st.lists(st.sampled_from(["fuzz", "v1", "shop", "class", "Cap"]), max_size=2)))
    messages = distinct(draw(st.lists(NAMES, min_size=1, max_size=5)))
    services = [name for name in distinct(draw(st.lists(NAMES, min_size=1, max_size=3))) if name not in messages]
    for name in messages:
        message = file.message_type.add(name=name)
        key = message.field.add(name=draw(NAMES), number=1, type=9, label=1)
        key.options.Extensions[ext_pb2.field] = ext_pb2.KEY
        if draw(st.booleans()):
            message.nested_type.add(name=draw(NAMES.filter(lambda nested, key=key: nested != key.name)))
    prefix = f".{file.package}" if file.package else ""
    for number, name in enumerate(services):
        service = file.service.add(name=name)
        service.options.Extensions[ext_pb2.service_type] = draw(st.sampled_from([ext_pb2.UNKEYED, ext_pb2.KEYED, ext_pb2.SINGLETON]))
        service.options.deprecated = draw(st.booleans())
        place = file.source_code_info.location.add(path=[6, number], span=[1, 0, 1])
        place.leading_comments = draw(COMMENTS)
        for index, rpc in enumerate(distinct(draw(st.lists(NAMES, min_size=1, max_size=4)))):
            method = service.method.add(name=rpc)
            method.input_type = f"{prefix}.{draw(st.sampled_from(messages))}"
            method.output_type = f"{prefix}.{draw(st.sampled_from(messages))}"
            method.options.deprecated = draw(st.booleans())
            place = file.source_code_info.location.add(path=[6, number, 2, index], span=[1, 0, 1])
            place.trailing_comments = draw(COMMENTS)
    return file


def request_for(file: descriptor_pb2.FileDescriptorProto) -> plugin_pb2.CodeGeneratorRequest:
    request = plugin_pb2.CodeGeneratorRequest(file_to_generate=[file.name], parameter="lint=off")
    for module in (descriptor_pb2, ext_pb2):
        module.DESCRIPTOR.CopyToProto(request.proto_file.add())
    request.proto_file.add().CopyFrom(file)
    return request


def is_legal(file: descriptor_pb2.FileDescriptorProto) -> bool:
    pool = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, ext_pb2):
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
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from dev.restate import ext_pb2
import pathlib
folder = pathlib.Path(sys.argv[1])
for case in sorted(folder.iterdir()):
    pool = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, ext_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile((case / "file.bin").read_bytes())
    file = pool.FindFileByName("fuzz.proto")
    messages = types.ModuleType("fuzz_pb2")
    messages.DESCRIPTOR = file
    for name, message in file.message_types_by_name.items():
        vars(messages)[name] = message_factory.GetMessageClass(message)  # as protoc's own modules do
    descriptor_pool.Default = lambda: pool
    sys.modules["fuzz_pb2"] = messages
    text = (case / "fuzz_restate.py").read_text("utf-8")
    module = types.ModuleType("fuzz_restate")
    exec(compile(text, str(case), "exec", dont_inherit=True), vars(module))
    assert all(hasattr(module, name) for name in module.__all__), case
print("ok")
"""


@pytest.mark.timeout(120)
def test_whatever_a_contract_is_called_its_module_imports(tmp_path: Path) -> None:
    seen: list[str] = []

    @seed(20261124)
    @STEADY
    @given(files())
    def generate(file: descriptor_pb2.FileDescriptorProto) -> None:
        if not file.service or not is_legal(file):
            return
        answer = plugin_pb2.CodeGeneratorResponse.FromString(respond(request_for(file).SerializeToString()))
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
    assert len(seen) > 25
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTER, tmp_path], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr[-3000:]


@seed(20261124)
@settings(parent=STEADY, max_examples=300)
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
