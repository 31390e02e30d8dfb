"""What Restate's own SDK does, feature by feature, on every version of the service protocol and both versions of HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from restate_runtime import Code, TerminalError
from restate_runtime.engine.remote.frames import Version
from restate_runtime.engine.remote.hosting import Deployment

from ..durability.harness import app, until, until_status
from .conftest import OPTIONS, Endpoint, Foreign, nothing


@pytest.fixture(scope="module")
def endpoint(scripted_endpoint: Endpoint) -> Endpoint:
    return scripted_endpoint


@pytest.fixture(params=list(Version), ids=lambda version: version.name)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Version:
    version: Version = request.param
    monkeypatch.setattr(Deployment, "version", lambda _: version)
    return version


@pytest.fixture
async def runtime(endpoint: Endpoint, tmp_path: Path, version: Version) -> AsyncIterator[Any]:
    async with app(nothing).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        yield runtime


class Script:
    """Sends steps to the services of the endpoint, under keys that no other test has."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.foreign = Foreign(runtime)
        self.key = uuid4().hex

    async def __call__(self, *steps: list[Any], service: str = "Objects/run", **options: Any) -> Any:
        return await self.foreign(service, list(steps), key=None if service.startswith("Script") else self.key, **options)

    def send(self, *steps: list[Any], service: str = "Objects/run", **options: Any) -> Any:
        return self.foreign.send(service, list(steps), key=None if service.startswith("Script") else self.key, **options)

    async def state(self, name: str) -> Any:
        """A state, once it is there."""
        while (found := (await self(["get", name], service="Objects/look"))[0][0]) is None:
            await asyncio.sleep(0.01)
        return found


@pytest.fixture
def script(runtime: Any) -> Script:
    return Script(runtime)


def name() -> str:
    """One that counts from nothing."""
    return uuid4().hex


# --- state


@pytest.mark.parametrize("service", ["Objects", "Lazy"])
async def test_state(script: Script, service: str) -> None:
    run, look = f"{service}/run", f"{service}/look"
    assert await script(["get", "a"], ["keys"], service=run) == [[None], []]
    assert await script(["set", "a", 1], ["set", "b", ""], ["get", "a"], ["get", "b"], ["keys"], service=run) == [[1], [""], ["a", "b"]]
    assert await script(["clear", "a"], ["get", "a"], service=run) == [[None]]  # the SDK still has its name among those that came along
    assert await script(["get", "a"], ["keys"], service=run) == [[None], ["b"]]
    assert await script(["set", "c", {"d": [1.5, None, "é\0"]}], ["keys"], service=run) == [["b", "c"]]
    assert await script(["get", "c"], ["get", "b"], ["keys"], service=look) == [[{"d": [1.5, None, "é\0"]}], [""], ["b", "c"]]
    again = [["get", "c"], ["clear_all"], ["get", "c"], ["set", "e", 1], ["keys"], ["get", "b"]]
    assert await script(*again, service=run) == [[{"d": [1.5, None, "é\0"]}], [None], ["e"], [None]]
    assert await script(["keys"], ["get", "e"], service=look) == [["e"], [1]]


@pytest.mark.parametrize("service", ["Objects", "Lazy"])
async def test_state_in_a_replay(script: Script, service: str) -> None:
    """Everything is read again as it was, whatever was set after it."""
    steps = [["set", "a", 1], ["get", "a"], ["get", "b"], ["keys"], ["sleep", "s", 20], ["await", "s"]]
    steps += [["set", "a", 2], ["clear", "b"], ["get", "a"], ["sleep", "t", 20], ["await", "t"], ["clear_all"], ["keys"], ["get", "a"]]
    await script(["set", "b", "before"], service=f"{service}/run")
    assert await script(*steps, service=f"{service}/run") == [[1], ["before"], ["a", "b"], [None], [2], [None], [], [None]]


async def test_a_failure_keeps_what_was_set(script: Script) -> None:
    with pytest.raises(TerminalError, match="after all"):
        await script(["set", "a", 1], ["fail", "after all", 500])
    assert await script(["get", "a"]) == [[1]]


# --- time


