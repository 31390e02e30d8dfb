"""Damage on disk is reported, never skipped, and never served (R44)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import threading
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Number, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Runtime, RuntimeFault, TerminalError
from restate_runtime.engine.storage import contracts, meta, reader, rows
from restate_runtime.engine.storage.offline import examine
from restate_runtime.identifiers import awakeable_id, parse_invocation_id

from ..cli.conftest import run
from .harness import app, fast_retry, milliseconds, until

KEYS = [f"key{n:02}" for n in range(12)]
DATABASE = "restate.sqlite3"


async def script(ctx: Any, text: str) -> Any:
    if text == "parent":
        child = CounterClient(ctx).script(KeyedText(key="parked", text="child"))
        again = EchoClient(ctx).script(Text(text="attached"), idempotency_key="attached")
        return (await child).text + (await again).text
    if text == "failing action":
        await ctx.run("fails", _fail)
    if text == "sleep":
        await ctx.sleep(milliseconds(3_600_000))
        return "slept"
    ctx.logger.info("waits")
    first = await ctx.awakeable(str)
    return f"{first} and {await ctx.awakeable(str)}"


def _fail() -> None:
    raise OSError("again")


class Parked:
    """What a prepared directory holds: the ids of what waits in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ids: dict[str, str] = {}


async def prepare(directory: Path) -> Parked:
    parked = Parked(directory)
    async with app(script).start(data_dir=directory, inactivity_timeout=milliseconds(1), shutdown_timeout=milliseconds(50)) as runtime:
        counter, echo = CounterClient(runtime), EchoClient(runtime)
        for n, key in enumerate(KEYS):
            for _ in range(2):
                await counter.add(AddRequest(name=key, amount=100 + n))
            await echo.call(Text(text=f"answer {n}"), idempotency_key=f"used{n}")
        handles = {
            "attached": echo.script.in_background(Text(text="attached"), idempotency_key="attached"),
            "parent": echo.script.in_background(Text(text="parent")),
            "sleeper": echo.script.in_background(Text(text="sleep")),
            "action": echo.script.in_background(Text(text="failing action")),
            "delayed": counter.add.delayed(AddRequest(name=KEYS[0], amount=1), delay=milliseconds(3_600_000)),
        }
        parked.ids = {name: await handle.invocation_id() for name, handle in handles.items()}
        await until(lambda: len(runtime.inspector.invocations(statuses=["suspended"])) >= 4)
        for row in runtime.inspector.invocations(service="sample.v1.Counter", key="parked"):
            parked.ids["child"] = row["id"]
        for name in ("attached", "child"):
            gate = runtime.inspector.describe(parked.ids[name])["waiting_for"][0].removeprefix("awakeable ")  # type: ignore[index]
            await runtime.resolve_awakeable(gate, "first")  # a notification in the log, a second one to come
            await until(lambda name=name: runtime.status(parked.ids[name]) == "suspended")
    return parked


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory) -> Parked:
    return asyncio.run(prepare(tmp_path_factory.mktemp("parked")))


# --- the survey: everything that a caller can ask, and whether an answer is wrong


def second_awakeable(id: str) -> str:
    raw = parse_invocation_id(id)
    assert raw is not None
    return awakeable_id(raw, 18)


async def outcome(runtime: Runtime, id: str) -> tuple[str, Any]:
    """How an invocation ends, or that it is paused: `("completed", payload)` or `("paused", fault)`."""
    while True:
        status = runtime.status(id)
        if status == "completed":
            return status, runtime.output(id)
        if status == "paused":
            described = runtime.inspector.invocations(statuses=["paused"])
            return status, next(row["last_failure_error_code"] for row in described if row["id"] == id)
        await asyncio.sleep(0.002)


async def check(problems: list[str], what: str, asked: Awaitable[Any], expected: Any) -> None:
    """An answer is right, or a fault with a code; anything else is a problem."""
    try:
        async with asyncio.timeout(10):
            answer = await asked
    except RuntimeFault as fault:
        if not fault.code.startswith("RT02"):
            problems.append(f"{what}: {fault}")
    except ConnectionError as error:
        if "RT02" not in str(error):
            problems.append(f"{what}: {error!r}")
    except Exception as error:
        problems.append(f"{what}: {error!r}")
    else:
        if answer != expected and answer != ("paused", "RT0204"):
            problems.append(f"{what}: {answer} instead of {expected}")


