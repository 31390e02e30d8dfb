"""Calls to what nothing hosts: tried until something does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import App, Code, TerminalError
from restate_runtime.engine.registry import Registry

from .services import LONG, MOMENT, Counter, Echo, Ledger, Script, journal, reached, until

pytestmark = pytest.mark.rule("R19")

QUICK: dict[str, Any] = {"retry_initial_interval": MOMENT, "retry_max_interval": MOMENT, "retry_max_attempts": 2}


class Missing:
    """A runtime that hosts Echo alone, then one that has everything, on one data directory."""

    def __init__(self, data_dir: Path, options: dict[str, Any]) -> None:
        self.scripts: dict[str, Script] = {}
        self._options = {"data_dir": data_dir} | QUICK | options

    def script(self, body: Script) -> Script:
        self.scripts[body.__name__] = body
        return body

    def without(self, **options: Any) -> Any:
        return App(Echo(self.scripts)).start(**self._options | options)

    def whole(self, **options: Any) -> Any:
        return App(Echo(self.scripts), Counter(self.scripts), Ledger()).start(**self._options | options)


@pytest.fixture
def missing(tmp_path: Path, runtime_options: dict[str, Any]) -> Missing:
    return Missing(tmp_path / "data", runtime_options)


def backing_off(runtime: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = runtime.inspector.invocations(statuses=["backing-off"])
    return rows


@pytest.mark.parametrize("form", ["call", "background", "idempotent", "singleton"])
async def test_a_call_completes_once_its_service_is_hosted(missing: Missing, form: str) -> None:
    attempts: list[int] = []

    @missing.script
    async def calling(ctx: Any) -> Any:
        attempts.append(ctx.attempt)
        counter = CounterClient(ctx)
        match form:
            case "call":
                return (await counter.add(AddRequest(name="k", amount=3))).value
            case "background":
                return (await counter.add.in_background(AddRequest(name="k", amount=3)).result()).value
            case "idempotent":
                return (await counter.add(AddRequest(name="k", amount=3), idempotency_key="once")).value
            case _:
                await LedgerClient(ctx).append(Text(text="line"))
                return 3

    async with missing.without() as runtime:
        handle = EchoClient(runtime).script.in_background(Text(text="calling"))
        id = await handle.invocation_id()
        await until(lambda: backing_off(runtime))
        await asyncio.sleep(0.05)  # many more attempts than the policy allows
        name = "Ledger" if form == "singleton" else "Counter"
        while (row := runtime.inspector.invocations(service=f"sample.v1.{name}")[0])["last_failure_error_code"] is None:
            await asyncio.sleep(0.001)  # it is being tried
        assert row["last_failure_error_code"] == "RT0304"
        assert f"there is no service 'sample.v1.{name}'" in row["last_failure"]
        assert await handle.status() in ("running", "suspended")
    async with missing.whole() as runtime:
        assert (await runtime.invocation(id).result()).text == "3"
        assert all(attempt == 1 for attempt in attempts)
        if form == "singleton":
            assert (await LedgerClient(runtime).lines()).lines == ["line"]
            rows = runtime.inspector.invocations(service="sample.v1.Ledger")
            assert all(row["target_service_key"] is None for row in rows)
        else:
            assert runtime.inspector.state("sample.v1.Counter", "k")[0]["value_json"] == 3


async def test_it_takes_its_turn_like_others(missing: Missing) -> None:
    @missing.script
    async def two(ctx: Any) -> list[int]:
        calls = [CounterClient(ctx).add(AddRequest(name="k", amount=amount)) for amount in (1, 10)]
        return [(await call).value for call in calls]

    async with missing.without(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="two")).invocation_id()
        await until(lambda: backing_off(runtime))
        assert len(runtime.inspector.invocations(statuses=["inboxed"])) == 1
    async with missing.whole() as runtime:
        assert (await runtime.invocation(id).result()).text == "[1, 11]"


async def test_a_service_that_comes_while_the_runtime_runs(missing: Missing) -> None:
    """Whoever adds it says so, and nobody waits out the backoff."""

    @missing.script
    async def calling(ctx: Any) -> int:
        return (await CounterClient(ctx).add(AddRequest(name="k", amount=3))).value

    async with missing.without(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        call = EchoClient(runtime).script(Text(text="calling"))
        await until(lambda: backing_off(runtime))
        for service in Registry([Counter({})]).services.values():
            runtime.registry.add(service)
        runtime.services_changed()
        assert (await call).text == "3"


async def test_a_call_by_name_waits_too(missing: Missing) -> None:
    """Without the contract nothing tells the key, so it is the caller that is tried again; that is no attempt of its own."""
    attempts: list[int] = []

    @missing.script
    async def by_name(ctx: Any) -> list[Any]:
        attempts.append(ctx.attempt)
        before = await ctx.run("before", lambda: 1)
        payload = await ctx.method("sample.v1.Counter/Add")(AddRequest(name="k", amount=3).SerializeToString())
        return [before, Number.FromString(payload).value]

    async with missing.without() as runtime:
        handle = EchoClient(runtime).script.in_background(Text(text="by_name"))
        id = await handle.invocation_id()
        await until(lambda: len(attempts) > 4)
        await reached(handle, "backing-off")
        assert "there is no service 'sample.v1.Counter'" in runtime.inspector.describe(id)["last_failure"]
    async with missing.whole() as runtime:
        assert (await runtime.invocation(id).result()).text == "[1, 3]"
    assert set(attempts) == {1}


@pytest.mark.rule("R22")
async def test_a_repeat_is_recognized_that_comes_once_the_service_is_hosted(missing: Missing) -> None:
    """The same message, with its fields in another order: what is compared is the message."""
    request = AddRequest(name="k", amount=3)
    backwards = b"\x10\x03" + b"\n\x01k"
    assert AddRequest.FromString(backwards) == request
    assert request.SerializeToString() != backwards

    @missing.script
    async def calling(ctx: Any) -> int:
        call = ctx.method("sample.v1.Counter/Add", key="k")
        return int(Number.FromString(await call(backwards, idempotency_key="once")).value)

    async with missing.without() as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="calling")).invocation_id()
        await until(lambda: backing_off(runtime))
    async with missing.whole() as runtime:
        assert (await runtime.invocation(id).result()).text == "3"
        assert (await CounterClient(runtime).add(request, idempotency_key="once")).value == 3
        with pytest.raises(TerminalError) as caught:
            await CounterClient(runtime).add(AddRequest(name="k", amount=4), idempotency_key="once")
        assert caught.value.code is Code.ALREADY_EXISTS


async def test_a_caller_outside_is_refused_at_once(missing: Missing) -> None:
    async with missing.without() as runtime:
        with pytest.raises(TerminalError, match=r"there is no service 'sample\.v1\.Counter'") as caught:
            await CounterClient(runtime).add(AddRequest(name="k", amount=1))
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(TerminalError, match="there is no service"):
            await CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
        assert runtime.inspector.invocations() == []


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
@pytest.mark.parametrize("how", ["cancel", "kill", "cancel the caller", "kill the caller"])
async def test_it_can_be_ended(missing: Missing, how: str) -> None:
    @missing.script
    async def calling(ctx: Any) -> str:
        try:
            await CounterClient(ctx).add(AddRequest(name="k", amount=1))
        except TerminalError as error:
            return error.code.name
        return ""

    async with missing.without() as runtime:
        caller = EchoClient(runtime).script.in_background(Text(text="calling"))
        await until(lambda: backing_off(runtime))
        child = runtime.inspector.invocations(service="sample.v1.Counter")[0]["id"]
        if "caller" in how:
            await (caller.cancel() if "cancel" in how else caller.kill())
        else:
            await (runtime.cancel(child) if how == "cancel" else runtime.kill(child))
        if how == "kill the caller":
            with pytest.raises(TerminalError, match="ABORTED"):
                await caller.result()
        else:
            assert (await caller.result()).text == ('"ABORTED"' if how == "kill" else '"CANCELLED"')
        await until(lambda: runtime.status(child) == "completed")
        assert await journal(runtime, runtime.invocation(child)) == ["input", "return"], "its handler never ran"