async def test_many_sleeps(runtime: Any) -> None:
    names = [f"s{n}" for n in range(20)]
    steps = [*(["sleep", name, 10 + 2 * n] for n, name in enumerate(names)), ["all", *names]]
    results = await asyncio.gather(*(Script(runtime)(*steps) for _ in range(10)))
    assert results == [[[None] * 20]] * 10


async def test_a_sleep_without_end(runtime: Any, script: Script) -> None:
    """Far beyond what a calendar knows."""
    handle = script.send(["sleep", "s", 10**15], ["await_or_raise", "s"])
    id = await handle.invocation_id()
    await until(lambda: len(runtime.inspector.describe(id)["journal"]) > 1)
    await handle.cancel()
    with pytest.raises(TerminalError) as raised:
        await handle.result()
    assert raised.value.code is Code.CANCELLED


# --- calls


async def test_the_order_of_calls(script: Script) -> None:
    """Awaited ones and background ones of one key take their turns as they were made."""
    other = name()
    target = ["Objects", "run", other]
    for kinds in (("send", "call", "call"), ("call", "send", "call"), ("send", "send", "call")):
        steps: list[list[Any]] = []
        for n, kind in enumerate(kinds):
            steps.append([kind, f"c{n}", target, [["get", "list"], ["set", "list", n]]])
        steps.append(["await", *(f"c{n}" for n, kind in enumerate(kinds) if kind == "call")])
        before = (await script.foreign("Objects/look", [["get", "list"]], key=other))[0]
        results = (await script(*steps))[0]
        assert results[-1] == [[1]]
        assert kinds[0] == "send" or results[0] == [before]


async def test_headers_and_ids(script: Script) -> None:
    (request,) = await script(["request"], headers={"x-mine": "yes"}, service="Script/run")
    assert request["headers"]["x-mine"] == "yes"
    assert request["id"].startswith("inv_1")
    ((inner,),) = await script(["call", "c", ["Script", "run", None], [["request"]]], ["await", "c"], service="Script/run")
    assert inner[0]["headers"]["x-from"] == "call"
    handle = script.send(["call", "c", ["Script", "run", None], [["request"]]], ["id", "c"], ["await", "c"])
    id, ((request,),) = json.loads(await handle.result())
    assert request["id"] == id


async def test_bytes_as_they_are(runtime: Any) -> None:
    for body in (b"", bytes(range(256)), b"x" * 300_000):
        assert await runtime.method("Script/echo")(body) == body


async def test_idempotency_keys_of_calls(script: Script) -> None:
    other, key = name(), name()
    target = ["Objects", "run", other]
    add = [["get", "n"], ["set", "n", 1]]
    again = [["call", "c", target, add, key], ["id", "c"], ["await", "c"]]
    first = await script(*again)
    assert first[1] == [[[None]]]
    assert await script(*again) == first
    sent = await script(["send", "s", target, add, key], ["id", "s"])
    assert sent == first[:1]
    both = await script(["call", "a", target, add, key + "2"], ["call", "b", target, add, key + "2"], ["await", "a", "b"])
    assert both == [[[[1]], [[1]]]]
    failed = (await script(["call", "c", target, [["get", "n"]], key], ["await", "c"]))[0][0]
    assert failed[0] == "failed"
    assert "used with another request" in failed[1]
    assert await script.runtime.method("Objects/run", key=other)(json.dumps(add).encode(), idempotency_key=key) == b"[[null]]"


async def test_a_delayed_call(script: Script) -> None:
    other = name()
    steps = [["send", f"s{n}", ["Objects", "run", other], [["set", f"n{n}", 1]], None, 150] for n in range(3)]
    await script(*steps)
    assert await script.foreign("Objects/look", [["keys"]], key=other) == [[]]
    while await script.foreign("Objects/look", [["keys"]], key=other) != [["n0", "n1", "n2"]]:
        await asyncio.sleep(0.02)


async def test_attaching(script: Script) -> None:
    other = Script(script.runtime)
    handle = other.send(["awakeable", "a"], ["await", "a"])
    id = await handle.invocation_id()
    waiting = script.send(["attach", "x", id], ["await", "x"])
    await waiting.invocation_id()
    await script.runtime.resolve_awakeable(await other.state("awakeable a"), "there")
    assert json.loads(await waiting.result()) == [[[["there"]]]]
    assert await script(["attach", "x", id], ["await", "x"]) == [[[["there"]]]]  # it is over
    unknown = (await script(["attach", "x", id[:-4] + "AAAA"], ["await", "x"]))[0][0]
    assert (unknown[0], unknown[2]) == ("failed", 404)