async def survey(directory: Path, ids: dict[str, str]) -> list[str]:
    """What a damaged directory serves that is wrong; nothing where the start is refused with a code."""
    problems: list[str] = []
    try:
        async with app(script).start(data_dir=directory, **fast_retry) as runtime:
            counter, echo = CounterClient(runtime), EchoClient(runtime)

            async def value(key: str) -> tuple[str, Any]:
                handle = counter.get.in_background(CounterKey(name=key))
                return await outcome(runtime, await handle.invocation_id())

            async def repeated(n: int) -> tuple[str, Any]:
                handle = echo.call.in_background(Text(text=f"answer {n}"), idempotency_key=f"used{n}")
                before = len(runtime.inspector.invocations(limit=1000))
                result = await outcome(runtime, await handle.invocation_id())
                return result if len(runtime.inspector.invocations(limit=1000)) == before else ("executed again", result)

            async def settled(name: str) -> tuple[str, Any]:
                if runtime.status(ids[name]) != "paused":
                    await runtime.resolve_awakeable(second_awakeable(ids[name]), "second")
                return await outcome(runtime, ids[name])

            async def status(name: str) -> str:
                return runtime.status(ids[name])

            for n, key in enumerate(KEYS):
                await check(problems, key, value(key), ("completed", _number(2 * (100 + n))))
                await check(problems, f"used{n}", repeated(n), ("completed", Text(text=f"answer {n}").SerializeToString()))
            for name, expected in (("sleeper", "suspended"), ("action", "suspended"), ("delayed", "scheduled")):
                await check(problems, name, _either(status(name), expected), expected)
            both = Text(text="first and second").SerializeToString()
            for name in ("attached", "child"):
                await check(problems, name, settled(name), ("completed", both))
            await check(problems, "parent", _parent(runtime, ids), ("completed", Text(text="first and second" * 2).SerializeToString()))
    except RuntimeFault as fault:
        if not fault.code.startswith("RT02"):
            problems.append(f"the start: {fault}")
    except ConnectionError as error:
        if "RT02" not in str(error):
            problems.append(f"the end: {error!r}")
    return problems


async def _either(asked: Awaitable[str], expected: str) -> str | tuple[str, str]:
    """A side effect that is tried again runs now and then."""
    found = await asked
    if found == "paused":
        return ("paused", "RT0204")
    return expected if expected == "suspended" and found == "running" else found


async def _parent(runtime: Runtime, ids: dict[str, str]) -> tuple[str, Any]:
    """It waits for two others; where one of them cannot be completed, it waits with right."""
    for name in ("child", "attached"):
        if runtime.status(ids[name]) != "completed":
            return "paused", "RT0204"
    return await outcome(runtime, ids["parent"])


def _number(value: int) -> bytes:
    return Number(value=value).SerializeToString()


def copy(parked: Parked, to: Path) -> Path:
    shutil.copytree(parked.directory, to)
    return to


async def test_the_survey_finds_nothing_in_a_sound_directory(parked: Parked, tmp_path: Path) -> None:
    assert await survey(copy(parked, tmp_path / "sound"), parked.ids) == []
    assert examine(parked.directory) == []


# --- flipped bits


def flipped(directory: Path, file: str, offset: int, mask: int) -> Path:
    with (directory / file).open("r+b") as opened:
        opened.seek(offset)
        (byte,) = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte ^ mask]))
    return directory


def positions(parked: Parked, number: int) -> Iterator[tuple[int, int]]:
    """Spread over the file, with the same seed each time: half of them anywhere, half where something is stored."""
    content = (parked.directory / DATABASE).read_bytes()
    generator = random.Random(2)
    stored = [offset for offset, byte in enumerate(content) if byte]
    for n in range(number):
        yield (generator.randrange(len(content)) if n % 2 else generator.choice(stored)), 1 << generator.randrange(8)


@pytest.mark.rule("R44")
async def test_a_flipped_bit_anywhere_is_never_served(parked: Parked, tmp_path: Path, full: bool) -> None:
    wrong = []
    for offset, mask in positions(parked, 5000 if full else 80):
        directory = flipped(copy(parked, tmp_path / "damaged"), DATABASE, offset, mask)
        place = f"bit {mask:#x} of byte {offset % 4096} of page {offset // 4096}"
        wrong += [f"{place}: {problem}" for problem in await survey(directory, parked.ids)]
        shutil.rmtree(directory)
    assert wrong == []


def unchecked(table: str, row: Sequence[Any]) -> tuple[Any, ...]:
    crc = rows._CRC if table == "invocation" else len(row) - 1
    return (*row[:crc], *row[crc + 1 :])


