"""Calls and results are asyncio's futures outside handlers, and durable ones inside."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from google.protobuf.wrappers_pb2 import BoolValue

from restate_runtime import Connection, KeyedContext, Runtime, as_completed, connect, gather, race, select
from tour.v1.tour_pb2 import BoxOfficeTotals, Ticket
from tour.v1.tour_restate import BoxOfficeClient, TicketServiceClient


async def outside(runtime: Runtime) -> None:
    tickets, office = TicketServiceClient(runtime), BoxOfficeClient(runtime)
    call = tickets.reserve(Ticket())
    both: tuple[BoolValue, BoxOfficeTotals] = await asyncio.gather(call, office.totals())
    many: list[BoolValue] = await asyncio.gather(*[tickets.reserve(Ticket()) for _ in range(3)])
    reply: BoolValue = await asyncio.wait_for(call, 1)
    reply = await asyncio.shield(call)
    done, _ = await asyncio.wait([call, tickets.reserve(Ticket())], timeout=1)
    replies: list[BoolValue] = [finished.result() for finished in done]
    for following in asyncio.as_completed([call]):
        reply = await following
    call.add_done_callback(lambda finished: print(finished.result().value))
    future: asyncio.Future[BoolValue] = call if call.done() or not call.cancel() else asyncio.ensure_future(call)
    async with asyncio.timeout(1):
        reply = await future
    handle = await tickets.reserve.in_background(Ticket())
    reply = await handle.result(timeout=timedelta(seconds=1))
    reply, totals = await asyncio.gather(handle.result(), office.totals())
    reply = await asyncio.wait_for(handle.result(), 1)
    print(both, many, reply, replies, totals)
    # expect mypy: "create_task" has incompatible type "Call[BoolValue]"
    # expect pyright: "Call[BoolValue]" cannot be assigned to parameter "coro"
    asyncio.create_task(call)  # noqa: RUF006
    # expect mypy: Incompatible types in assignment (expression has type "BoolValue", variable has type "int")
    # expect pyright: "BoolValue" is not assignable to "int"
    number: int = await handle.result()
    print(number)


async def connected() -> None:
    async with connect("http://127.0.0.1:8080") as connection:
        opened: Connection = connection
        print(await asyncio.gather(TicketServiceClient(opened).reserve(Ticket()), BoxOfficeClient(opened).totals()))


async def inside(ctx: KeyedContext) -> None:
    tickets, office = TicketServiceClient(ctx), BoxOfficeClient(ctx)
    handle = tickets.reserve.in_background(Ticket())
    reserved, totals, _ = await gather(handle.result(), office.totals(), ctx.sleep(timedelta(seconds=1)))
    reply: BoolValue = await race(handle.result(), tickets.reserve(Ticket()))
    _, reply = await select(sent=handle.result(), called=tickets.reserve(Ticket()))
    async for finished in as_completed(handle.result(), tickets.reserve(Ticket())):
        reply = await finished
    reply = await handle.result().or_timeout(timedelta(seconds=1))
    raw: bytes = await ctx.invocation("inv_1").result().or_timeout(timedelta(seconds=1))
    print(reserved.value, totals.sales, reply, raw)
    # expect mypy: Argument 1 to "race" has incompatible type "InvocationHandle[BoolValue]"
    # expect pyright: "InvocationHandle[BoolValue]" is not assignable to "DurableFuture[T@race]"
    await race(handle)
