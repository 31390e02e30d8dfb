"""State and payloads: what was set comes back as the type asked for, and what does not fit says so."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Optional

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from sample.v1.sample_pb2 import AddRequest, Number, Text
from sample.v1.sample_restate import CounterClient, LedgerClient

from restate_runtime import Code, SerdeError, TerminalError
from restate_runtime.engine import shell
from restate_runtime.serde import Value, decode, encode

from .services import MOMENT, Sample, begin, play, send, until

pytestmark = pytest.mark.rule("R14")


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Seat:
    row: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Place(msgspec.Struct):
    name: str
    seat: Seat | None = None


class Rot13:
    name = "rot13"

    def serialize(self, value: str) -> bytes:
        return value[::-1].encode()

    def deserialize(self, data: bytes) -> str:
        if data == b"broken":
            raise KeyError("broken")
        return data.decode()[::-1]


WHEN = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)

VALUES: dict[str, tuple[Any, Any]] = {
    "true": (True, bool),
    "false": (False, bool),
    "zero": (0, int),
    "negative": (-(2**63), int),
    "beyond 64 bits": (2**70, int),
    "float": (0.1, float),
    "small float": (5e-324, float),
    "str": ("ä\x00🎫", str),
    "empty str": ("", str),
    "bytes": (b"\x00\xff", bytes),
    "empty bytes": (b"", bytes),
    "list": ([1, 2], list[int]),
    "empty list": ([], list[int]),
    "untyped list": ([1, "a", None], list),
    "dict": ({"a": [1]}, dict[str, list[int]]),
    "dict of ints": ({1: "a"}, dict[int, str]),
    "tuple": ((1, "a"), tuple[int, str]),
    "set": ({1, 2}, set[int]),
    "enum": (Color.RED, Color),
    "dataclass": (Seat(3, ["aisle"]), Seat),
    "struct": (Place("here", Seat(1)), Place),
    "list of structs": ([Place("a"), Place("b")], list[Place]),
    "datetime": (WHEN, datetime),
    "date": (date(2024, 2, 29), date),
    "timedelta": (timedelta(days=1, microseconds=1), timedelta),
    "uuid": (uuid.UUID(int=5), uuid.UUID),
    "decimal": (Decimal("1.10"), Decimal),
    "optional": (5, int | None),
    "message": (Number(value=7), Number),
    "empty message": (Number(), Number),
}


@pytest.mark.parametrize(("value", "type_"), list(VALUES.values()), ids=list(VALUES))
async def test_what_was_set_comes_back(sample: Sample, value: Any, type_: Any) -> None:
    seen: list[Any] = []

    @sample.script
    async def sets(ctx: Any) -> None:
        ctx.set("name", value)
        seen.append(await ctx.get("name", type_))
        await ctx.sleep(MOMENT)

    @sample.script
    async def gets(ctx: Any) -> None:
        seen.append(await ctx.get("name", type_))
        await ctx.sleep(MOMENT)

    @sample.script
    async def awaits(ctx: Any) -> None:
        promise = ctx.awakeable(type_)
        await ctx.run("publish", lambda: promises.append(promise.id))
        seen.append(await promise)

    @sample.script
    async def settles(ctx: Any) -> None:
        promise = ctx.awakeable(type_)
        ctx.resolve_awakeable(promise.id, value)
        seen.append(await promise)

    promises: list[str] = []
    async with sample.start() as runtime:
        await play(runtime, sets, "k")
        handle = send(runtime, awaits)
        await until(lambda: promises)
        await runtime.resolve_awakeable(promises[0], value)
        await handle.result()
        await play(runtime, settles)
    async with sample.start() as runtime:
        await play(runtime, gets, "k")
    assert len(seen) >= 4
    assert all(found == value and type(found) is type(value) for found in seen), seen


async def test_a_serde_of_ones_own(sample: Sample) -> None:
    @sample.script
    async def uses(ctx: Any) -> Any:
        ctx.set("name", "abc", serde=Rot13())
        with pytest.raises(SerdeError, match=r"state 'name' of sample\.v1\.Counter: stored is serde:rot13, wanted is str"):
            await ctx.get("name", str)
        return [await ctx.get("name", Rot13())]

    async with sample.start() as runtime:
        assert await play(runtime, uses, "k") == ["abc"]


MISFITS: dict[str, tuple[Any, Any, str]] = {
    "str as int": ("a", int, "int.*str"),
    "int as str": (1, str, "str.*int"),
    "float as int": (1.5, int, "int.*float"),
    "list of another": ([1, "a"], list[int], "int.*str"),
    "dict as dataclass": ({"row": "x"}, Seat, "Seat.*int.*str"),
    "no such enum": ("blue", Color, "Color.*blue"),
    "str as datetime": ("yesterday", datetime, "datetime"),
    "message as int": (Number(value=1), int, r"sample\.v1\.Number.*int"),
    "message as another": (Number(value=1), Text, r"sample\.v1\.Number.*sample\.v1\.Text"),
    "int as message": (1, Number, r"sample\.v1\.Number"),
    "int as a Serde": (1, Rot13(), "json.*serde:rot13"),
}


@pytest.mark.parametrize(("value", "type_", "words"), list(MISFITS.values()), ids=list(MISFITS))
async def test_a_value_that_does_not_fit_names_all_three(sample: Sample, value: Any, type_: Any, words: str) -> None:
    @sample.script
    async def state(ctx: Any) -> Any:
        ctx.set("the-name", value)
        with pytest.raises(SerdeError, match="state 'the-name' of .*" + words) as caught:
            await ctx.get("the-name", type_)
        return str(caught.value)

    @sample.script
    async def payload(ctx: Any) -> Any:
        promise = ctx.awakeable(type_)
        ctx.resolve_awakeable(promise.id, value)
        for _ in range(2):
            with pytest.raises(TerminalError, match=words) as caught:
                await promise
        return caught.value.code.name

    async with sample.start() as runtime:
        await play(runtime, state, "k")
        assert await play(runtime, payload) == "INVALID_ARGUMENT"
        with pytest.raises(TerminalError, match="the payload of awakeable"):
            await play(runtime, unhandled(sample, type_, value))


def unhandled(sample: Sample, type_: Any, value: Any) -> Any:
    @sample.script
    async def not_caught(ctx: Any) -> None:
        promise = ctx.awakeable(type_)
        ctx.resolve_awakeable(promise.id, value)
        await promise

    return not_caught


class Unencodable:
    """A class that nothing encodes."""


REFUSED: dict[str, Any] = {
    "object": Unencodable(),
    "nan": float("nan"),
    "infinity": float("inf"),
    "nan inside": {"a": [1.0, float("nan")]},
    "nan in a dataclass": Seat(row=float("nan")),  # type: ignore[arg-type]
    "list of messages": [Number()],
    "half a surrogate pair": "\ud800",
    "function": print,
    "coroutine": type("Coroutine", (), {})(),
}


@pytest.mark.parametrize("value", list(REFUSED.values()), ids=list(REFUSED))
async def test_a_bad_value_fails_its_own_call_and_nothing_else(sample: Sample, value: Any) -> None:
    @sample.script
    async def tries(ctx: Any) -> Any:
        ctx.set("before", 1)
        promise = ctx.awakeable(int)
        with pytest.raises(SerdeError):
            ctx.set("bad", value)
        with pytest.raises(SerdeError):
            ctx.resolve_awakeable(promise.id, value)
        ctx.resolve_awakeable(promise.id, 5)
        ctx.set("after", 2)
        return [await ctx.state_keys(), await promise]

    async with sample.start() as runtime:
        beside = CounterClient(runtime).add(AddRequest(name="other", amount=1))
        assert await play(runtime, tries, "k") == [["after", "before"], 5]
        with pytest.raises(SerdeError):
            await runtime.resolve_awakeable("whatever", value)
        assert (await beside).value == 1
    async with sample.start() as runtime:
        assert (await CounterClient(runtime).add(AddRequest(name="other", amount=1))).value == 2


@pytest.mark.parametrize("name", [5, None, b"name", "\ud800", ("a",)], ids=repr)
async def test_a_bad_name_fails_its_own_call_and_nothing_else(sample: Sample, name: Any) -> None:
    @sample.script
    async def tries(ctx: Any) -> Any:
        with pytest.raises(SerdeError, match="the name of a state"):
            ctx.set(name, 1)
        with pytest.raises(SerdeError, match="the name of a state"):
            ctx.get(name, int)
        with pytest.raises(SerdeError, match="the name of a state"):
            ctx.clear(name)
        with pytest.raises((SerdeError, TerminalError)):
            ctx.resolve_awakeable(name, 1)
        promise = ctx.awakeable(int)
        if not isinstance(name, str) or name == "\ud800":
            with pytest.raises(SerdeError, match="the reason"):
                ctx.reject_awakeable(promise.id, name)
        return await ctx.state_keys()

    async with sample.start() as runtime:
        assert await play(runtime, tries, "k") == []
    async with sample.start() as runtime:
        assert await play(runtime, tries, "k") == []


async def test_none_is_refused(sample: Sample) -> None:
    @sample.script
    async def sets_none(ctx: Any) -> Any:
        ctx.set("name", 1)
        with pytest.raises(ValueError, match="use clear"):
            ctx.set("name", None)
        return await ctx.get("name", int)

    async with sample.start() as runtime:
        assert await play(runtime, sets_none, "k") == 1


async def test_names_are_sorted_and_own_writes_count(sample: Sample) -> None:
    @sample.script
    async def writes(ctx: Any) -> Any:
        seen = [await ctx.state_keys()]
        for name in ("b", "", "a", "Z", "ä"):
            ctx.set(name, name)
        seen.append(await ctx.state_keys())
        ctx.clear("b")
        ctx.clear("never there")
        seen.append(await ctx.state_keys())
        seen.append([await ctx.get("b", str), await ctx.get("a", str), await ctx.get("nothing", str)])
        ctx.clear_all()
        ctx.set("last", 1)
        seen.append(await ctx.state_keys())
        return seen

    async with sample.start() as runtime:
        assert await play(runtime, writes, "k") == [[], ["", "Z", "a", "b", "ä"], ["", "Z", "a", "ä"], [None, "a", None], ["last"]]
        assert await play(runtime, writes, "other") == [[], ["", "Z", "a", "b", "ä"], ["", "Z", "a", "ä"], [None, "a", None], ["last"]]
        assert [row["key"] for row in runtime.inspector.state("sample.v1.Counter", "k")] == ["last"]


async def test_a_value_that_was_got_is_a_copy(sample: Sample) -> None:
    @sample.script
    async def changes(ctx: Any) -> Any:
        mine = [1]
        ctx.set("list", mine)
        mine.append(2)
        got = await ctx.get("list", list[int])
        got.append(3)
        ctx.set("message", message := Number(value=1))
        message.value = 2
        return [await ctx.get("list", list[int]), (await ctx.get("message", Number)).value]

    async with sample.start() as runtime:
        assert await play(runtime, changes, "k") == [[1], 1]


async def test_a_read_is_replayed_as_it_was(sample: Sample) -> None:
    @sample.script
    async def reads(ctx: Any) -> Any:
        before = await ctx.get("n", int)
        names = await ctx.state_keys()
        ctx.set("n", (before or 0) + 1)
        await ctx.sleep(MOMENT)
        if ctx.attempt < 3:
            raise ValueError("again")
        return [before, names, await ctx.get("n", int)]

    async with sample.start() as runtime:
        assert await play(runtime, reads, "k") == [None, [], 1]
        assert await play(runtime, reads, "k") == [1, ["n"], 2]


async def test_state_belongs_to_its_key_and_service(sample: Sample) -> None:
    async with sample.start() as runtime:
        counter = CounterClient(runtime)
        await counter.add(AddRequest(name="a", amount=1))
        await counter.add(AddRequest(name="b", amount=10))
        await LedgerClient(runtime).append(Text(text="line"))
    async with sample.start() as runtime:
        counter = CounterClient(runtime)
        assert (await counter.add(AddRequest(name="a", amount=1))).value == 2
        assert (await counter.add(AddRequest(name="b", amount=1))).value == 11
        assert list((await LedgerClient(runtime).lines()).lines) == ["line"]


async def test_an_unkeyed_handler_has_no_state(sample: Sample) -> None:
    @sample.script
    async def looks(ctx: Any) -> Any:
        return [hasattr(ctx, name) for name in ("get", "set", "clear", "clear_all", "state_keys", "key")]

    @sample.script
    async def key(ctx: Any) -> Any:
        return ctx.key

    async with sample.start() as runtime:
        assert await play(runtime, looks) == [False] * 6
        assert await play(runtime, key, "the/key ä") == "the/key ä"


async def test_awakeables_are_settled_once(sample: Sample) -> None:
    @sample.script
    async def settles(ctx: Any) -> Any:
        promise = ctx.awakeable(str)
        ctx.resolve_awakeable(promise.id, "first")
        ctx.reject_awakeable(promise.id, "second")
        ctx.resolve_awakeable(promise.id, "third")
        rejected = ctx.awakeable(str)
        ctx.reject_awakeable(rejected.id, "because")
        with pytest.raises(TerminalError) as caught:
            await rejected
        with pytest.raises(TerminalError) as malformed:
            ctx.resolve_awakeable("nonsense", 1)
        assert malformed.value.code is Code.INVALID_ARGUMENT
        return [await promise, await promise, caught.value.message, promise.id != rejected.id]

    async with sample.start() as runtime:
        assert await play(runtime, settles) == ["first", "first", "because", True]


async def test_a_reason_that_is_no_text_is_refused_and_the_awakeable_stays_open(sample: Sample) -> None:
    @sample.script
    async def waits(ctx: Any) -> Any:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return await promise

    promises: list[str] = []
    reasons: list[Any] = ["\ud800", 5, None, b"no"]
    async with sample.start() as runtime:
        waiting = begin(runtime, waits)
        await until(lambda: promises)
        for reason in reasons:
            with pytest.raises(SerdeError, match="the reason"):
                await runtime.reject_awakeable(promises[0], reason)
        await runtime.resolve_awakeable(promises[0], "yes")
        assert json.loads((await waiting).text) == "yes"


def test_what_is_stored_may_lack_a_field_that_is_required_since() -> None:
    lacking = UninterpretedOption(name=[UninterpretedOption.NamePart(name_part="a")])
    with pytest.raises(SerdeError, match="missing required fields"):
        encode(lacking)
    stored = Value("message:google.protobuf.UninterpretedOption", lacking.SerializePartialToString())
    assert decode(stored, UninterpretedOption) == lacking


async def test_state_in_memory_is_bounded_in_bytes(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_CACHED_BYTES", 1_000_000)
    large = "x" * 60_000

    @sample.script
    async def write(ctx: Any) -> None:
        ctx.set("large", large + ctx.key)
        ctx.set("more", large)

    @sample.script
    async def read(ctx: Any) -> str:
        value: str = await ctx.get("large", str)
        return value

    async with sample.start() as runtime:
        cache = runtime._machinery.shell._cache
        keys = [f"key {number}" for number in range(60)]
        for _ in range(3):
            await asyncio.gather(*(play(runtime, write, key) for key in keys))
            kept = [values for values, _ in cache._lanes.values()]
            assert sum(len(value.data) for values in kept for value in values.values()) < 1_200_000
            assert [await play(runtime, read, key) for key in keys] == [large + key for key in keys]


async def test_a_message_or_none(sample: Sample) -> None:
    """What an action is annotated with, and what state is asked for as."""

    def found() -> Text | None:
        return Text(text="found")

    def missing() -> Text | None:
        return None

    @sample.script
    async def looks(ctx: Any) -> list[Any]:
        here, gone = await ctx.run("found", found), await ctx.run("missing", missing)
        ctx.set("text", here)
        state = await ctx.get("text", Optional[Text])  # noqa: UP045 - both spellings count
        again = await ctx.get("text", Text | None)
        return [here.text, gone, state.text, again.text]

    async with sample.start() as runtime:
        assert await play(runtime, looks, "k") == ["found", None, "found", "found"]
