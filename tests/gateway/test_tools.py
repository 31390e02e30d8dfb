"""The command `gateway`, and the command line's verbs against it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import VirtualObject
from restate import app as restate_app
from restate.serde import BytesSerde
from sample.v1 import sample_pb2
from sample.v1.sample_restate import CounterClient

from restate_runtime import App, Code, TerminalError, connect
from restate_runtime.cluster.gateway import gateway

from ..cli.conftest import Ran, run
from ..cluster.hosted import Hosted, hosting, serving
from ..contract.server import Server, find_server
from ..ports import free_port
from .conftest import Command, command
from .shop import Boxes, Things, Wall


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


async def ran(tool: Command, *arguments: str | Path) -> Any:
    """What a command prints, as JSON; the services run in this process meanwhile."""
    done = await asyncio.to_thread(tool.run, *arguments, "--json")
    assert done.status == 0, done.err
    return done.json


async def failed(tool: Command, *arguments: str) -> str:
    done: Ran = await asyncio.to_thread(tool.run, *arguments)
    assert done.status == 1, done.out
    return done.err


async def reached(tool: Command, id: str, *statuses: str) -> dict[str, Any]:
    while True:
        row: dict[str, Any] = await ran(tool, "invocations", "describe", id)
        if row["status"] in statuses:
            return row
        await asyncio.sleep(0.05)


@pytest.fixture
async def tool(hosted: Hosted) -> AsyncIterator[Command]:
    with contextlib.ExitStack() as stack:
        started = await asyncio.to_thread(stack.enter_context, command(hosted.server))
        yield started
        await asyncio.to_thread(stack.close)


async def test_a_call_and_what_is_left_of_it(tool: Command, key: str) -> None:
    assert await ran(tool, "call", "sample.v1.Counter/Add", f'{{"name": "{key}", "amount": 3}}') == {"value": "3"}
    id = (await ran(tool, "send", "sample.v1.Counter/Add", f'{{"name": "{key}", "amount": 4}}'))["invocationId"]
    row = await reached(tool, id, "completed")
    assert (row["target"], row["completion_result"], row["waiting_for"]) == (f"sample.v1.Counter/{key}/Add", "success", [])
    assert row["idempotency_key"] is None, "the caller gave none"
    assert [(entry["entry"], entry.get("value")) for entry in row["journal"]] == [
        ("input", {"name": key, "amount": "4"}),
        ("get state 'total'", 3),
        ("set state 'total'", 7),
        ("return", {"value": "7"}),
    ]
    listed = await ran(tool, "invocations", "list", "--service", "sample.v1.Counter", "--key", key, "--status", "completed")
    assert len(listed) == 2
    assert listed[0]["id"] == id
    state = await ran(tool, "state", "get", "sample.v1.Counter", key, "total")
    assert (state["value_json"], state["type"], state["service_key"]) == (7, "json", key)
    new = (await ran(tool, "invocations", "restart", id))["new_id"]
    await reached(tool, new, "completed")
    assert (await ran(tool, "state", "get", "sample.v1.Counter", key, "total"))["value_json"] == 11
    await ran(tool, "invocations", "purge", id)
    while "not_found" not in (await asyncio.to_thread(tool.run, "invocations", "describe", id)).err:
        await asyncio.sleep(0.05)


async def test_an_invocation_that_waits(tool: Command, key: str) -> None:
    id = (await ran(tool, "send", "sample.v1.Counter/Script", f'{{"key": "{key}", "text": "t"}}'))["invocationId"]
    while len(state := await ran(tool, "state", "get", "sample.v1.Counter", key)) < 2:
        await asyncio.sleep(0.05)
    awakeable, request = state
    assert request["value_json"] == {"key": key, "text": "t"}
    assert request["type"] == "sample.v1.KeyedText"
    assert "failed_precondition" in await failed(tool, "invocations", "resume", id)
    assert "failed_precondition" in await failed(tool, "invocations", "purge", id)
    assert "failed_precondition" in await failed(tool, "invocations", "restart", id)
    await ran(tool, "invocations", "pause", id)
    await reached(tool, id, "paused")
    await ran(tool, "invocations", "pause", id)
    await ran(tool, "invocations", "resume", id)
    await ran(tool, "awakeables", "resolve", awakeable["value_json"], '"well"')
    row = await reached(tool, id, "completed")
    assert row["journal"][-1]["entry"] == f"awakeable {awakeable['value_json']}"
    assert row["journal"][-1]["value"] == "well"
    assert await failed(tool, "awakeables", "reject", awakeable["value_json"], "no")


async def test_cancel_and_kill(tool: Command, key: str) -> None:
    for end, failure in (("cancel", "CANCELLED"), ("kill", "ABORTED")):
        id = (await ran(tool, "send", "sample.v1.Counter/Script", f'{{"key": "{key}"}}'))["invocationId"]
        await reached(tool, id, "running", "suspended")
        await ran(tool, "invocations", end, id)
        row = await reached(tool, id, "completed")
        assert row["completion_failure"].partition(":")[0] == failure


@pytest.mark.rule("R36")
async def test_services(tool: Command) -> None:
    rows = {row["name"]: row for row in await ran(tool, "services", "list")}
    assert (rows["sample.v1.Counter"]["ty"], rows["sample.v1.Ledger"]["ty"]) == ("keyed", "singleton")
    await ran(tool, "services", "private", "sample.v1.Echo")
    try:
        assert "permission_denied" in await failed(tool, "call", "sample.v1.Echo/Call")
    finally:
        await ran(tool, "services", "public", "sample.v1.Echo")
    assert await ran(tool, "call", "sample.v1.Echo/Call", '{"text": "a"}') == {"text": "a"}
    assert "unimplemented" in await failed(tool, "services", "reset", "sample.v1.Echo")


async def test_a_singletons_state(tool: Command, key: str) -> None:
    await ran(tool, "call", "sample.v1.Ledger/Append", f'{{"text": "{key}"}}')
    row = await ran(tool, "state", "get", "sample.v1.Ledger", "lines")
    assert row["service_key"] is None
    assert key in row["value_json"]


@contextlib.asynccontextmanager
async def foreign() -> AsyncIterator[str]:
    """An endpoint of Restate's own SDK, which sends no contract along: one handler takes protobuf, the other one JSON."""
    counter = VirtualObject("sample.v1.Counter")

    async def add(context: Any, body: bytes) -> bytes:
        request = sample_pb2.AddRequest.FromString(body)
        context.set("last", {"amount": request.amount})
        return sample_pb2.Number(value=request.amount + 1000).SerializeToString()

    async def get(context: Any, body: dict[str, str]) -> dict[str, str]:
        return {"value": str(len(body["name"]))}

    add.__name__ = "Add"
    get.__name__ = "Get"
    counter.handler("Get")(get)
    counter.handler(
        "Add", accept="application/proto", content_type="application/proto", input_serde=BytesSerde(), output_serde=BytesSerde()
    )(add)
    stop = asyncio.Event()
    config = Config()
    port = free_port()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    serving = asyncio.create_task(serve(restate_app([counter]), config, shutdown_trigger=stop.wait))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await asyncio.wait([serving], timeout=5)


