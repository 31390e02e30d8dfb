"""W1 to W5 in process, with full sync, beside what this machine's disk allows.

    python benchmarks/quick.py [--scale 1.0] [W1 W2 ...]

Printed first are the time of one sync and the rate of a bare group-commit loop on the same disk (one row a call, no logic), since a rate
says little without them. Every workload has one warm-up and five runs in a fresh data directory; median, minimum and maximum are shown.
A run whose results are wrong ends the benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
from rich.console import Console
from rich.table import Table
from services import BLOB, bench, build_app, pb

from restate_runtime import Runtime

RUNS = 5


def sync_time(folder: Path) -> float:
    """Median seconds of one write and sync of 4 KiB."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times)


async def bare_loop(folder: Path, calls: int, concurrency: int) -> float:
    """Calls a second of a loop that only commits: one row a call, in groups, full sync, the commit in a thread."""
    connection = apsw.Connection(str(folder / "bare.sqlite3"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE call (id INTEGER PRIMARY KEY, payload BLOB) STRICT")
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    loop = asyncio.get_running_loop()
    stopped = False

    async def commit() -> None:
        while not stopped:
            batch = list(waiting)
            waiting.clear()
            if not batch:
                await asyncio.sleep(0)
                continue
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO call (payload) VALUES (?)", [(payload,) for payload, _ in batch])
            await loop.run_in_executor(None, connection.execute, "COMMIT")
            for _, future in batch:
                future.set_result(None)

    async def client(count: int) -> None:
        for _ in range(count):
            future = loop.create_future()
            waiting.append((BLOB, future))
            await future

    committer = asyncio.create_task(commit())
    started = time.perf_counter()
    await asyncio.gather(*(client(calls // concurrency) for _ in range(concurrency)))
    elapsed = time.perf_counter() - started
    stopped = True
    await committer
    connection.close()
    return calls / elapsed


async def clients(concurrency: int, calls: int, one: Callable[[int], Awaitable[object]]) -> tuple[float, list[float]]:
    """Calls a second of so many clients, each with one call at a time, and every call's seconds."""
    times: list[float] = []
    numbers = iter(range(calls))

    async def client() -> None:
        for number in numbers:
            started = time.perf_counter()
            await one(number)
            times.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return calls / (time.perf_counter() - started), times


Workload = Callable[[Runtime, float], Awaitable[tuple[float, list[float]]]]


def echo(concurrency: int, calls: int) -> Workload:
    async def run(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
        client = bench.EchoClient(runtime)
        request = pb.Blob(data=BLOB)
        return await clients(concurrency, int(calls * scale), lambda _: client.call(request))

    return run


def counter(concurrency: int, keys: int) -> Workload:
    async def run(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
        client = bench.CounterClient(runtime)
        before = await _sum(client, keys)
        calls = int(20_000 * scale)
        measured = await clients(concurrency, calls, lambda number: client.add(pb.AddRequest(name=f"key-{number % keys}", amount=1)))
        if await _sum(client, keys) - before != calls:
            raise SystemExit("W2: the sum is wrong")
        return measured

    async def _sum(client: bench.CounterClient, keys: int) -> int:
        return (
            sum([(await client.read(pb.ReadRequest(name=f"key-{number}"))).value for number in range(min(keys, 200))]) if keys <= 200 else 0
        )

    async def checked(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
        if keys <= 200:
            return await run(runtime, scale)
        client = bench.CounterClient(runtime)
        calls = int(20_000 * scale)
        sums: dict[int, int] = {}

        async def add(number: int) -> None:
            sums[number % keys] = max(
                sums.get(number % keys, 0), (await client.add(pb.AddRequest(name=f"key-{number % keys}", amount=1))).value
            )

        before = dict(_seen)
        measured = await clients(concurrency, calls, add)
        _seen.update(sums)
        if sum(value - before.get(key, 0) for key, value in sums.items()) != calls:
            raise SystemExit("W2: the sum is wrong")
        return measured

    _seen: dict[int, int] = {}
    return checked


def steps(concurrency: int) -> Workload:
    async def run(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
        client = bench.StepsClient(runtime)
        request = pb.Blob(data=BLOB)
        return await clients(concurrency, int(5_000 * scale), lambda _: client.run(request))

    return run


async def chain(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
    client = bench.Hop1Client(runtime)
    return await clients(1, int(500 * scale), lambda number: client.call(pb.Hop(key=f"key-{number}")))


async def family(runtime: Runtime, scale: float) -> tuple[float, list[float]]:
    client = bench.ParentClient(runtime)

    async def one(_: int) -> None:
        if (await client.run(pb.Family(children=100))).value != 100:
            raise SystemExit("W5: an awakeable is missing")

    rate, times = await clients(4, int(200 * scale), one)
    return rate * 100, times


WORKLOADS: list[tuple[str, str, str, Workload]] = [
    ("W1", "echo, 1 client", "p50 under 1 ms", echo(1, 2_000)),
    ("W1", "echo, 256 clients", "12,000/s", echo(256, 20_000)),
    ("W2", "counter, 10,000 keys, 256 clients", "10,000/s", counter(256, 10_000)),
    ("W2", "counter, 1 key, 256 clients", "5,000/s", counter(256, 1)),
    ("W3", "three side effects, 64 clients", "5,000/s", steps(64)),
    ("W4", "chain of ten keyed calls, 1 client", "p50 2 ms", chain),
    ("W5", "100 background calls and awakeables a parent", "12,000 children/s", family),
]


async def measure(workload: Workload, scale: float) -> tuple[list[float], list[float]]:
    rates: list[float] = []
    times: list[float] = []
    async with build_app().start() as runtime:
        await workload(runtime, scale / 4)
        for _ in range(RUNS):
            rate, each = await workload(runtime, scale)
            rates.append(rate)
            times += each
    return rates, sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the calls")
    parser.add_argument("workloads", nargs="*", help="W1 to W5; all where none is named")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sync = sync_time(folder)
        bare = asyncio.run(bare_loop(folder, int(50_000 * arguments.scale), 256))
    console.print(f"one sync of 4 KiB: {sync * 1000:.2f} ms; bare group-commit loop at 256: {bare:,.0f} calls/s")
    table = Table("id", "workload", "budget", "calls/s (min to max)", "p50 ms", "p99 ms", "share of the bare loop")
    for column in table.columns[3:]:
        column.justify = "right"
    for identifier, title, budget, workload in WORKLOADS:
        if arguments.workloads and identifier not in arguments.workloads:
            continue
        rates, times = asyncio.run(measure(workload, arguments.scale))
        median = statistics.median(rates)
        table.add_row(
            identifier,
            title,
            budget,
            f"{median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
            f"{times[len(times) // 2] * 1000:.2f}",
            f"{times[len(times) * 99 // 100] * 1000:.2f}",
            f"1/{bare / median:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
