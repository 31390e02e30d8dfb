"""Within a key: one at a time, first in, first out (R21, R42); the witness is a list in the test, not the runtime's tables."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import KeyedText
from sample.v1.sample_restate import CounterClient

from restate_runtime import RetryPolicy, TerminalError

from .harness import Clock, app, fast_retry, milliseconds, start, until, until_status


class Witness:
    """Writes down who runs, and notices two in one key."""

    def __init__(self) -> None:
        self.order: dict[str, list[str]] = {}
        self.inside: dict[str, str] = {}
        self.failures = 0
        self.open = asyncio.Event()

    async def __call__(self, ctx: Any, text: str) -> Any:
        first, _, what = text.partition(" ")
        await ctx.run("enter", lambda: self._enter(ctx.key, first), retry=RetryPolicy(max_attempts=1))
        if what == "hold":
            await ctx.run("hold", self.open.wait)
        if what == "sleep":
            await ctx.sleep(milliseconds(1))
            await ctx.sleep(milliseconds(1))
        if what.startswith("fail") and ctx.attempt <= int(what[4:]):
            self.failures += 1
            raise ValueError("again")
        await ctx.run("done", lambda: self._done(ctx.key, first))
        return first

    def _enter(self, key: str, text: str) -> None:
        assert key not in self.inside, "two in one key"
        self.inside[key] = text

    def _done(self, key: str, text: str) -> None:
        del self.inside[key]
        self.order.setdefault(key, []).append(text)


@pytest.mark.rule("R21")
@pytest.mark.rule("R42")
async def test_first_in_first_out(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    """Some sleep, some fail and are retried: nobody loses a turn."""
    witness = Witness()
    kinds = ["", "sleep", "fail2", ""]
    async with app(witness).start(data_dir=tmp_path, **fast_retry, **runtime_options) as runtime:
        client = CounterClient(runtime)
        calls = [client.script(KeyedText(key=f"k{n % 3}", text=f"{n} {kinds[n % 4]}")) for n in range(36)]
        await asyncio.gather(*calls)
    assert witness.order == {f"k{key}": [str(n) for n in range(36) if n % 3 == key] for key in range(3)}
    assert witness.failures == 2 * 9


@pytest.mark.rule("R21")
@pytest.mark.rule("R42")
async def test_order_holds_through_restarts(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    witness = Witness()
    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(50), **fast_retry, **runtime_options}
    for life in range(3):
        async with app(witness).start(**options) as runtime:
            for n in range(5):
                await CounterClient(runtime).script.in_background(KeyedText(key="k", text=f"{life}-{n} {'hold' if n == 0 else ''}"))
    witness.open.set()
    async with app(witness).start(**options) as runtime:
        assert (await CounterClient(runtime).script(KeyedText(key="k", text="last"))).text == "last"
    assert witness.order == {"k": [f"{life}-{n}" for life in range(3) for n in range(5)] + ["last"]}


@pytest.mark.rule("R21")
async def test_a_delayed_call_takes_its_place_when_it_is_due(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    witness = Witness()
    async with app(witness).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        delayed = client.script.delayed(KeyedText(key="k", text="delayed"), delay=milliseconds(30))
        holder = client.script.in_background(KeyedText(key="k", text="holder hold"))
        early = client.script.in_background(KeyedText(key="k", text="early"))
        assert await delayed.status() == "scheduled"
        await until_status(runtime, await delayed.invocation_id(), "inboxed")
        late = client.script.in_background(KeyedText(key="k", text="late"))
        await late
        witness.open.set()
        for handle in (holder, early, delayed, late):
            await handle.result()
    assert witness.order == {"k": ["holder", "early", "delayed", "late"]}


@pytest.mark.rule("R21")
async def test_delayed_calls_that_became_due_while_nobody_ran_go_in_due_order(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    witness = Witness()
    clock = Clock()
    async with start(app(witness), clock, data_dir=tmp_path, **runtime_options) as runtime:
        for delay in (90, 50, 70, 60, 80):
            await CounterClient(runtime).script.delayed(KeyedText(key="k", text=str(delay)), delay=timedelta(minutes=delay))
    clock.advance(timedelta(days=1))
    async with start(app(witness), clock, data_dir=tmp_path, **runtime_options):
        await until(lambda: len(witness.order.get("k", [])) == 5)
    assert witness.order == {"k": ["50", "60", "70", "80", "90"]}


@pytest.mark.rule("R21")
@pytest.mark.rule("R42")
async def test_sends_of_one_handler_keep_their_order(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    witness = Witness()

    async def script(ctx: Any, text: str) -> Any:
        if text != "sender":
            return await witness(ctx, text)
        for n in range(50):
            CounterClient(ctx).script.in_background(KeyedText(key="target", text=str(n)))
        return await CounterClient(ctx).script(KeyedText(key="target", text="awaited"))

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        await CounterClient(runtime).script(KeyedText(key="source", text="sender"))
    assert witness.order == {"target": [*(str(n) for n in range(50)), "awaited"]}


@pytest.mark.rule("R42")
async def test_a_key_is_free_after_a_terminal_error(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async def script(_: Any, text: str) -> Any:
        if text == "fail":
            raise TerminalError("no")
        return text

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        failing = client.script(KeyedText(key="k", text="fail"))
        following = client.script(KeyedText(key="k", text="next"))
        with pytest.raises(TerminalError):
            await failing
        assert (await following).text == "next"


@pytest.mark.rule("R42")
async def test_keys_and_services_do_not_wait_for_each_other(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    witness = Witness()
    async with app(witness).start(data_dir=tmp_path, **runtime_options) as runtime:
        client = CounterClient(runtime)
        held = client.script.in_background(KeyedText(key="held", text="first hold"))
        await held
        assert (await client.script(KeyedText(key="free", text="second"))).text == "second"
        witness.open.set()
        await held.result()
    assert witness.order == {"free": ["second"], "held": ["first"]}
