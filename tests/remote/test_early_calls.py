"""Calls that endpoints make before their callee is hosted: they find their key when it is (R19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from dev.restate import wire_pb2 as wire
from restate_runtime import Code, TerminalError
from restate_runtime.app import bare_app
from restate_runtime.engine.remote.frames import MessageType
from restate_runtime.engine.storage.offline import examine

from ..durability.harness import app, until, until_status
from .conftest import OPTIONS
from .hostile import Hostile, frames, hostile

T = MessageType
END = (T.OUTPUT, wire.OutputCommand(value=wire.Value(content=b"done"))), (T.END, wire.End())


def send(
    target: str, key: str, request: Message | bytes, completion_id: int = 1, idempotency_key: str | None = None
) -> tuple[MessageType, Any]:
    service, _, method = target.partition("/")
    body = request if isinstance(request, bytes) else request.SerializeToString()
    command = wire.OneWayCallCommand(service_name=service, handler_name=method, key=key, parameter=body, idempotency_key=idempotency_key)
    command.invocation_id_notification_idx = completion_id
    return T.ONE_WAY_CALL, command


async def run(endpoint: Hostile, tmp_path: Path) -> dict[str, str]:
    """Runs every handler, while nothing else is hosted; the ids of what they made, by the handlers' names."""
    async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await runtime.register_deployment(endpoint.url, http1=True)
        ids = {}
        for name in endpoint.answers:
            id = await runtime.method(f"S/{name}").in_background(b"").invocation_id()
            await until_status(runtime, id, "completed")
            (callee,) = [row for row in runtime.inspector.invocations() if row["invoked_by_id"] == id][:1]
            ids[name] = callee["id"]
        return ids


@pytest.mark.rule("R19")
async def test_a_singleton(tmp_path: Path) -> None:
    """It has one key, however it is written: the state is the one that everybody sees, in the order of the calls."""
    append = "sample.v1.Ledger/Append"
    answers = {
        "three": [frames(*(send(append, "_", Text(text=text), n + 1) for n, text in enumerate("abc")), *END)],
        "wrong": [frames(send(append, "other", Text(text="wrong")), *END)],
    }
    async with hostile(answers) as endpoint:
        ids = await run(endpoint, tmp_path)
        async with app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            ledger = LedgerClient(runtime)
            await until_status(runtime, ids["three"], "completed")
            with pytest.raises(TerminalError, match="takes no key") as raised:
                await runtime.invocation(ids["wrong"]).result()
            assert raised.value.code is Code.INVALID_ARGUMENT
            await ledger.append(Text(text="d"))

            async def lines() -> list[str]:
                return list((await ledger.lines()).lines)

            while len(await lines()) < 4:
                pass
            assert [line for line in await lines() if line != "d"] == ["a", "b", "c"]
            row = runtime.inspector.describe(ids["three"])
            assert row["target_service_key"] in (None, "")
        async with app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            assert len((await LedgerClient(runtime).lines()).lines) == 4
        assert examine(tmp_path / "data") == []


@pytest.mark.rule("R19")
@pytest.mark.rule("R23")
async def test_a_key_that_stands_in_the_request(tmp_path: Path) -> None:
    answers = {
        "inside": [frames(send("sample.v1.Counter/Add", "", AddRequest(name="k", amount=2)), *END)],
        "nowhere": [frames(send("sample.v1.Counter/Add", "", AddRequest(amount=2)), *END)],
        "garbage": [frames(send("sample.v1.Counter/Add", "", b"\xff"), *END)],
        "unkeyed": [frames(send("sample.v1.Echo/Call", "k", Text(text="x")), *END)],
    }
    async with hostile(answers) as endpoint:
        ids = await run(endpoint, tmp_path)
        async with app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            await until_status(runtime, ids["inside"], "completed")
            assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 2
            assert runtime.inspector.describe(ids["inside"])["target_service_key"] == "k"
            for name, text in (("nowhere", "is empty"), ("garbage", "is no sample.v1.AddRequest"), ("unkeyed", "takes no key")):
                with pytest.raises(TerminalError, match=text) as raised:
                    await runtime.invocation(ids[name]).result()
                assert raised.value.code is Code.INVALID_ARGUMENT


