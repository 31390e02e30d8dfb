"""The shipped contracts are Restate's to the byte, and their modules are what they give."""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from dev.restate import events_pb2, ext_pb2, options_pb2, services_pb2
from protoc_gen_restate.shipped import SHIPPED, digest

from .conftest import CASES, INCLUDE, ROOT, findings, protoc

PUBLISHED = {
    "dev/restate/ext.proto": (444, "37e902f4434d51c231ca5754e6c845d0fd3596e68f5659554b93530a244d00ec"),
    "dev/restate/events.proto": (346, "5702300b52293128ed2ec6970fcbce63b0b04060996ae41b0387af4a4a3f9140"),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """What protoc makes of the shipped contracts, without source info."""
    out = tmp_path_factory.mktemp("descriptors")
    done = protoc(out, f"-o{out}/set.bin", *SHIPPED, includes=(INCLUDE,))
    assert done.returncode == 0, done.stderr
    files = descriptor_pb2.FileDescriptorSet.FromString((out / "set.bin").read_bytes()).file
    return {file.name: file for file in files}


@pytest.mark.parametrize("name", PUBLISHED)
def test_annotations_are_those_that_restate_published(name: str, compiled: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    text = compiled[name].SerializeToString(deterministic=True)
    assert (len(text), hashlib.sha256(text).hexdigest()) == PUBLISHED[name]


def test_shipped_files_are_known_by_their_content(compiled: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    assert {name: digest(file) for name, file in compiled.items()} == SHIPPED


def test_shipped_modules_hold_the_same_descriptors(compiled: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    for module in (ext_pb2, events_pb2, options_pb2, services_pb2):
        shipped = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        # protoc leaves names out of its modules that follow from others.
        assert without_json_names(shipped) == without_json_names(compiled[shipped.name])


def without_json_names(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    bare = descriptor_pb2.FileDescriptorProto()
    bare.CopyFrom(file)
    fields = [field for message in bare.message_type for nested in (message, *message.nested_type) for field in nested.field]
    for field in [*fields, *bare.extension]:
        field.ClearField("json_name")
    return bare


def test_shipped_modules_load_on_the_oldest_supported_protobuf() -> None:
    modules = sorted((ROOT / "generated" / "dev").rglob("*_pb2.py"))
    assert len(modules) == len(SHIPPED)
    for module in modules:
        assert "# Protobuf Python Version: 6.30." in module.read_text(), module


def test_dev_is_a_namespace_package() -> None:
    assert not list((ROOT / "generated" / "dev").rglob("__init__.py"))
    found = PathFinder.find_spec("dev", [str(ROOT / "generated"), *sys.path])
    assert found is not None
    assert found.origin is None


def test_the_invoke_request_has_restates_wire_and_json_names() -> None:
    fields = {field.name: (field.number, field.json_name) for field in services_pb2.InvokeRequest.DESCRIPTOR.fields}
    assert fields == {"service": (1, "service"), "method": (2, "method"), "pb": (3, "pb"), "json": (4, "argument")}
    assert [oneof.name for oneof in services_pb2.InvokeRequest.DESCRIPTOR.oneofs] == ["body"]


def test_a_checkout_has_the_contracts_where_the_plugin_looks() -> None:
    for name in SHIPPED:
        assert (INCLUDE / Path(name)).is_file()


@pytest.mark.parametrize("case", ["options", "go_annotations", "error_options"])
def test_options_are_read_alike_by_protobuf_in_pure_python(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    folder = CASES / case
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.proto")]
    done = protoc(tmp_path, *names, includes=(folder, INCLUDE))
    if case.startswith("error_"):
        assert findings(done.stderr) == (folder / "errors.txt").read_text()
        return
    assert done.returncode == 0, done.stderr
    for module in tmp_path.rglob("*.py"):
        assert module.read_text() == (folder / "expected" / module.relative_to(tmp_path)).read_text()


def test_a_changed_number_is_no_option_of_ours(tmp_path: Path) -> None:
    changed = tmp_path / "dev" / "restate" / "options.proto"
    changed.parent.mkdir(parents=True)
    changed.write_text((INCLUDE / "dev" / "restate" / "options.proto").read_text().replace("bool shared = 51240", "bool shared = 51299"))
    done = protoc(tmp_path, "sample/v1/cart.proto", includes=(tmp_path, INCLUDE))
    assert "dev.restate.options.shared has the number 51299 here, and 51240 in Restate's file [RST006]" in done.stderr