# --- failures


async def test_failures_travel(script: Script, version: Version) -> None:
    metadata = {"seat": "A1"} if version > Version.V5 else None
    with pytest.raises(TerminalError, match="sold out") as raised:
        await script(["fail", "sold out", 412, metadata])
    assert raised.value.code is Code.FAILED_PRECONDITION
    call = ["call", "c", ["Objects", "run", name()], [["fail", "sold out", 418, metadata]]]
    assert await script(call, ["await", "c"]) == [[["failed", "sold out", 418]]]
    with pytest.raises(TerminalError, match="sold out"):
        await script(call, ["await_or_raise", "c"])
    run = name()
    assert await script(["failing_run", run, -1, None], ["await", run]) == [[["failed", f"{run} failed", 412]]]
    assert await script(["count", run]) == [1]


async def test_retries_until_it_works(script: Script) -> None:
    tried = name()
    assert await script(["fail_times", tried, 3]) == [4]
    later = name()
    assert await script(["retry_after", later, 30]) == [2]


# --- side effects


async def test_side_effects_wait_for_their_acknowledgement(script: Script) -> None:
    names = [name() for _ in range(3)]
    steps: list[list[Any]] = [step for run in names for step in (["run", run, f"value of {run}"], ["await", run])]
    assert await script(*steps) == [[f"value of {run}"] for run in names]
    assert await script(*(["count", run] for run in names)) == [1, 1, 1]


async def test_side_effects_side_by_side(script: Script) -> None:
    names = [name() for _ in range(10)]
    results = await script(*(["run", run, n] for n, run in enumerate(names)), ["all", *names], ["sleep", "s", 10], ["await", "s"])
    assert results == [list(range(10)), [None]]
    assert await script(*(["count", run] for run in names)) == [1] * 10


async def test_side_effects_are_tried_again(script: Script) -> None:
    works, spent = name(), name()
    assert await script(["failing_run", works, 3, None], ["await", works]) == [[4]]
    ((failed,),) = await script(["failing_run", spent, 99, 3], ["await", spent])
    assert (failed[0], failed[2]) == ("failed", 500)
    assert await script(["count", spent]) == [3]


async def test_the_same_random_numbers_in_every_attempt(script: Script) -> None:
    tried = name()
    steps = [["random"], ["run", "r", 1], ["await", "r"], ["random"]]
    once = await script(*steps, ["sleep", "s", 10], ["await", "s"], ["fail_times", tried, 2])
    assert once[0] != once[2]
    assert len({json.dumps(once[0]), json.dumps(once[2])}) == 2
    assert (await script(*steps))[0] != once[0]


# --- what is combined


async def test_a_timeout(script: Script) -> None:
    steps = [["awakeable", "a"], ["sleep", "s", 30], ["first", "a", "s"]]
    assert await script(*steps) == ["s"]


async def test_the_first_success(script: Script, runtime: Any) -> None:
    runs = [name() for _ in range(3)]
    steps = [["awakeable", "a"], ["failing_run", runs[0], -1, None], ["awakeable", "b"], ["failing_run", runs[1], -1, None]]
    steps += [["awakeable", "c"], ["failing_run", runs[2], -1, None], ["first_success", "a", runs[0], "b", runs[1], "c", runs[2]]]
    handle = script.send(*steps)
    ids = {n: await script.state(f"awakeable {n}") for n in "abc"}
    await runtime.reject_awakeable(ids["c"], "no")
    await runtime.resolve_awakeable(ids["b"], "yes")
    assert json.loads(await handle.result()) == [["b", "yes"]]
    assert await script(*(["count", run] for run in runs)) == [1, 1, 1]


async def test_all_that_settle(script: Script) -> None:
    works, fails = name(), name()
    handle = script.send(["run", works, "run"], ["signal", "go"], ["failing_run", fails, -1, None], ["all", works, "go", fails])
    id = await handle.invocation_id()
    await Script(script.runtime)(["resolve_signal", id, "go", "signal"], service="Script/run")
    assert json.loads(await handle.result()) == [["run", "signal", ["failed", f"{fails} failed", 412]]]


