"""The ticket shop as a function of AWS Lambda, called by an embedded runtime and by a cluster: AWS's own runtime client, frozen between
invocations."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import connect
from restate_runtime.app import Started
from restate_runtime.cluster.gateway import gateway
from restate_runtime.errors import RuntimeFault
from tour.v1.tour_pb2 import CheckoutRequest, ReserveTicket, Ticket, TicketState
from tour.v1.tour_restate import BoxOfficeClient, TicketServiceClient, UserSessionClient

from ..cli.conftest import run
from ..contract.server import Server, find_server
from ..durability.harness import app as other_app
from .local_platform import ARN, Platform

SHOP = Path(__file__).parents[2] / "examples" / "ticket_reservation"

FUNCTION = """
import sys
sys.path.insert(0, {shop!r})
from app import app
from restate_runtime.cluster import lambda_handler
handler = lambda_handler(app)
"""


@pytest.fixture
async def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "shop_function.py").write_text(FUNCTION.format(shop=str(SHOP)))
    outside = {"TICKET_SHOP_OUTSIDE": str(tmp_path / "outside"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    async with Platform(folder, "shop_function.handler", environment=outside).running() as platform:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", platform.url)
        yield platform


def start(tmp_path: Path) -> Started:
    return other_app().start(data_dir=tmp_path / "data", retry_initial_interval=timedelta(milliseconds=20))


def payments(tmp_path: Path) -> list[Any]:
    path = tmp_path / "outside" / "payments.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_the_shop_runs_on_functions_that_are_frozen_and_thrown_away(function: Platform, tmp_path: Path) -> None:
    async with start(tmp_path) as runtime:
        found = await runtime.register_deployment(function.arn)
        assert "tour.v1.TicketService" in json.dumps(found)
        user = UserSessionClient(runtime)
        assert (await user.add_ticket(ReserveTicket(user_id="ada", ticket_id="seat-1"))).value
        assert (await user.add_ticket(ReserveTicket(user_id="ada", ticket_id="seat-2"))).value
        assert not (await user.add_ticket(ReserveTicket(user_id="bob", ticket_id="seat-1"))).value
        assert (await user.checkout(CheckoutRequest(user_id="ada"))).value
        assert [payment["user"] for payment in payments(tmp_path)] == ["ada"]
        assert not (await user.add_ticket(ReserveTicket(user_id="bob", ticket_id="seat-2"))).value
        while (await BoxOfficeClient(runtime).totals()).tickets < 2:
            await asyncio.sleep(0.05)  # each sale is a background call
    assert function.started > 1, "processes were thrown away on the way"
    assert function.invoked > 8, "what waited was suspended, and came back as another invocation"
    while not function.frozen:
        await asyncio.sleep(0.05)


async def test_a_cluster_calls_functions_too(function: Platform, tmp_path: Path) -> None:
    binary = find_server()
    if binary is None:
        reason = "no restate-server: `nox -s cluster_server` fetches one, or set RESTATE_SERVER"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(binary, tmp_path)
    await asyncio.to_thread(server.start)
    try:
        straight = await asyncio.to_thread(run, "deployments", "register", function.arn, "--admin", server.admin, "--json")
        assert straight.status == 0, straight.err
        assert (straight.json["endpoint"], straight.json["created"]) == (function.arn, True)
        async with gateway(server.ingress, server.admin) as front, connect(front.ingress_url) as connection:
            again = await asyncio.to_thread(run, "deployments", "register", function.arn, "--admin", front.admin_url, "--json")
            assert again.status == 0, again.err
            assert (again.json["id"], again.json["ty"], again.json["created"]) == (straight.json["id"], "lambda", False)
            user = UserSessionClient(connection)
            assert (await user.add_ticket(ReserveTicket(user_id="ada", ticket_id="seat-1"))).value
            assert not (await user.add_ticket(ReserveTicket(user_id="bob", ticket_id="seat-1"))).value
            assert (await user.checkout(CheckoutRequest(user_id="ada"))).value
            assert [payment["user"] for payment in payments(tmp_path)] == ["ada"]
    finally:
        await asyncio.to_thread(server.stop)


async def test_what_waits_costs_no_invocation(function: Platform, tmp_path: Path) -> None:
    async with start(tmp_path) as runtime:
        await runtime.register_deployment(function.arn)
        user = UserSessionClient(runtime)
        assert (await user.add_ticket(ReserveTicket(user_id="ada", ticket_id="seat-1"), headers={"reserve-seconds": "1"})).value
        before = function.invoked
        state = TicketServiceClient(runtime)
        while not (await state.reserve(Ticket(ticket_id="seat-1", user_id="bob"))).value:
            await asyncio.sleep(0.2)  # until the reservation has expired, by a delayed call
        assert function.invoked > before


async def test_state_is_decoded_by_the_contract_that_came_along(function: Platform, tmp_path: Path) -> None:
    async with start(tmp_path) as runtime:
        await runtime.register_deployment(function.arn)
        assert (await TicketServiceClient(runtime).reserve(Ticket(ticket_id="seat-1", user_id="ada"))).value
        (row,) = runtime.inspector.state("tour.v1.TicketService", "seat-1")
        assert row["value_json"]["status"] == TicketState.Status.Name(TicketState.RESERVED)


async def test_a_function_that_fails_is_named(function: Platform, tmp_path: Path) -> None:
    (function.folder / "shop_function.py").write_text("handler = lambda event, context: 1 / 0\n")
    async with start(tmp_path) as runtime:
        with pytest.raises(RuntimeFault, match="division by zero") as error:
            await runtime.register_deployment(function.arn)
        assert error.value.code == "RT0601"


async def test_an_arn_without_a_version_is_refused(function: Platform, tmp_path: Path) -> None:
    async with start(tmp_path) as runtime:
        with pytest.raises(RuntimeFault, match="with the version at its end"):
            await runtime.register_deployment(function.arn.rpartition(":")[0])
        with pytest.raises(RuntimeFault, match="Function not found"):
            await runtime.register_deployment(ARN.format(name="other", version=1))


async def test_a_function_that_cannot_be_loaded_is_named(function: Platform, tmp_path: Path) -> None:
    (function.folder / "shop_function.py").write_text("import nothing_of_that_name\n")
    async with start(tmp_path) as runtime:
        with pytest.raises(RuntimeFault, match="nothing_of_that_name") as error:
            await runtime.register_deployment(function.arn)
        assert error.value.code == "RT0601"
