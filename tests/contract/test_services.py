"""Services that are missing (R19), private (R36), or of more than one release (R37); who waits for whom (R18, R21); tools (R39)."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sample.v1.cart_pb2 import Item
from sample.v1.cart_restate import CartClient
from sample.v1.events_restate import StreamClient
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText
from sample.v1.sample_restate import CounterClient

from dev.restate.events_pb2 import Event
from restate_runtime import Code, TerminalError

from .engines import WITH_ADMIN, WITH_INGRESS, Engine, Outer, Running, reached, resume, until
from .services import Outside, answer_of, begin, line, play, played_by, script, send

COMMAND = Path(sys.executable).with_name("restate-runtime")
ONE_PROCESS = pytest.mark.not_on("in-process", "always-suspend", "served", reason="one process hosts one release of its App")
ON_A_CLUSTER = ("cluster", "cluster-http1", "gateway", "three-nodes")
NO_DEADLOCKS = pytest.mark.not_on(*ON_A_CLUSTER, reason="a cluster does not look for cycles: docs/scaling.md")


@script
async def calls_what_is_missing(ctx: Any, key: str) -> str:
    await ctx.run("begun", lambda: Outside(key).write("begun"), type=int)
    return (await StreamClient(ctx).take(Event(ordering_key=key))).ordering_key


@pytest.mark.rule("R19")
@WITH_ADMIN
async def test_a_call_to_a_service_that_is_missing_waits_for_it(engine: Engine, running: Running, key: str) -> None:
    with pytest.raises(TerminalError) as caught:
        await StreamClient(running.caller).take(Event())
    assert caught.value.code is Code.NOT_FOUND, "outside there is nobody to wait"
    id = await send(running.caller, calls_what_is_missing, key).invocation_id()
    await until(Outside(key).lines)
    await asyncio.sleep(0.6)  # time for more attempts than the policy has
    await running.release("second")
    while await reached(running.caller.invocation(id), "paused", "completed") == "paused":
        assert engine.name in ON_A_CLUSTER, "only there it costs attempts: docs/scaling.md"
        await resume(running, id)
    assert await answer_of(running.caller, id) == key


@script
async def calls_no_such_method(ctx: Any, key: str) -> None:
    Outside(key).write("asked")
    await ctx.method("sample.v1.Counter/Ad")(b"")


@pytest.mark.rule("R19")
async def test_no_number_of_attempts_is_too_many_for_what_is_missing(caller: Outer, key: str) -> None:
    handle = send(caller, calls_no_such_method, key)
    await until(lambda: len(Outside(key).lines()) > 5)  # more than the policy has
    assert await handle.status() in ("backing-off", "running")
    await handle.kill()


@script
async def calls_nobody_by_name(ctx: Any, key: str) -> None:
    Outside(key).write("asked")
    await ctx.method("nobody.Nobody/Nothing")(b"")


@pytest.mark.rule("R19")
@pytest.mark.not_on(*ON_A_CLUSTER, reason="a cluster is told of no call without a key: docs/scaling.md")
async def test_a_call_by_name_of_what_is_missing_can_be_cancelled(caller: Outer, key: str) -> None:
    handle = send(caller, calls_nobody_by_name, key)
    await until(Outside(key).lines)
    await handle.cancel()
    with pytest.raises(TerminalError) as caught:
        await handle.result()
    assert caught.value.code is Code.CANCELLED


@script
async def says_releases(ctx: Any, key: str) -> list[str]:
    before = await ctx.run("before", played_by, type=str)
    awakeable = ctx.awakeable(str)
    await ctx.run("tell", lambda: Outside(key).write(awakeable.id), type=int)
    await awakeable
    return [before, played_by()]


@script
async def says_its_release(ctx: Any, argument: Any) -> str:
    return played_by()


@pytest.mark.rule("R37")
@ONE_PROCESS
async def test_new_invocations_go_to_the_newest_deployment_and_others_stay(running: Running, key: str) -> None:
    id = await send(running.caller, says_releases, key).invocation_id()
    await until(Outside(key).lines)
    await running.release("second")
    assert await play(running.caller, says_its_release) == "second"
    await running.caller.resolve_awakeable(Outside(key).lines()[0], "go on")
    assert await answer_of(running.caller, id) == ["first", "first"]


@script
async def calls_itself(ctx: Any, argument: Any) -> list[str]:
    try:
        await CounterClient(ctx).add(AddRequest(name=ctx.key, amount=1))
    except TerminalError as error:
        return [error.code.name, error.message]
    return []


@pytest.mark.rule("R18")
@NO_DEADLOCKS
async def test_a_cycle_of_calls_fails_the_one_that_closes_it(caller: Outer, key: str) -> None:
    code, message = await play(caller, calls_itself, key=key)
    assert code == "FAILED_PRECONDITION"
    assert "sample.v1.Counter/Script" in message
    assert "sample.v1.Counter/Add" in message
    assert (await CounterClient(caller).get(CounterKey(name=key))).value == 0


@script
async def holds_until_told(ctx: Any, key: str) -> None:
    awakeable = ctx.awakeable(str)
    await ctx.run("tell", lambda: Outside(key).write(awakeable.id), type=int)
    await awakeable


@script
async def takes_its_turn(ctx: Any, argument: Any) -> None:
    key, name, failures = argument
    if failures and Outside(f"{key}-{name}").write("tried") <= failures:
        raise ValueError("again")
    await ctx.run("turn", lambda: Outside(f"{key}-turns").write(name), type=int)


@pytest.mark.smoke
@pytest.mark.rule("R21")
@pytest.mark.rule("R42")
async def test_an_inbox_is_first_in_first_out(running: Running, key: str) -> None:
    caller = running.caller
    holder = send(caller, holds_until_told, key, key=key)
    await until(Outside(key).lines)
    # Due after those that are sent at once have been taken, also where a leader has to be elected in between.
    delay = timedelta(seconds=10) if running.interrupted else timedelta(milliseconds=300)
    due = CounterClient(caller).script.delayed(KeyedText(key=key, text=line(takes_its_turn, [key, "delayed", 0])), delay=delay)
    handles = []
    for name, failures in (("fails at first", 1), ("second", 0)):
        handles.append(send(caller, takes_its_turn, [key, name, failures], key=key))
        await handles[-1]
    await reached(due, "inboxed")  # it enters when it is due, behind those that were there
    handles.append(send(caller, takes_its_turn, [key, "last", 0], key=key))
    await handles[-1]
    await caller.resolve_awakeable(Outside(key).lines()[0], "go on")
    for handle in (holder, due, *handles):
        await handle.result()
    assert list(dict.fromkeys(Outside(f"{key}-turns").lines())) == ["fails at first", "second", "delayed", "last"]


@script
async def calls_what_is_private(ctx: Any, key: str) -> None:
    await CartClient(ctx).sleepy(Item(user=key, name=line(says_its_key, None)))


@pytest.mark.rule("R36")
@WITH_INGRESS
async def test_what_is_private_is_called_by_services_only(running: Running, key: str) -> None:
    caller = running.caller
    with pytest.raises(TerminalError) as caught:
        await CartClient(caller).sleepy(Item(user=key, name=line(says_its_key, None)))
    assert caught.value.code is Code.PERMISSION_DENIED
    await play(caller, calls_what_is_private, key)


@pytest.mark.rule("R36")
@WITH_ADMIN
async def test_a_service_is_closed_and_opened_again(running: Running, key: str) -> None:
    await _change(running, "sample.v1.Counter", public=False)
    try:
        for _ in range(2):
            with pytest.raises(TerminalError) as caught:
                await CounterClient(running.caller).add(AddRequest(name=key, amount=1))
            assert caught.value.code is Code.PERMISSION_DENIED
            await play(running.caller, adds_to, key)
            await running.restart()  # it is stored
    finally:
        await _change(running, "sample.v1.Counter", public=True)
    assert (await CounterClient(running.caller).add(AddRequest(name=key, amount=1))).value == 3


@script
async def adds_to(ctx: Any, key: str) -> None:
    await CounterClient(ctx).add(AddRequest(name=key, amount=1))


async def _change(running: Running, service: str, *, public: bool) -> None:
    body = json.dumps({"public": public}).encode()
    async with aiohttp.ClientSession() as session, session.patch(f"{running.admin_url}/services/{service}", data=body) as response:
        assert response.status == 200, await response.text()


@pytest.mark.rule("R39")
@WITH_ADMIN
async def test_the_command_line_shows_what_is_there(running: Running, key: str) -> None:
    handle = send(running.caller, keeps, key, key=key)
    await handle.result()
    id = await handle.invocation_id()
    described = await _tool(running, "invocations", "describe", id)
    assert (described["id"], described["target_service_name"], described["status"]) == (id, "sample.v1.Counter", "completed")
    assert described["completion_result"] == "success"
    listed = await _tool(running, "invocations", "list", "--service", "sample.v1.Counter", "--key", key)
    assert [row["id"] for row in listed] == [id]
    (state,) = await _tool(running, "state", "get", "sample.v1.Counter", key)
    assert (state["key"], state["value_json"]) == ("note", {"words": [1, 2]})
    assert "sample.v1.Counter" in [row["name"] for row in await _tool(running, "services", "list")]


@script
async def keeps(ctx: Any, key: str) -> None:
    ctx.set("note", {"words": [1, 2]})


async def _tool(running: Running, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, "--admin", str(running.admin_url), "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return json.loads(out)


@script
async def awaits_below(ctx: Any, key: str) -> str:
    return str((await begin(ctx, holds_until_told, key, key=f"{key}-below")).text)


@pytest.mark.rule("R16")
async def test_a_kill_ends_the_awaited_calls_below_and_tells_whoever_waits(caller: Outer, key: str) -> None:
    call = begin(caller, awaits_below, key, idempotency_key=key)
    handle = send(caller, awaits_below, key, idempotency_key=key)
    await until(Outside(key).lines)
    await handle.kill()
    with pytest.raises(TerminalError) as caught:
        await call
    assert caught.value.code is Code.ABORTED
    # The key of the call below is free as well: without it this would wait for ever.
    await play(caller, says_its_key, key=f"{key}-below")


@script
async def says_its_key(ctx: Any, argument: Any) -> str:
    return str(ctx.key)