# --- signals and awakeables


async def test_signals(script: Script) -> None:
    handle = script.send(["signal", "a"], ["signal", "b"], ["signal", "c"], ["first_success", "a", "b", "c"], ["all", "a", "b", "c"])
    id = await handle.invocation_id()
    other = Script(script.runtime)
    await other(["reject_signal", id, "a", "no"], ["reject_signal", id, "c", "neither"], service="Script/run")
    await other(["resolve_signal", id, "b", "yes"], service="Script/run")
    assert json.loads(await handle.result()) == [["b", "yes"], [["failed", "no", 409], "yes", ["failed", "neither", 409]]]


async def test_a_signal_before_it_is_waited_for(script: Script) -> None:
    handle = script.send(["awakeable", "first"], ["await", "first"], ["signal", "early"], ["await", "early"])
    id = await handle.invocation_id()
    awakeable = await script.state("awakeable first")
    other = Script(script.runtime)
    await other(["resolve_signal", id, "early", "kept"], ["resolve_signal", id, "early", "again"], service="Script/run")
    await other(["resolve", awakeable, "go"], service="Script/run")
    assert json.loads(await handle.result()) == [["go"], ["kept"]]


async def test_awakeables(script: Script) -> None:
    handle = script.send(["awakeable", "a"], ["awakeable", "b"], ["await", "a", "b"])
    ids = [await script.state(f"awakeable {n}") for n in "ab"]
    await Script(script.runtime)(["reject", ids[1], "no"], ["resolve", ids[0], "yes"], ["resolve", ids[0], "late"], service="Script/run")
    assert json.loads(await handle.result()) == [["yes", ["failed", "no", 409]]]


# --- cancelling and killing


@pytest.mark.parametrize(
    ("blocked", "by_handler"),
    [("call", False), ("call", True), ("sleep", False), ("awakeable", True), ("signal", False), ("all", True)],
)
async def test_cancelling_what_waits(script: Script, runtime: Any, blocked: str, by_handler: bool) -> None:
    inner = Script(runtime)
    steps: list[list[Any]] = [["publish_self"]]
    match blocked:
        case "call":
            steps += [["call", "x", ["Objects", "run", inner.key], [["awakeable", "a"], ["await_or_raise", "a"]]]]
        case "all":
            steps += [["call", "x", ["Objects", "run", inner.key], [["awakeable", "a"], ["await_or_raise", "a"]]], ["sleep", "y", 10**8]]
        case "sleep":
            steps += [["sleep", "x", 10**8]]
        case other:
            steps += [[other, "x"]]
    steps += [["all", "x", "y"]] if blocked == "all" else [["await", "x"]]
    handle = script.send(*steps, ["run", name(), 1])
    id = await handle.invocation_id()
    await script.state("self")
    if blocked in ("call", "all"):
        await inner.state("awakeable a")
    if by_handler:
        await Script(runtime)(["cancel", id], service="Script/run")
    else:
        await handle.cancel()
    if blocked == "all":
        with pytest.raises(TerminalError) as raised:
            await handle.result()
        assert raised.value.code is Code.CANCELLED
    else:
        ((outcome,),) = json.loads(await handle.result())
        assert (outcome[0], outcome[2]) == ("failed", 409)
    assert await inner(["get", "free"]) == [[None]]  # what was called is over too, and its key is free


async def test_cancelling_one_of_its_calls(script: Script, runtime: Any) -> None:
    inner, sent = Script(runtime), Script(runtime)
    endless = [["awakeable", "a"], ["await_or_raise", "a"]]
    steps = [["call", "c", ["Objects", "run", inner.key], endless], ["send", "s", ["Objects", "run", sent.key], endless]]
    handle = script.send(*steps, ["publish_id", "c"], ["sleep", "z", 10], ["await", "z"], ["cancel_future", "s"], ["await", "c"])
    await inner.state("awakeable a")
    await runtime.invocation(await script.state("id c")).cancel()
    result = json.loads(await handle.result())
    assert (result[1][0][0], result[1][0][2]) == ("failed", 409)
    assert await sent(["get", "free"]) == [[None]]