@pytest.mark.rule("R44")
async def test_the_survey_sees_what_the_checksums_are_for(parked: Parked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same damage with the verification taken out is served: so it is the verification that detects it."""
    content = (parked.directory / DATABASE).read_bytes()
    # A state, a recorded result, what an awakeable was settled with: each wherever it lies, since a page that was split leaves a copy.
    texts = (b"key05valuejson210", b"answer 3", b'"first')
    served = []
    for verified in (True, False):
        if not verified:
            for module in (contracts, meta, reader, rows):
                monkeypatch.setattr(module, "checked", unchecked)
        for text in texts:
            directory = copy(parked, tmp_path / "damaged")
            for match in re.finditer(re.escape(text), content):
                flipped(directory, DATABASE, match.end() - 1, 1)
            served.append(bool(await survey(directory, parked.ids)))
            shutil.rmtree(directory)
    assert served == [False, False, False, True, True, True]


# --- one row at a time: who is hit, and who is not


def change(directory: Path, sql: str) -> None:
    connection = apsw.Connection(str(directory / DATABASE))
    connection.execute(sql)
    assert connection.changes() >= 1 or sql.startswith("DROP")
    connection.close()


LAST = "(SELECT max(seq) FROM invocation WHERE method = 'Script' AND key = 'parked')"
BLOB = "CAST(replace(CAST({0} AS TEXT), '{1}', '{2}') AS BLOB)"


@pytest.mark.rule("R44")
@pytest.mark.parametrize(
    ("sql", "hit"),
    [
        ("UPDATE state SET value = CAST('201' AS BLOB) WHERE key = 'key01'", "key01"),
        ("UPDATE state SET tag = 'text' WHERE key = 'key01'", "key01"),
        ("UPDATE state SET crc = crc + 1 WHERE key = 'key01'", "key01"),
        (f"UPDATE notification SET entry = {BLOB.format('entry', 'first', 'other')} WHERE seq = {LAST}", "child"),
        (f"UPDATE notification SET position = 5 WHERE seq = {LAST}", "child"),
        (f"DELETE FROM command WHERE position = 0 AND seq = {LAST}", "child"),
        (f"UPDATE command SET entry = {BLOB.format('entry', 'child', 'other')} WHERE position = 0 AND seq = {LAST}", "child"),
    ],
)
async def test_a_damaged_row_pauses_its_invocation_and_others_run(sql: str, hit: str, parked: Parked, tmp_path: Path) -> None:
    directory = copy(parked, tmp_path / "damaged")
    change(directory, sql)
    assert {finding.code for finding in examine(directory)} == {"RT0204"}
    async with app(script).start(data_dir=directory, **fast_retry) as runtime:
        counter = CounterClient(runtime)
        for n, key in enumerate(KEYS):
            handle = counter.get.in_background(CounterKey(name=key))
            if key == hit:
                assert await outcome(runtime, await handle.invocation_id()) == ("paused", "RT0204")
                behind = counter.add.in_background(AddRequest(name=key, amount=1))
                assert await behind.status() == "inboxed"
            else:
                assert (await handle.result()).value == 2 * (100 + n)
        if hit == "child":
            # It is read when its await can go on.
            await runtime.resolve_awakeable(second_awakeable(parked.ids["attached"]), "second")
            assert (await runtime.invocation(parked.ids["attached"]).result()).text == "first and second"
            with contextlib.suppress(RuntimeFault):  # the log of what arrived may be what is damaged
                await runtime.resolve_awakeable(second_awakeable(parked.ids["child"]), "second")
            if runtime.status(parked.ids["child"]) == "suspended":
                return
            assert await outcome(runtime, parked.ids["child"]) == ("paused", "RT0204")
            assert runtime.status(parked.ids["parent"]) == "suspended"
            await runtime.kill(parked.ids["child"])  # which frees its key
            assert (await counter.add(AddRequest(name="parked", amount=1))).value == 1
            with pytest.raises(TerminalError, match="ABORTED"):
                await runtime.invocation(parked.ids["parent"]).result()


@pytest.mark.rule("R44")
@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE invocation SET admission = 1 WHERE seq = {LAST}",
        f"UPDATE invocation SET status = 'completed' WHERE seq = {LAST}",
        f"DELETE FROM invocation WHERE seq = {LAST}",
        f"UPDATE invocation SET key = 'other' WHERE seq = {LAST}",
        "UPDATE timer SET due_ms = 1",
        "UPDATE action SET failures = 0",
        "UPDATE subscriber SET parent_completion = 1",
        "UPDATE service SET methods = '[]'",
        "UPDATE meta SET next_seq = 1",
        "UPDATE meta SET batch = batch + 1000",
        "UPDATE meta SET clean = 1 - clean",
        "DELETE FROM meta",
        "DROP TABLE timer",
        "INSERT INTO deployment VALUES ('dp_1x', 'http://127.0.0.1:1', 1, x'00', 1)",
    ],
)
async def test_damage_that_decides_about_everybody_refuses_the_start(sql: str, parked: Parked, tmp_path: Path) -> None:
    directory = copy(parked, tmp_path / "damaged")
    change(directory, sql)
    before, threads = (directory / DATABASE).read_bytes(), set(threading.enumerate())
    with pytest.raises(RuntimeFault) as error:
        async with app(script).start(data_dir=directory):
            pass
    assert error.value.code == "RT0204"
    assert len((directory / DATABASE).read_bytes()) == len(before)
    assert set(threading.enumerate()) <= threads


@pytest.mark.rule("R22")
@pytest.mark.rule("R44")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE idempotency SET digest = zeroblob(16) WHERE idempotency_key = 'used3'",
        "UPDATE idempotency SET seq = seq + 1 WHERE idempotency_key = 'used3'",
        "UPDATE idempotency SET idempotency_key = 'used2x' WHERE idempotency_key = 'used3'",
        "DELETE FROM invocation WHERE idempotency_key = 'used3'",
        "DELETE FROM command WHERE position = 1 AND seq = (SELECT seq FROM idempotency WHERE idempotency_key = 'used3')",
    ],
)
async def test_a_damaged_idempotency_key_executes_nothing_again(sql: str, parked: Parked, tmp_path: Path) -> None:
    directory = copy(parked, tmp_path / "damaged")
    change(directory, sql)
    async with app(script).start(data_dir=directory) as runtime:
        before = len(runtime.inspector.invocations(limit=1000))
        with pytest.raises(RuntimeFault, match="RT0204"):
            await EchoClient(runtime).call(Text(text="answer 3"), idempotency_key="used3")
        assert len(runtime.inspector.invocations(limit=1000)) == before
        assert (await EchoClient(runtime).call(Text(text="answer 5"), idempotency_key="used5")).text == "answer 5"


@pytest.mark.rule("R44")
async def test_a_state_row_whose_key_is_damaged_is_missed(parked: Parked, tmp_path: Path) -> None:
    """In place, as a bad disk does it: the row is not found under its key, and must not be taken for one that never was."""
    directory = copy(parked, tmp_path / "damaged")
    content = (directory / DATABASE).read_bytes()
    offset = content.index(b"sample.v1.Counterkey05value") + len(b"sample.v1.Counterkey0")
    flipped(directory, DATABASE, offset, 2)  # key07, twice
    async with app(script).start(data_dir=directory) as runtime:
        id = await CounterClient(runtime).get.in_background(CounterKey(name="key05")).invocation_id()
        assert await outcome(runtime, id) == ("paused", "RT0204")
        assert (await CounterClient(runtime).get(CounterKey(name="key09"))).value == 2 * 109


# --- what is damaged is told to whoever asks, and in the log


def damage(directory: Path, table: str) -> None:
    connection = apsw.Connection(str(directory / DATABASE))
    column = {"state": "value", "command": "entry"}[table]
    connection.execute(f"UPDATE {table} SET {column} = CAST({column} || x'00' AS BLOB)")
    connection.close()


async def test_a_damaged_result_is_data_loss_for_who_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with app().start(data_dir=tmp_path) as runtime:
        id = await EchoClient(runtime).call.in_background(Text(text="x"), idempotency_key="one").invocation_id()
        await runtime.invocation(id).result()
    damage(tmp_path, "command")
    async with (
        app().start(data_dir=tmp_path, ingress="127.0.0.1:0", admin="127.0.0.1:0") as runtime,
        aiohttp.ClientSession() as session,
    ):
        asked: list[tuple[str, str, Any]] = [
            ("POST", f"{runtime.ingress_url}/sample.v1.Echo/Call", {"text": "x"}),
            ("GET", f"{runtime.ingress_url}/restate/invocation/{id}/output", None),
            ("GET", f"{runtime.ingress_url}/restate/invocation/{id}/attach", None),
            ("PATCH", f"{runtime.admin_url}/invocations/{id}/restart-as-new", None),
        ]
        for verb, url, body in asked:
            async with session.request(verb, url, json=body, headers={"idempotency-key": "one"}) as response:
                error = await response.json()
                assert (response.status, error["code"]) == (500, "data_loss"), (url, error)
                assert re.fullmatch(r"table command: the row .* is damaged.* \[RT0204\]", error["message"])
        shown = await asyncio.to_thread(run, "invocations", "describe", id, "--admin", runtime.admin_url)
        assert (shown.status, shown.err.count("RT0"), shown.err.count("\n")) == (1, 1, 1), shown.err
    told = [record for record in caplog.records if "RT0204" in record.getMessage()]
    assert len(told) == len(asked) + 1
    assert not any(record.exc_info for record in caplog.records)


async def test_what_is_paused_because_of_damage_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with app().start(data_dir=tmp_path) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    damage(tmp_path, "state")
    async with app().start(data_dir=tmp_path) as runtime:
        id = await CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1)).invocation_id()
        await until(lambda: runtime.status(id) == "paused")
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        rf"\[sample.v1.Counter/Add\] {id} is paused: table state: .* \[RT0204\]; `restate-runtime invocations resume {id}` lets it go on",
        line,
    )