@pytest.mark.rule("R37")
async def test_deployments_and_descriptors_from_a_file(server: Server, hosted: Hosted, tmp_path: Path, key: str) -> None:
    file = tmp_path / "sample.binpb"
    command_line = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "--include_imports", f"--descriptor_set_out={file}"]
    subprocess.run([*command_line, "sample/v1/sample.proto"], check=True, cwd=Path(__file__).parents[2])
    with contextlib.ExitStack() as stack:
        tool = await asyncio.to_thread(stack.enter_context, command(server, "--descriptors", file))
        async with foreign() as url:
            assert "RT0601" in await failed(tool, "deployments", "register", f"http://127.0.0.1:{free_port()}")
            row = await ran(tool, "deployments", "register", url, "--force")
            assert (row["created"], [item["name"] for item in row["services"]]) == (True, ["sample.v1.Counter"])
            answered = await ran(tool, "call", "sample.v1.Counter/Add", f'{{"name": "{key}", "amount": 5}}')
            assert answered == {"value": "1005"}
            assert await ran(tool, "call", "sample.v1.Counter/Get", f'{{"name": "{key}"}}') == {"value": str(len(key))}
            state = await ran(tool, "state", "get", "sample.v1.Counter", key, "last")
            assert (state["type"], state["value_json"]) == ("json", {"amount": 5})
            assert row["id"] in [item["id"] for item in await ran(tool, "deployments", "list")]
            assert (await ran(tool, "deployments", "describe", row["id"]))["services"] == row["services"]
            await ran(tool, "deployments", "remove", row["id"])
            assert row["id"] not in [item["id"] for item in await ran(tool, "deployments", "list")]
        await asyncio.to_thread(stack.close)


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
async def test_what_ended_before_it_began_stays_where_the_cluster_keeps_it(server: Server, key: str) -> None:
    async with hosting(server, App(Boxes())), gateway(server.ingress, server.admin) as front, connect(front.ingress_url) as connection:
        counter = CounterClient(connection)
        holder = counter.script.in_background(sample_pb2.KeyedText(key=key))
        while await holder.status() not in ("running", "suspended"):
            await asyncio.sleep(0.02)
        for end, code in (("cancel", Code.CANCELLED), ("kill", Code.ABORTED)):
            scheduled = counter.add.delayed(sample_pb2.AddRequest(name=f"{key}-later", amount=1), delay=timedelta(hours=1))
            inboxed = counter.add.in_background(sample_pb2.AddRequest(name=key, amount=1))
            for handle, status in ((scheduled, "scheduled"), (inboxed, "inboxed")):
                assert await handle.status() == status
                await getattr(handle, end)()
                while await handle.status() != "completed":
                    await asyncio.sleep(0.02)
                with pytest.raises(TerminalError) as caught:
                    await handle.result()
                assert caught.value.code is code
        await holder.kill()


