"""Contracts of services at endpoints: sent along in discovery, or given by an operator as `--descriptors`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.json_format import MessageToJson
from sample.v1 import sample_restate
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, LedgerClient

from dev.restate import wire_pb2 as wire
from restate_runtime import Code, RuntimeFault, TerminalError, connect
from restate_runtime.app import bare_app
from restate_runtime.descriptor_set import METADATA, describe, pack
from restate_runtime.engine.remote.frames import MessageType

from ..crash.server import Server
from .conftest import OPTIONS
from .hostile import Hostile, frames, hostile

T = MessageType
ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}


def done(body: bytes = b"") -> list[bytes]:
    return [frames((T.OUTPUT, wire.OutputCommand(value=wire.Value(content=body))), (T.END, wire.End()))]


def contract(folder: Path, *files: str) -> Path:
    """What protoc writes."""
    path = folder / "contract.binpb"
    arguments = [f"-I{ROOT / 'protos'}", "--include_imports", f"--descriptor_set_out={path}", *files]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    return path


def service(name: str, ty: str, *handlers: str, metadata: str | None = None) -> dict[str, Any]:
    row = {"name": name, "ty": ty, "handlers": [{"name": handler} for handler in handlers]}
    return row if metadata is None else row | {"metadata": {METADATA: metadata}}


@asynccontextmanager
async def foreign() -> AsyncIterator[Hostile]:
    """Proto services by somebody who knows nothing of this project; one has more than the contract, one has less."""
    answers = {"Add": done(Number(value=7).SerializeToString()), "Append": done(), "Extra": done(b"extra")}
    async with hostile(answers) as endpoint:
        endpoint.manifest["services"] = [
            service("sample.v1.Ledger", "VIRTUAL_OBJECT", "Append"),
            service("sample.v1.Counter", "VIRTUAL_OBJECT", "Add", "Extra"),
        ]
        yield endpoint


async def post(url: str, body: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=JSON) as response:
        return response.status, json.loads(await response.text())


def started(tmp_path: Path, **options: Any) -> Any:
    return bare_app().start(data_dir=tmp_path / "data", ingress="127.0.0.1:0", **OPTIONS, **options)


async def everybody_calls(runtime: Any) -> None:
    """With keys that are taken out of requests, and JSON."""
    add = AddRequest(name="k", amount=2)
    async with connect(runtime.ingress_url) as connection:
        for caller in (runtime, connection):
            assert (await CounterClient(caller).add(add)).value == 7
            await LedgerClient(caller).append(Text(text="a"))
            assert await caller.method("sample.v1.Counter/Extra", key="k")(b"") == b"extra"
    assert await post(f"{runtime.ingress_url}/sample.v1.Counter/Add", MessageToJson(add)) == (200, {"value": "7"})
    assert (await post(f"{runtime.ingress_url}/sample.v1.Ledger/Append", '{"text": "a"}'))[0] == 200
    status, error = await post(f"{runtime.ingress_url}/sample.v1.Counter/Add", '{"amount": "x"}')
    assert (status, error["code"]) == (400, "invalid_argument")
    status, error = await post(f"{runtime.ingress_url}/sample.v1.Counter/Get", '{"name": "k"}')
    assert (status, error["code"]) == (404, "not_found")


def keys(endpoint: Hostile, handler: str) -> set[str]:
    return {sent[0].message.key for sent in endpoint.attempts[handler]}  # type: ignore[attr-defined]


async def test_a_contract_from_a_file(tmp_path: Path) -> None:
    file = contract(tmp_path, "sample/v1/sample.proto")
    async with foreign() as endpoint:
        async with started(tmp_path, descriptors=[str(file)]) as runtime:
            await runtime.register_deployment(endpoint.url, http1=True)
            await everybody_calls(runtime)
            assert {row["name"]: row["ty"] for row in runtime.inspector.services()}["sample.v1.Ledger"] == "singleton"
        file.unlink()
        async with started(tmp_path) as runtime:  # it is kept with the deployment, whatever is said at the next start
            await everybody_calls(runtime)
            assert not (await runtime.register_deployment(endpoint.url, http1=True, force=True))["created"]
            await everybody_calls(runtime)
        assert keys(endpoint, "Add") == keys(endpoint, "Extra") == {"k"}
        assert keys(endpoint, "Append") == {"_"}


async def test_without_it_only_names_are_known(tmp_path: Path) -> None:
    async with foreign() as endpoint, started(tmp_path) as runtime:
        await runtime.register_deployment(endpoint.url, http1=True)
        assert (await post(f"{runtime.ingress_url}/sample.v1.Counter/Add", '{"name": "k"}'))[0] == 400
        assert Number.FromString(await runtime.method("sample.v1.Counter/Add", key="k")(b"")).value == 7


async def test_a_contract_that_comes_later(tmp_path: Path) -> None:
    """Registering again with --force takes it up."""
    async with foreign() as endpoint:
        async with started(tmp_path) as runtime:
            await runtime.register_deployment(endpoint.url, http1=True)
        async with started(tmp_path, descriptors=[str(contract(tmp_path, "sample/v1/sample.proto"))]) as runtime:
            with pytest.raises(TerminalError) as raised:
                await runtime.register_deployment(endpoint.url, http1=True)
            assert raised.value.code is Code.ALREADY_EXISTS
            await runtime.register_deployment(endpoint.url, http1=True, force=True)
            await everybody_calls(runtime)


async def test_a_contract_of_something_else(tmp_path: Path) -> None:
    file = contract(tmp_path, "sample/v1/sample.proto")
    async with hostile({"Add": done()}) as endpoint, started(tmp_path, descriptors=[str(file)]) as runtime:
        endpoint.manifest["services"] = [service("sample.v1.Counter", "SERVICE", "Add")]
        with pytest.raises(RuntimeFault, match=r"sample.v1.Counter is a SERVICE, its contract says KEYED") as raised:
            await runtime.register_deployment(endpoint.url, http1=True)
        assert raised.value.code == "RT0603"


@pytest.mark.parametrize(("content", "text"), [(None, "cannot be read"), (b"\xff\xff", "no set of descriptors"), (b"", "no annotated")])
async def test_files_that_are_none(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "contract.binpb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeFault, match=text) as raised:
        async with started(tmp_path, descriptors=[str(path)]):
            pass
    assert raised.value.code == "RT0003"


async def test_as_an_option_of_serve(tmp_path: Path) -> None:
    file = contract(tmp_path, "sample/v1/sample.proto")
    async with foreign() as endpoint:
        arguments = ("--deployment", endpoint.url, "--descriptors", str(file))
        async with Server(None, tmp_path, tmp_path / "data", {}, *arguments) as server:
            assert await post(f"{server.ingress}/sample.v1.Counter/Add", '{"name": "k", "amount": 1}') == (200, {"value": "7"})
            assert await server.stop() == 0


def large(methods: int) -> str:
    """Descriptors of names that do not compress."""
    chance = random.Random(4)
    file = descriptor_pb2.FileDescriptorProto(name="large.proto", package="large", syntax="proto3")
    service = file.service.add(name="Service")
    service.options.MergeFromString(b"\x90\x82\x19\x00")  # dev.restate.ext.service_type = UNKEYED
    for number in range(methods):
        message = file.message_type.add(name=f"M{number}X{chance.getrandbits(256):x}")
        message.field.add(name=f"f{chance.getrandbits(256):x}", number=1, label=1, type=9, json_name="text")
        name = f".large.{message.name}"
        service.method.add(name=f"Method{number}", input_type=name, output_type=name)
    return pack(describe(descriptor_pb2.FileDescriptorSet(file=[file])).values())


async def test_a_large_contract_that_is_sent_along(tmp_path: Path) -> None:
    text = large(1200)
    assert len(text) > 100_000
    names = [f"Method{number}" for number in range(1200)]
    async with hostile(dict.fromkeys(names, done(b"\n\x01a"))) as endpoint:
        endpoint.manifest["services"] = [service("large.Service", "SERVICE", *names, metadata=text)]
        async with started(tmp_path) as runtime:
            await runtime.register_deployment(endpoint.url, http1=True)
            assert await post(f"{runtime.ingress_url}/large.Service/Method1199", '{"text": "b"}') == (200, {"text": "a"})
        async with started(tmp_path) as runtime:
            assert await post(f"{runtime.ingress_url}/large.Service/Method7", '{"text": "b"}') == (200, {"text": "a"})
            assert endpoint.attempts["Method7"][0][1].message.value.content == b"\n\x01b"  # type: ignore[attr-defined]


COUNTER = pack([sample_restate.COUNTER])
HANDLERS = tuple(method.name for method in sample_restate.COUNTER.methods)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: "2:" + text[2:], "are of version 2, this runtime reads version 1: use a newer one"),
        (lambda text: text[:100], "cannot be read"),
        (lambda text: "1:" + "A" * 100, "cannot be read"),
        (lambda _: "nonsense", "is no descriptors"),
        (lambda _: "", "is no descriptors"),
        (lambda _: pack([sample_restate.LEDGER]), "does not have the handlers of its contract"),
    ],
)
async def test_descriptors_that_cannot_be_read(tmp_path: Path, change: Callable[[str], str], text: str) -> None:
    """The registration is refused, names endpoint and service, and changes nothing."""
    async with hostile(dict.fromkeys(HANDLERS, done())) as endpoint, started(tmp_path) as runtime:
        endpoint.manifest["services"] = [service("sample.v1.Counter", "VIRTUAL_OBJECT", *HANDLERS[:-1], metadata=change(COUNTER))]
        with pytest.raises(RuntimeFault, match=text) as raised:
            await runtime.register_deployment(endpoint.url, http1=True)
        assert raised.value.code == "RT0603"
        assert endpoint.url in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
        assert runtime.inspector.deployments() == []
