"""Contracts from files, for services whose endpoints send none along: `serve --descriptors FILE`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, RuntimeFault, TerminalError
from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from ..durability.harness import fast_retry
from .conftest import Endpoint


def starting(data_dir: Path, **options: Any) -> Any:
    return Started(bare_app().registry, load_options({"data_dir": data_dir, **fast_retry, **options}, environ={}))


@pytest.fixture
async def runtime(tmp_path: Path, descriptors: Path) -> AsyncIterator[Any]:
    endpoint = Endpoint(tmp_path / "log", program="contract_endpoint.py")
    endpoint.start()
    try:
        await endpoint.ready()
        async with starting(tmp_path / "data", descriptors=[descriptors], ingress="127.0.0.1:0") as runtime:
            await runtime.register_deployment(endpoint.url)
            yield runtime
    finally:
        endpoint.kill()


async def test_clients_of_the_contract_call_handlers_of_json(runtime: Any) -> None:
    counter = CounterClient(runtime)
    assert (await counter.add(AddRequest(name="a", amount=2))).value == 2
    assert (await counter.add(AddRequest(name="a", amount=3))).value == 5
    assert (await counter.add(AddRequest(name="b", amount=1))).value == 1
    handle = counter.add.in_background(AddRequest(name="a", amount=1))
    assert (await runtime.invocation(await handle.invocation_id()).result()).value == 6


async def test_the_ingress_takes_json_and_protobuf_and_the_key_from_the_message(runtime: Any) -> None:
    async with aiohttp.ClientSession(runtime.ingress_url) as session:
        async with session.post("/sample.v1.Counter/Add", json={"name": "a", "amount": "2"}) as response:
            assert (response.status, await response.json()) == (200, {"value": "2"})
        headers = {"content-type": "application/proto"}
        body = AddRequest(name="a", amount=3).SerializeToString()
        async with session.post("/sample.v1.Counter/Add", data=body, headers=headers) as response:
            assert Number.FromString(await response.read()).value == 5
        async with session.post("/sample.v1.Counter/Add", json={"amount": "2"}) as response:
            assert (response.status, (await response.json())["code"]) == (400, "invalid_argument")
        async with session.post("/sample.v1.Echo/Call", json={"text": "hello"}) as response:
            assert await response.json() == {"text": "hello"}


async def test_handlers_of_protobuf_get_what_was_sent(runtime: Any) -> None:
    assert await EchoClient(runtime).call(Text(text="hello")) == Text(text="hello")


async def test_a_response_that_is_not_the_contracts(runtime: Any) -> None:
    with pytest.raises(TerminalError, match=r"the response does not fit the contract: .*valeu") as caught:
        await CounterClient(runtime).get(CounterKey(name="a"))
    assert caught.value.code is Code.INTERNAL


async def test_a_handler_beside_the_contract_takes_bytes(runtime: Any) -> None:
    assert await runtime.method("sample.v1.Counter/Beside", key="k")(b'"text"') == b'"TEXT"'


async def test_a_contract_of_another_kind(tmp_path: Path, descriptors: Path) -> None:
    endpoint = Endpoint(tmp_path / "log", program="contract_endpoint.py", http1=True)
    endpoint.start()
    try:
        await endpoint.ready()
        async with starting(tmp_path / "data", descriptors=[descriptors]) as runtime:
            with pytest.raises(RuntimeFault, match=r"sample\.v1\.Ledger is a SERVICE, its contract says SINGLETON") as caught:
                await runtime.register_deployment(endpoint.url)
            assert caught.value.code == "RT0603"
    finally:
        endpoint.kill()


@pytest.mark.parametrize("content", [None, b"\xff\xff", b""], ids=["gone", "something else", "empty"])
async def test_a_file_that_is_none_is_told_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "set.binpb"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RuntimeFault, match=r"--descriptors: .*set\.binpb") as caught:
        async with starting(tmp_path / "data", descriptors=[file]):
            pass
    assert caught.value.code == "RT0003"
