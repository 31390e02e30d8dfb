"""An argument where the request is `google.protobuf.Empty`."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.empty_pb2 import Empty

from restate_runtime import SingletonContext
from tour.v1.tour_pb2 import BoxOfficeTotals
from tour.v1.tour_restate import BoxOfficeClient


async def calls(ctx: SingletonContext) -> None:
    office = BoxOfficeClient(ctx)
    totals: BoxOfficeTotals = await office.totals()
    print(totals)
    # expect mypy: Too many positional arguments for "__call__" of "EmptyMethod"
    # expect pyright: Expected 0 positional arguments
    office.totals(Empty())
    # expect mypy: Too many positional arguments for "in_background"
    # expect pyright: Expected 0 positional arguments
    office.totals.in_background(Empty())
    # expect mypy: "delayed" of "EmptyMethod"
    # expect pyright: Expected 1 positional argument
    office.totals.delayed(Empty(), timedelta(1))