async def test_a_request_that_is_none(tmp_path: Path) -> None:
    """Of a service that is hosted: it is refused when it is made."""
    call = wire.CallCommand(service_name="sample.v1.Echo", handler_name="Call", parameter=b"\xff", result_completion_id=2)
    call.invocation_id_notification_idx = 1
    waits = (T.SUSPENSION, wire.Suspension(waiting_completions=[2], waiting_signals=[1]))
    async with (
        hostile({"calls": [frames((T.CALL, call), waits), frames(*END)]}) as endpoint,
        app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime,
    ):
        await runtime.register_deployment(endpoint.url, http1=True)
        assert await runtime.method("S/calls")(b"") == b"done"
        replayed = endpoint.attempts["calls"][1]
        (result,) = [frame.message for frame in replayed if frame.type is T.CALL_COMPLETION]
        assert "the request is no sample.v1.Text" in result.failure.message
        (row,) = runtime.inspector.invocations(service="sample.v1.Echo")
        assert row["status"] == "completed", "it has an id, and has failed"


@pytest.mark.rule("R20")
async def test_a_service_that_moves_to_an_endpoint(tmp_path: Path) -> None:
    """What made calls in this process cannot be replayed elsewhere: it waits for somebody, and goes on where it began."""
    ids: list[str] = []

    async def script(ctx: Any, _: str) -> str:
        await EchoClient(ctx).call(Text(text="a"))
        awakeable = ctx.awakeable(str)
        await ctx.run("publish", lambda: ids.append(awakeable.id))
        return str(await awakeable)

    async with app(script).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="x")).invocation_id()
        await until(lambda: ids)
    async with hostile({"Script": [frames(*END)], "Call": [frames(*END)]}) as endpoint:
        endpoint.manifest["services"] = [
            {"name": "sample.v1.Echo", "ty": "SERVICE", "handlers": [{"name": name} for name in endpoint.answers]}
        ]
        async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            (deployment,) = [await runtime.register_deployment(endpoint.url, http1=True)]
            await runtime.resolve_awakeable(ids[0], "done")
            row = await until_status(runtime, id, "paused")
            assert row["last_failure_error_code"] == "RT0301"
            assert "bind the service in the App again" in row["last_failure"]
            assert not endpoint.attempts
            await runtime.remove_deployment(deployment["id"], force=True)
    async with app(script).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await runtime.resume(id)
        assert (await runtime.invocation(id).result()).text == "done"


@pytest.mark.rule("R19")
@pytest.mark.rule("R22")
async def test_a_repeat_finds_it_under_the_key_that_its_service_knows(tmp_path: Path) -> None:
    add, append = AddRequest(name="k", amount=1), Text(text="a")
    answers = {
        "adds": [frames(send("sample.v1.Counter/Add", "", add, idempotency_key="early"), *END)],
        "appends": [frames(send("sample.v1.Ledger/Append", "_", append, idempotency_key="early"), *END)],
    }
    async with hostile(answers) as endpoint:
        ids = await run(endpoint, tmp_path)
        async with app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            for id in ids.values():
                await until_status(runtime, id, "completed")
            again = CounterClient(runtime).add.in_background(add, idempotency_key="early")
            assert await again.invocation_id() == ids["adds"]
            assert await LedgerClient(runtime).append.in_background(append, idempotency_key="early").invocation_id() == ids["appends"]
            with pytest.raises(TerminalError, match="was used with another request before"):
                await CounterClient(runtime).add(AddRequest(name="k", amount=2), idempotency_key="early")
    assert examine(tmp_path / "data") == []


@pytest.mark.rule("R45")
async def test_a_background_call_that_cannot_be_made_is_there_and_says_why(tmp_path: Path) -> None:
    """Its handler has gone on by then, and has its id."""
    add = "sample.v1.Counter/Add"
    refused = {
        "none": (send(add, "k", b"\xff\xff\xff"), "INVALID_ARGUMENT"),
        "empty key": (send(add, "", b""), "INVALID_ARGUMENT"),
        "used": (send(add, "k", AddRequest(name="k", amount=2), idempotency_key="once"), "ALREADY_EXISTS"),
    }
    answers = {f"h{number}": [frames(command, *END)] for number, (command, _) in enumerate(refused.values())}
    async with hostile(answers) as endpoint, app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await runtime.register_deployment(endpoint.url, http1=True)
        first = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1), idempotency_key="once")
        assert (await first.result()).value == 1
        for name, (what, (_, code)) in zip(answers, refused.items(), strict=True):
            caller = await runtime.method(f"S/{name}").in_background(b"").invocation_id()
            await until_status(runtime, caller, "completed")
            (row,) = [row for row in runtime.inspector.invocations() if row["invoked_by_id"] == caller]
            handle = runtime.invocation(row["id"])
            assert await handle.status() == "completed", what
            with pytest.raises(TerminalError) as caught:
                await handle.result()
            assert caught.value.code.name == code, what
        again = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1), idempotency_key="once")
        assert await again.invocation_id() == await first.invocation_id()
    assert examine(tmp_path / "data") == []