async def test_killing_a_tree_of_calls(script: Script, runtime: Any) -> None:
    middle, leaf = Script(runtime), Script(runtime)
    endless = [["awakeable", "a"], ["await_or_raise", "a"]]
    calls = [["call", "c", ["Objects", "run", leaf.key], endless], ["await_or_raise", "c"]]
    handle = script.send(["call", "c", ["Objects", "run", middle.key], calls], ["await", "c"])
    await leaf.state("awakeable a")
    await handle.kill()
    with pytest.raises(TerminalError) as raised:
        await handle.result()
    assert raised.value.code is Code.ABORTED
    assert [await each(["return", "free"]) for each in (script, middle, leaf)] == [["free"]] * 3


# --- workflows


async def test_a_workflow(script: Script, runtime: Any) -> None:
    run = script.send(["set", "a", 1], ["promise", "p"], ["promise", "q"], ["await", "p", "q"], service="Process/run")
    id = await run.invocation_id()
    while await script(["peek", "p"], ["peek", "q"], ["get", "a"], ["key"], service="Process/look") != [[None], [None], [1], script.key]:
        await asyncio.sleep(0.01)
    assert await script(["resolve_promise", "p", "yes"], ["peek", "p"], service="Process/look") == ["resolved", ["yes"]]
    refused = (await script(["resolve_promise", "p", "other"], service="Process/look"))[0]
    assert (refused[0], refused[2]) == ("failed", 409)
    waiting = script.send(["promise", "q"], ["await", "q"], service="Process/look")
    await waiting.invocation_id()
    await script(["reject_promise", "q", "no"], service="Process/look")
    rejected = ["failed", "no", 409]
    assert json.loads(await run.result()) == [["yes", rejected]]
    assert json.loads(await waiting.result()) == [[rejected]]
    assert await script(["peek", "q"], ["peek", "never"], ["get", "a"], service="Process/look") == [rejected, [None], [1]]
    assert await runtime.invocation(id).result() == await run.result()
    again = script.send(["return", "other"], service="Process/run")  # as on a cluster: it is the same run
    assert (await again.invocation_id(), await again.result()) == (id, await run.result())
    with pytest.raises(TerminalError, match="was started before"):
        await script(["return", "other"], service="Process/run")
    called = (await Script(runtime)(["call", "c", ["Process", "run", script.key], []], ["await", "c"]))[0][0]
    assert (called[0], called[2]) == ("failed", 409)


# --- what does not repeat


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([["sleep", "x", 1]], [["call", "x", ["Script", "run", None], []]]),
        ([["call", "x", ["Objects", "run", "KEY"], []]], [["call", "x", ["Objects", "look", "KEY"], []]]),
        ([["send", "x", ["Objects", "run", "KEY"], []]], [["send", "x", ["Script", "run", None], []]]),
        ([["set", "a", 1]], [["set", "b", 1]]),
        ([["set", "a", 1]], [["clear", "a"]]),
        ([["run", "x", 1]], [["run", "y", 1]]),
    ],
    ids=["sleep-or-call", "method", "target", "state", "set-or-clear", "run"],
)
@pytest.mark.rule("R20")
async def test_what_does_not_repeat(script: Script, runtime: Any, one: Any, other: Any) -> None:
    """It waits for somebody, and nothing that comes after has happened."""
    key = name()
    one, other = (json.loads(json.dumps(steps).replace("KEY", key)) for steps in (one, other))
    after, tried, untouched = name(), name(), name()
    later: list[list[Any]] = [["run", after, 1], ["send", "s", ["Objects", "run", untouched], [["set", "touched", 1]]]]
    handle = script.send(["differently", tried, one, other], ["sleep", "z", 20], ["await", "z"], ["fail_times", tried + "x", 1], *later)
    row = await until_status(runtime, await handle.invocation_id(), "paused")
    assert row["last_failure_error_code"] == "RT0301"
    assert await script(["count", after], service="Script/run") == [0]
    assert await script.foreign("Objects/look", [["get", "touched"]], key=untouched) == [[None]]
    await handle.kill()
