"""Sends values of every kind through services on the classes of one message library, and prints what came back.

python echo.py FOLDER FLAVOUR
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp

from restate_runtime import App, RetryPolicy, connect

# In JSON: one field of `Values` each.
FIELDS: dict[str, list[Any]] = {
    "small": [1, -1, 2147483647, -2147483648, "5", 2.0],
    "large": ["9223372036854775807", -5, 9007199254740993],
    "natural": ["18446744073709551615"],
    "zigzag": [-7],
    "fixed": [4294967295],
    "single": [1.5, "NaN", "-Infinity", 3.4e38],
    "precise": [1e308, "NaN", 5e-324, -0.0],
    "flag": [True, False],
    "data": ["AQID", "_-8=", ""],
    "color": ["COLOR_RED", 1, -5, 77],
    "nested": [{}, {"text": "x"}, {"nested": {"nested": {"text": "deep"}}}],
    "numbers": [[1, -2, 3], []],
    "nesteds": [[{}, {"text": "x"}]],
    "colors": [["COLOR_RED", 77, 0, -5]],
    "texts": [{"a": "b", "": "c"}, {"": ""}],
    "byNumber": [{"1": {"text": "x"}, "-1": {}}],
    "byFlag": [{"true": "1", "false": "0"}],
    "times": [{"a": "2024-01-01T00:00:00Z"}],
    "maybeNumber": [0, 5],
    "maybeText": ["", "x"],
    "maybeColor": ["COLOR_UNSPECIFIED", 8],
    "chosenNumber": [0, 4],
    "chosenText": ["", "x"],
    "chosenNested": [{}],
    "chosenTime": ["1970-01-01T00:00:00Z"],
    "time": [
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.500Z",
        "0001-01-01T00:00:00Z",
        "2024-02-29T12:00:00.123456Z",
        "2024-02-29T12:00:00.123456789Z",
    ],
    "span": ["0s", "1.500s", "-3s", "315576000000s", "0.000000001s"],
    "any": [{}, {"@type": "x/values.v1.Values", "key": "k"}, {"@type": "x/google.protobuf.Duration", "value": "1s"}],
    "struct": [{}, {"a": 1, "b": [True, None, {"c": "d"}], "e": None}],
    "value": [None, 1, "x", [1, None], {"a": None}, []],
    "list": [[], [1, "a", None]],
    "mask": ["", "small,nested.text,camelCaseOdd"],
    "wrappedText": ["", "x"],
    "wrappedNumber": ["0", "7"],
    "spans": [["0s", "1s"]],
    "camelCaseOdd": ["x"],
    "JSON-name": ["y"],
    "class": ["z"],
}

OLD: dict[str, Any] = {"number": 1, "text": "a", "flag": True, "kind": "KIND_B", "data": "AQ=="}
CALLS: list[tuple[str, Any]] = [
    ("At", "2024-01-01T00:00:00Z"),
    ("Number", "5"),
    ("Number", "0"),
    ("Tree", {"a": [1]}),
    ("CallOld", OLD),
    ("CallOld", OLD | {"number": 0, "text": "", "flag": False, "kind": "KIND_A", "data": ""}),
    ("CallOld", OLD | {"old": OLD | {"flag": False}}),
    ("CallOld", OLD | {"[values.v1.extra]": "e", "unpacked": [1, 2], "withDefault": 0}),
]
WRONG: list[tuple[str, Any]] = [
    ("CallOld", {"number": 1}),
    ("CallOld", OLD | {"old": {}}),
    ("Call", {"color": "COLOR_GREEN"}),
    ("Call", {"any": {"@type": "x/no.Such"}}),
    ("Call", {"any": {"@type": "x/values.v1.Values", "small": "x"}}),
    ("Call", {"chosenNumber": 1, "chosenText": "x"}),
    ("Call", {"time": "10000-01-01T00:00:00Z"}),
]
# In hexadecimal.
BINARY: dict[str, tuple[str, str]] = {
    "unknown fields": ("Call", "0a016bf23f0568656c6c6f6205f23f026869"),
    "an unknown value of an enum": ("Call", "584d"),
    "an enum of proto2": ("CallOld", "0800120018002000" + "2a00" + "38013802"),
    "without required fields": ("CallOld", "0801"),
    "one of two": ("Call", "c00201ca020178"),
    "a time that datetime cannot hold": ("Call", "92030708ffffffffff3f"),
    "no UTF-8": ("Call", "0a01ff"),
}


class Services:
    def __init__(self, pb: Any, rs: Any) -> None:
        self.made: Callable[[], Any] = pb.Values
        self.nested: Any = pb.Values.Nested if hasattr(pb.Values, "Nested") else pb.ValuesNested

        class Echo(rs.EchoBase):  # type: ignore[misc]
            async def call(self, ctx: Any, request: Any) -> Any:
                if request.key == "nested":  # no rpc speaks of that class, and nothing says what the side effect returns
                    return pb.Values(nested=await ctx.run("nested", lambda: services.nested(text="x")))
                return services.made() if request.key == "make" else request

            async def call_old(self, ctx: Any, request: Any) -> Any:
                return request

            async def at(self, ctx: Any, request: Any) -> Any:
                return request

            async def number(self, ctx: Any, request: Any) -> Any:
                return request

            async def tree(self, ctx: Any, request: Any) -> Any:
                return request

        class Box(rs.BoxBase):  # type: ignore[misc]
            async def put(self, ctx: Any, request: Any) -> Any:
                ctx.state.values.set(services.made() if request.key == "make" else request)
                return await ctx.state.values.get()

            async def get(self, ctx: Any, request: Any) -> Any:
                return await ctx.state.values.get()

        services = self
        self.app = App(Echo(), Box(), retry=RetryPolicy(initial_interval=timedelta(0), max_attempts=2, on_exhausted="fail"))  # type: ignore[arg-type]


async def play(folder: Path, flavour: str) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(folder))
    if flavour == "protobuf":
        pb: Any = importlib.import_module("values.v1.values_pb2")
        rs: Any = importlib.import_module("values.v1.values_restate")
    else:
        pb, rs = importlib.import_module("gen.values.v1"), importlib.import_module("gen.values.v1.values_restate")
    services = Services(pb, rs)
    async with (
        services.app.start(ingress="127.0.0.1:0") as runtime,
        aiohttp.ClientSession() as session,
        connect(runtime.ingress_url) as there,
    ):

        async def post(path: str, body: Any, kind: str = "application/json") -> list[Any]:
            async with session.post(f"{runtime.ingress_url}/{path}", data=body, headers={"content-type": kind}) as response:
                content = await response.read()
                return [response.status, json.loads(content) if response.content_type == "application/json" else content.hex()]

        report: dict[str, Any] = {}
        for field, values in FIELDS.items():
            for value in values:
                body = json.dumps({field: value, "key": "k"})
                report[body] = await post("values.v1.Echo/Call", body)
                report[f"put {body}"] = await post("values.v1.Box/Put", body)
                report[f"get {body}"] = await post("values.v1.Box/Get", '{"key": "k"}')
                report[f"see {body}"] = runtime.inspector.state("values.v1.Box", "k")[0]["value_json"]
        report["a class that no rpc speaks of"] = await post("values.v1.Echo/Call", '{"key": "nested"}')
        for method, value in CALLS + WRONG:
            report[f"{method} {json.dumps(value)}"] = await post(f"values.v1.Echo/{method}", json.dumps(value))
        for name, (method, body) in BINARY.items():
            report[name] = await post(f"values.v1.Echo/{method}", bytes.fromhex(body), "application/proto")
        unseen = bytes.fromhex("0a016b" + BINARY["a time that datetime cannot hold"][1])
        stored = await post("values.v1.Box/Put", unseen, "application/proto")
        report["unseen"] = [stored[0], runtime.inspector.state("values.v1.Box", "k")[0]["value_json"]]
        report["given"] = await given(services, pb, rs, runtime, there)
    return report


async def given(services: Services, pb: Any, rs: Any, runtime: Any, there: Any) -> dict[str, Any]:
    """Values that a program gives, good ones and others: as a request, in and out of process, as a response, and as a state."""
    values: dict[str, dict[str, Any]] = {
        "a number as text": {"key": 5},
        "text as a number": {"small": "x"},
        "half a surrogate pair": {"key": "\ud800"},
        "a number as a span": {"span": 5},
        "a time of another zone": {"time": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))},
        "a time": {"time": datetime(2024, 1, 1, tzinfo=UTC)},
        "a negative span": {"span": timedelta(seconds=-0.5)},
        "negative spans": {"spans": [timedelta(seconds=1), timedelta(seconds=-1.5)]},
        "a negative span of whole seconds": {"span": timedelta(seconds=-2)},
    }
    report: dict[str, Any] = {}
    for name, fields in values.items():

        def made(fields: dict[str, Any] = fields) -> Any:
            return pb.Values(**fields)

        services.made = made
        report[name] = [
            await outcome(lambda made=made: rs.EchoClient(runtime).call(made())),  # type: ignore[misc]
            await outcome(lambda made=made: rs.EchoClient(there).call(made())),  # type: ignore[misc]
            await outcome(lambda: rs.EchoClient(runtime).call(pb.Values(key="make"))),
            await outcome(lambda: rs.BoxClient(runtime).put(pb.Values(key="make"))),
        ]
    return report


async def outcome(call: Callable[[], Awaitable[Any]]) -> str:
    """What came back in hexadecimal, or the error's class."""
    try:
        reply = await call()
    except Exception as error:
        return type(error).__name__
    return str((reply.SerializeToString() if hasattr(reply, "SerializeToString") else bytes(reply)).hex())


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(Path(sys.argv[1]), sys.argv[2])), indent=1, sort_keys=True))