@pytest.mark.rule("R42")
@pytest.mark.parametrize("hosted", ["here", "json"])
async def test_a_request_that_turns_out_to_be_none_ends_its_invocation(tmp_path: Path, hosted: str, descriptors: Path) -> None:
    """With a key beside it: the key is free again."""
    answers = {"calls": [frames(send("sample.v1.Counter/Add", "k", b"\xff\xff\xff"), *END)]}
    takes = {"contentType": "application/json"}
    async with hostile(answers) as endpoint, hostile({"Add": [frames(*END)]}) as counter:
        ids = await run(endpoint, tmp_path)
        handler = {"name": "Add", "input": takes, "output": takes}
        counter.manifest["services"] = [{"name": "sample.v1.Counter", "ty": "VIRTUAL_OBJECT", "handlers": [handler]}]
        host = app() if hosted == "here" else bare_app()
        options = {} if hosted == "here" else {"descriptors": [descriptors]}
        async with host.start(data_dir=tmp_path / "data", **OPTIONS, **options) as runtime:
            if hosted == "json":
                await runtime.register_deployment(counter.url, http1=True)
            await until_status(runtime, ids["calls"], "completed")
            with pytest.raises(TerminalError, match=r"the request is no sample\.v1\.AddRequest") as caught:
                await runtime.invocation(ids["calls"]).result()
            assert caught.value.code is Code.INVALID_ARGUMENT
        assert not counter.attempts


async def test_a_workflow_runs_once_for_a_key_whenever_it_is_hosted(tmp_path: Path) -> None:
    runs = [send("W/run", "order", b"", number) for number in (1, 2)]
    async with hostile({"calls": [frames(*runs, *END)]}) as endpoint, hostile({"run": [frames(*END)]}) as workflow:
        handlers = [{"name": "run", "ty": "WORKFLOW"}]
        workflow.manifest["services"] = [{"name": "W", "ty": "WORKFLOW", "handlers": handlers}]
        async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            await runtime.register_deployment(endpoint.url, http1=True)
            await runtime.method("S/calls")(b"")
            await runtime.register_deployment(workflow.url, http1=True)
            await until(lambda: {row["status"] for row in runtime.inspector.invocations(service="W")} == {"completed"})
            await runtime.method("S/calls")(b"")
            with pytest.raises(TerminalError, match="was started before") as caught:
                await runtime.method("W/run", key="order")(b"")
            assert caught.value.code is Code.ALREADY_EXISTS
            failed = [row["completion_failure"] for row in runtime.inspector.invocations(service="W")]
        assert len(workflow.attempts["run"]) == 1
        assert sorted(failure is None for failure in failed) == [False, True]
    assert examine(tmp_path / "data") == []


async def test_a_handler_of_this_process_starts_a_workflow_once(tmp_path: Path) -> None:
    async def starts(ctx: Any, _: str) -> str:
        first = await ctx.method("W/run", key="order")(b"")
        try:
            await ctx.method("W/run", key="order")(b"")
        except TerminalError as error:
            return f"{first.decode()} {error.code.name}"
        return "twice"

    async with hostile({"run": [frames(*END)]}) as workflow, app(starts).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        workflow.manifest["services"] = [{"name": "W", "ty": "WORKFLOW", "handlers": [{"name": "run", "ty": "WORKFLOW"}]}]
        await runtime.register_deployment(workflow.url, http1=True)
        assert (await EchoClient(runtime).script(Text(text=""))).text == "done ALREADY_EXISTS"
        assert len(workflow.attempts["run"]) == 1
