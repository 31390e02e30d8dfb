"""An endpoint of Restate's Python SDK alone with services of a contract that it does not send along.

`python contract_endpoint.py PORT`: `sample.v1.Counter` knows the messages as JSON, `sample.v1.Echo` as binary protobuf; with `http1` behind
it there is `sample.v1.Ledger` instead, which is of another kind than in its contract.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate
from restate import Context, ObjectContext, Service, TerminalError, VirtualObject
from restate.serde import BytesSerde

RAW: Any = BytesSerde()

counter = VirtualObject("sample.v1.Counter")
echo = Service("sample.v1.Echo")
ledger = Service("sample.v1.Ledger")


@counter.handler("Add")
async def add(ctx: ObjectContext, request: dict[str, Any]) -> dict[str, Any]:
    if request["name"] != ctx.key():
        raise TerminalError("the key is not the message's")
    total = (await ctx.get("total", type_hint=int) or 0) + int(request.get("amount", 0))
    ctx.set("total", total)
    return {"value": str(total)}


@counter.handler("Get")
async def get(ctx: ObjectContext, request: dict[str, Any]) -> dict[str, Any]:
    return {"valeu": 1}


@counter.handler("Beside")
async def beside(ctx: ObjectContext, request: str) -> str:
    return request.upper()


@echo.handler("Call", input_serde=RAW, output_serde=RAW)
async def call(ctx: Context, request: bytes) -> bytes:
    return request


@ledger.handler("Append", input_serde=RAW, output_serde=RAW)
async def append(ctx: Context, request: bytes) -> bytes:
    return b""


async def serve(port: int, services: list[Any]) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    await hypercorn.asyncio.serve(restate.app(services), config)  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [ledger] if sys.argv[2:] == ["http1"] else [counter, echo]))
