"""Idempotency keys from every side of a served runtime, across restarts and kill -9 (R22)."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText
from sample.v1.sample_restate import CounterClient, CounterSyncClient

from restate_runtime import Code, TerminalError, connect, connect_sync

from .conftest import Process, Serve

pytestmark = pytest.mark.rule("R22")

COUNTER = "sample.v1.Counter"
KEY = "order ä 7"


def request(amount: int = 1) -> AddRequest:
    return AddRequest(name="k", amount=amount)


async def by_connection(process: Process, amount: int) -> str:
    async with connect(process.ingress) as connection:
        return await CounterClient(connection).add.in_background(request(amount), idempotency_key=KEY).invocation_id()


async def by_connection_delayed(process: Process, amount: int) -> str:
    from datetime import timedelta

    async with connect(process.ingress) as connection:
        client = CounterClient(connection)
        return await client.add.delayed(request(amount), delay=timedelta(hours=1), idempotency_key=KEY).invocation_id()


async def by_connection_by_name(process: Process, amount: int) -> str:
    async with connect(process.ingress) as connection:
        method = connection.method(f"{COUNTER}/Add", key="k")
        payload = AddRequest(amount=amount).SerializeToString()
        return await method.in_background(payload, idempotency_key=KEY).invocation_id()


async def by_sync_connection(process: Process, amount: int) -> str:
    def send() -> str:
        with connect_sync(process.ingress) as connection:
            return CounterSyncClient(connection).add.in_background(request(amount), idempotency_key=KEY).invocation_id()

    return await asyncio.to_thread(send)


async def by_invoke(process: Process, amount: int) -> str:
    body = {"service": COUNTER, "method": "Add", "argument": {"name": "k", "amount": amount}}
    return str((await post(process, "/dev.restate.Ingress/Invoke", body))["id"])


async def by_http(process: Process, amount: int) -> str:
    return str((await post(process, f"/{COUNTER}/Add/send", {"amount": str(amount), "name": "k"}))["invocationId"])


async def by_restates_path(process: Process, amount: int) -> str:
    return str((await post(process, f"/restate/send/{COUNTER}/k/Add", {"amount": amount}))["invocationId"])


async def by_command_line(process: Process, amount: int) -> str:
    body = json.dumps({"name": "k", "amount": amount})
    return await asyncio.to_thread(sent, process, "--idempotency-key", KEY, f"{COUNTER}/Add", body)


async def by_command_line_with_a_key(process: Process, amount: int) -> str:
    body = json.dumps({"amount": amount})
    return await asyncio.to_thread(sent, process, f"{COUNTER}/Add", body, "--key", "k", "--idempotency-key", KEY)


def sent(process: Process, *arguments: str) -> str:
    ran = process.run("send", *arguments)
    if ran.status:
        assert "already_exists" in ran.err, ran.err
        raise TerminalError(ran.err, Code.ALREADY_EXISTS)
    return ran.out.strip()


async def post(process: Process, path: str, body: Any) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.post(process.ingress + path, json=body, headers={"idempotency-key": KEY}) as response,
    ):
        answer = await response.json()
        if response.status >= 400:
            raise TerminalError(answer["message"], Code[answer["code"].upper()])
        return answer


SIDES: list[Callable[[Process, int], Any]] = [
    by_connection,
    by_connection_delayed,
    by_connection_by_name,
    by_sync_connection,
    by_invoke,
    by_http,
    by_restates_path,
    by_command_line,
    by_command_line_with_a_key,
]


async def total(process: Process) -> int:
    async with connect(process.ingress) as connection:
        return (await CounterClient(connection).get(CounterKey(name="k"))).value


async def test_all_sides_share_one_key(serve: Serve) -> None:
    process = serve()
    first = {await side(process, 1) for side in SIDES}
    assert len(first) == 1
    assert process.run("call", f"{COUNTER}/Add", '{"name": "k", "amount": 1}', "--idempotency-key", KEY).json == {"value": "1"}
    for side in SIDES:
        with pytest.raises(TerminalError) as caught:
            await side(process, 2)
        assert caught.value.code is Code.ALREADY_EXISTS, side
    assert await total(process) == 1
    assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    process = serve()
    assert {await side(process, 1) for side in SIDES} == first
    assert await total(process) == 1


async def test_all_sides_at_once(serve: Serve) -> None:
    process = serve()
    assert len(set(await asyncio.gather(*(side(process, 1) for side in SIDES)))) == 1
    while await total(process) == 0:  # a delayed one may have been the first
        if (row := process.run("invocations", "list", "--service", COUNTER, "--status", "scheduled", "--json").json) != []:
            assert len(row) == 1
            return
    assert await total(process) == 1


async def test_a_call_that_a_kill_interrupts_is_the_same_one_after_it(serve: Serve) -> None:
    process = serve()
    waiting = KeyedText(key="k", text="text")
    async with connect(process.ingress) as connection:
        call = CounterClient(connection).script(waiting, idempotency_key=KEY)
        awakeable = await asyncio.to_thread(awakeable_of, process)
        process.stop(signal.SIGKILL)
        with pytest.raises(ConnectionError):
            await call
    process = serve()
    async with connect(process.ingress) as connection:
        calls = [CounterClient(connection).script(waiting, idempotency_key=KEY) for _ in range(3)]
        handle = CounterClient(connection).script.in_background(waiting, idempotency_key=KEY)
        id = await handle.invocation_id()
        await connection.resolve_awakeable(awakeable, "settled")
        assert {reply.text for reply in await asyncio.gather(*calls)} == {"settled"}
        assert (await handle.result()).text == "settled"
    assert [row["id"] for row in process.run("invocations", "list", "--json").json] == [id]


def awakeable_of(process: Process) -> str:
    while (ran := process.run("state", "get", COUNTER, "k", "awakeable")).status:
        time.sleep(0.05)
    return str(json.loads(ran.out))


async def test_calls_that_are_repeated_until_they_succeed_count_once_whenever_the_runtime_is_killed(serve: Serve) -> None:
    """Every client repeats its call under its own key until it has an answer; three times the process is killed among them."""
    process = serve()
    done = 0

    async def add(number: int) -> None:
        nonlocal done
        while True:
            try:
                async with connect(process.ingress) as connection:
                    await CounterClient(connection).add(request(), idempotency_key=f"call {number}", timeout=20)
                done += 1
                return
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(0.02)

    calls = 120
    adding = [asyncio.create_task(add(number)) for number in range(calls)]
    for wanted in (10, 40, 70):
        while done < wanted:
            await asyncio.sleep(0)
        process.stop(signal.SIGKILL)
        process = await asyncio.to_thread(serve)
    await asyncio.gather(*adding)
    assert await total(process) == calls
