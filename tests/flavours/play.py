"""Plays the tour with the classes of one message library, in a process of its own, and prints what was seen from outside.

python play.py FOLDER FLAVOUR MODE
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from google.protobuf import descriptor_pool

from restate_runtime import App, RetryPolicy, SerdeError, TerminalError, connect
from restate_runtime.handler.client import OutgoingCall
from restate_runtime.serde import Value, decode, encode

ROOT = Path(__file__).parents[2]
MODES: dict[str, dict[str, Any]] = {"default": {}, "always-suspend": {"always_suspend": True}}
QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=1))


class Recorder:
    def __init__(self) -> None:
        self.calls: list[OutgoingCall] = []

    def begin_call(self, call: OutgoingCall) -> Any:
        self.calls.append(call)

    begin_send = begin_call


def recorded(client: Any, rpc: str, request: Any) -> dict[str, Any]:
    recorder = Recorder()
    getattr(client(recorder), rpc)(*([] if request is None else [request]))
    (call,) = recorder.calls
    return {"to": f"{call.service}/{call.method}", "key": call.key, "payload": call.payload.hex()}


async def play(folder: Path, flavour: str, mode: str) -> dict[str, Any]:
    sys.path.insert(0, str(folder))
    sys.path.insert(0, str(ROOT / "examples" / "ticket_reservation"))
    outside: Any = importlib.import_module("outside")
    if flavour == "protobuf":
        shop: Any = importlib.import_module("services")
        pb: Any = importlib.import_module("tour.v1.tour_pb2")
        rs: Any = importlib.import_module("tour.v1.tour_restate")
    else:
        shop = importlib.import_module("dataclass_shop")
        pb, rs = shop.pb, shop.rs
        assert not any(name.endswith("tour_pb2") for name in sys.modules)
        try:
            descriptor_pool.Default().FindMessageTypeByName("tour.v1.Ticket")
        except KeyError:
            pass
        else:
            raise AssertionError("protobuf has the messages")
    world = folder / f"outside-{mode}"
    app = App(
        shop.UserSession(),
        shop.TicketService(),
        shop.Checkout(outside.PaymentProvider(world), outside.MailServer(world), QUICK),
        shop.BoxOffice(),
    )
    report: dict[str, Any] = {
        "library": next(base.__module__.partition(".")[0] for base in pb.Ticket.__mro__ if base.__name__ == "Message")
    }
    report["calls"] = [
        recorded(rs.TicketServiceClient, "reserve", pb.Ticket(ticket_id="ä-1", user_id="u" * 200)),
        recorded(rs.CheckoutClient, "handle", pb.CheckoutFlowRequest(user_id="", tickets=["a", "", "b"])),
        recorded(rs.BoxOfficeClient, "record", pb.Sale(tickets=["x"], amount=-(2**60))),
        recorded(rs.BoxOfficeClient, "totals", None),
    ]
    started = app.start(data_dir=folder / f"data-{mode}", ingress="127.0.0.1:0", **MODES[mode])
    async with started as runtime, aiohttp.ClientSession() as session:
        await scenario(report, runtime, session, pb, rs, world)
    return report


async def scenario(report: dict[str, Any], runtime: Any, session: aiohttp.ClientSession, pb: Any, rs: Any, world: Path) -> None:
    async def post(path: str, body: bytes | str, kind: str = "application/json", **headers: str) -> list[Any]:
        given = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with session.post(runtime.ingress_url + path, data=body, headers=given) as response:
            content = await response.read()
            return [response.status, content.hex() if response.content_type == "application/proto" else content.decode()]

    users = rs.UserSessionClient(runtime)
    report["in process"] = [
        (await users.add_ticket(pb.ReserveTicket(user_id="alice", ticket_id="seat-1"))).value,
        (await users.add_ticket(pb.ReserveTicket(user_id="bob", ticket_id="seat-1"))).value,
    ]
    add = "/tour.v1.UserSession/AddTicket"
    report["json"] = await post(add, '{"userId": "alice", "ticketId": "seat-2"}')
    report["binary"] = await post(add, bytes.fromhex("0a05616c6963651206736561742d33"), "application/proto")
    report["mistakes"] = [
        await post(add, '{"userId": "alice", "tickets": 1}'),
        await post(add, '{"ticketId": "seat-2"}'),
        await post(add, b"\xff\xff", "application/proto"),
        await post("/tour.v1.BoxOffice/Record", '{"amount": "9223372036854775808"}'),
    ]
    try:
        await users.add_ticket(pb.ReserveTicket(ticket_id="seat-1"))
    except TerminalError as error:
        report["empty key"] = [error.code.value, error.message]
    report["another type"] = await refused(lambda: users.add_ticket(pb.Ticket(ticket_id="x")))
    report["idempotency"] = [
        await post(add, '{"userId": "carol", "ticketId": "seat-9"}', idempotency_key="k"),
        await post(add, '{"ticketId": "seat-9", "userId": "carol"}', idempotency_key="k"),
        await post(add, '{"userId": "carol", "ticketId": "seat-8"}', idempotency_key="k"),
    ]
    report["state"] = [await state(runtime, "tour.v1.UserSession", "alice"), await state(runtime, "tour.v1.TicketService", "seat-1")]
    handle = users.checkout.in_background(pb.CheckoutRequest(user_id="alice"))
    invocation_id = await handle.invocation_id()
    callback = await pending(world)
    report["settled"] = await post(f"/restate/awakeables/{callback}/resolve", '{"approved": true, "reference": "r"}')
    report["bought"] = (await handle.result(timeout=20)).value
    async with connect(runtime.ingress_url) as connection:
        report["by id"] = repr((await connection.invocation(invocation_id).result()).value)
        report["same class"] = type(await connection.invocation(invocation_id).result()) is rs.USER_SESSION.method("Checkout").response
        totals = await sold(rs.BoxOfficeClient(connection))
        report["totals"] = [totals.sales, totals.tickets, totals.amount]
        report["bytes by name"] = (await connection.method("tour.v1.BoxOffice/Totals")(b"")).hex()
    report["attach"] = await attach(session, f"{runtime.ingress_url}/restate/invocation/{invocation_id}/attach")
    report["totals state"] = await state(runtime, "tour.v1.BoxOffice", "")
    stored = encode(pb.Cart())
    report["tag"] = [stored.tag, encode(pb.TicketState(holder="h")).data.hex(), type(decode(stored, pb.Cart)) is pb.Cart]
    for value in (Value("message:tour.v1.Ticket", b""), Value("bytes", b"\xff\xff")):
        try:
            decode(value, pb.Cart)
        except SerdeError as error:
            report.setdefault("misfits", []).append(str(error))


async def refused(call: Any) -> list[str]:
    try:
        await call()
    except TypeError as error:
        return ["TypeError", str(error)]
    return []


async def attach(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return (await response.read()).decode()


async def sold(office: Any) -> Any:
    """The totals, once the sale is counted: it is recorded in the background."""
    while True:
        totals = await office.totals()
        if totals.sales:
            return totals
        await asyncio.sleep(0.01)


async def pending(world: Path) -> str:
    while True:
        file = world / "payments.jsonl"
        for line in file.read_text().splitlines() if file.exists() else ():
            if json.loads(line)["status"] == "pending":
                return str(json.loads(line)["callback"])
        await asyncio.sleep(0.01)


async def state(runtime: Any, service: str, key: str) -> Any:
    rows = runtime.inspector.state(service, key)
    for row in rows:
        row.pop("value_length", None)  # a time takes more bytes or fewer
    text = json.dumps(rows, default=str, sort_keys=True)
    return json.loads(re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(Path(sys.argv[1]), sys.argv[2], sys.argv[3])), indent=1, sort_keys=True))
