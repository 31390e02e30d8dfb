"""The handlers that the benchmarks call."""

from __future__ import annotations

from typing import Any

from bench.v1 import bench_pb2 as pb
from bench.v1 import bench_restate as bench

from restate_runtime import App, KeyedContext, UnkeyedContext

BLOB = bytes(100)


class Echo(bench.EchoBase):
    async def call(self, ctx: UnkeyedContext, request: pb.Blob) -> pb.Blob:
        return pb.Blob(data=request.data)


class Counter(bench.CounterBase):
    async def add(self, ctx: KeyedContext, request: pb.AddRequest) -> pb.Sum:
        value = (await ctx.get("value", int) or 0) + request.amount
        ctx.set("value", value)
        return pb.Sum(value=value)

    async def read(self, ctx: KeyedContext, request: pb.ReadRequest) -> pb.Sum:
        return pb.Sum(value=await ctx.get("value", int) or 0)


async def nothing() -> bytes:
    return BLOB


class Steps(bench.StepsBase):
    async def run(self, ctx: UnkeyedContext, request: pb.Blob) -> pb.Blob:
        for name in ("first", "second", "third"):
            await ctx.run(name, nothing)
        return request


class Parent(bench.ParentBase):
    async def run(self, ctx: UnkeyedContext, request: pb.Family) -> pb.Sum:
        child = bench.ChildClient(ctx)
        promises = []
        for _ in range(request.children):
            promise = ctx.awakeable(int)
            promises.append(promise)
            child.run.in_background(pb.Promise(awakeable=promise.id))
        return pb.Sum(value=sum([await promise for promise in promises]))


class Child(bench.ChildBase):
    async def run(self, ctx: UnkeyedContext, request: pb.Promise) -> None:
        ctx.resolve_awakeable(request.awakeable, 1)


def _hop(number: int) -> Any:
    base = getattr(bench, f"Hop{number}Base")
    following = getattr(bench, f"Hop{number + 1}Client", None)

    class Hop(base):  # type: ignore[misc,valid-type]
        async def call(self, ctx: KeyedContext, request: pb.Hop) -> pb.Hop:
            return request if following is None else await following(ctx).call(request)

    return Hop()


def build_app() -> App:
    """Every service of the benchmarks."""
    return App(Echo(), Counter(), Steps(), Parent(), Child(), *(_hop(number) for number in range(1, 11)))