async def test_a_deployment_is_registered_straight_at_a_cluster(server: Server) -> None:
    """As the documentation and the job in Kubernetes do it. Nothing else is asked of a cluster without a gateway."""

    async def tool(*arguments: str) -> Ran:
        return await asyncio.to_thread(run, *arguments, "--admin", server.admin)

    async with serving(App(Boxes())) as url:
        first = await tool("deployments", "register", url)
        assert (first.status, "registered dp_" in first.out, "Add, Get, Script" in first.out) == (0, True, True), first.err
        again = await tool("deployments", "register", url, "--json")
        assert (again.json["created"], again.json["endpoint"]) == (False, url)
        assert [service["ty"] for service in again.json["services"]] == ["VIRTUAL_OBJECT"]
        refused = await tool("deployments", "register", f"http://127.0.0.1:{free_port()}")
        assert (refused.status, "Connection refused" in refused.err, "RT0502" in refused.err) == (1, True, True), refused.err
        for other in (["deployments", "list"], ["services"], ["invocations", "list"], ["state", "get", "sample.v1.Counter", "a"]):
            done = await tool(*other)
            assert (done.status, "the admin API of a Restate cluster" in done.err, "Traceback" in done.err) == (1, True, False), done.err


async def test_an_endpoint_that_hosts_something_else_now_is_not_unchanged(server: Server) -> None:
    """The cluster answers with what it knew, and does not look."""
    async with gateway(server.ingress, server.admin) as front:
        async with serving(App(Boxes(), Things())) as url:
            assert (await front.engine.register_deployment(url))["created"] is True
            assert (await front.engine.register_deployment(url))["created"] is False
        async with serving(App(Boxes(), Things(), Wall()), port=int(url.rpartition(":")[2])):
            with pytest.raises(TerminalError, match=f"{url} is registered as dp_.* and hosts something else now: .* --force") as caught:
                await front.engine.register_deployment(url)
            assert caught.value.code is Code.ALREADY_EXISTS
            assert (await front.engine.register_deployment(url, force=True))["created"] is True
            assert (await front.engine.register_deployment(url))["created"] is False


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cluster", "nonsense"], "--cluster: 'nonsense' is no URL"),
        (["--cluster", "http://[::1"], "--cluster: 'http://[::1' is no URL"),
        (["--cluster", "http://a..b:1"], "--cluster: 'http://a..b:1' is no URL: 'a..b' is no name of a host"),
        (["--cluster", "http://127.0.0.1:1", "--cluster-admin", "http://a..b:1"], "--cluster-admin: 'http://a..b:1' is no URL"),
        (["--cluster", "http://127.0.0.1:1", "--ingress", "nowhere"], "ingress: 'nowhere' is no address"),
        (["--cluster", "http://127.0.0.1:1", "--descriptors", "gone.binpb"], "--descriptors: gone.binpb cannot be read"),
    ],
)
def test_mistakes(flags: list[str], said: str) -> None:
    done = run("gateway", *flags)
    assert done.status == 1
    assert said in done.err
    assert ("Traceback" in done.err, "Unclosed" in done.err) == (False, False), done.err


@pytest.mark.rule("R31")
async def test_whoever_waits_when_it_stops_can_call_again(hosted: Hosted, key: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with gateway(hosted.server.ingress, hosted.server.admin) as front:
            connection = await stack.enter_async_context(connect(front.ingress_url))
            waiting = asyncio.ensure_future(CounterClient(connection).script(sample_pb2.KeyedText(key=key), idempotency_key=key))
            while not (rows := await front.engine.inspector.state("sample.v1.Counter", key, "awakeable")):
                await asyncio.sleep(0.02)
        with pytest.raises(ConnectionError, match="the gateway is stopping"):
            await waiting
    async with gateway(hosted.server.ingress, hosted.server.admin) as front, connect(front.ingress_url) as connection:
        await connection.resolve_awakeable(rows[0]["value_json"], "again")
        assert (await CounterClient(connection).script(sample_pb2.KeyedText(key=key), idempotency_key=key)).text == "again"


@pytest.mark.usefixtures("server")  # where there is no binary, this one skips as well
async def test_a_cluster_that_is_killed_and_started_again(tmp_path: Path) -> None:
    binary = find_server()
    assert binary is not None
    server = Server(binary, tmp_path)
    try:
        await asyncio.to_thread(server.start)
        async with (
            hosting(server, App(Boxes())),
            gateway(server.ingress, server.admin) as front,
            connect(front.ingress_url) as connection,
        ):
            counter = CounterClient(connection)
            handle = counter.script.in_background(sample_pb2.KeyedText(key="a"))
            waiting = asyncio.ensure_future(handle.result())
            while not (rows := await front.engine.inspector.state("sample.v1.Counter", "a", "awakeable")):
                await asyncio.sleep(0.02)
            server.stop()
            for asked in (waiting, counter.add(sample_pb2.AddRequest(name="b", amount=1)), handle.status()):
                with pytest.raises(ConnectionError):
                    await asked
            await asyncio.to_thread(server.start)
            await connection.resolve_awakeable(rows[0]["value_json"], "back")
            assert (await handle.result()).text == "back"
            assert (await counter.add(sample_pb2.AddRequest(name="b", amount=2))).value == 2
    finally:
        server.stop()
