"""The admin API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.rule("R39")


async def test_services(served: Any) -> None:
    rows = (await served.admin.get("/services")).json
    assert [(row["name"], row["ty"]) for row in rows] == [
        ("sample.v1.Counter", "keyed"),
        ("sample.v1.Echo", "unkeyed"),
        ("sample.v1.Ledger", "singleton"),
    ]
    assert (await served.admin.get("/services/sample.v1.Echo")).json == rows[1]
    status, code, message = (await served.admin.get("/services/sample.v1.Ech")).error
    assert (status, code, "did you mean 'sample.v1.Echo'?" in message) == (404, "not_found", True)


async def test_invocations_are_filtered_and_newest_come_first(served: Any) -> None:
    for name in ("a", "b", "a"):
        await served.http.post("/sample.v1.Counter/Add", {"name": name})
    await served.http.post("/sample.v1.Echo/Call", {})
    rows = (await served.admin.get("/invocations")).json
    assert [row["target_service_key"] for row in rows] == [None, "a", "b", "a"]
    assert len((await served.admin.get("/invocations?service=sample.v1.Counter&key=a")).json) == 2
    assert len((await served.admin.get("/invocations?limit=1")).json) == 1
    assert (await served.admin.get("/invocations?status=paused&status=running")).json == []
    for query in ("limit=0", "limit=x", f"limit={'9' * 5000}", "status=odd", "sort=up"):
        assert (await served.admin.get(f"/invocations?{query}")).error[:2] == (400, "invalid_argument")


async def test_one_invocation_with_its_journal(served: Any) -> None:
    id = (await served.http.post("/sample.v1.Counter/Add", {"name": "a", "amount": 5})).headers["x-restate-id"]
    row = (await served.admin.get(f"/invocations/{id}")).json
    assert (row["id"], row["status"], row["completion_result"], row["waiting_for"]) == (id, "completed", "success", [])
    assert row["journal"][0]["value"] == {"name": "a", "amount": "5"}
    assert row["journal"][-1]["value"] == {"value": "5"}
    assert (await served.admin.get("/invocations/inv_1AAAAAAAAAAAAAAAAAAAAAA")).error[:2] == (404, "not_found")


async def test_state_is_decoded(served: Any) -> None:
    await served.http.post("/sample.v1.Counter/Add", {"name": "a/ä", "amount": 5})
    await served.http.post("/sample.v1.Ledger/Append", {"text": "x"})
    rows = (await served.admin.get("/services/sample.v1.Counter/state/a%2F%C3%A4")).json
    assert [(row["service_key"], row["key"], row["type"], row["value_json"]) for row in rows] == [
        ("a/ä", "order", "json", [5]),
        ("a/ä", "total", "json", 5),
    ]
    assert (await served.admin.get("/services/sample.v1.Counter/state")).json == rows
    ledger = (await served.admin.get("/services/sample.v1.Ledger/state")).json
    assert [(row["key"], row["type"], row["value_json"]) for row in ledger] == [("lines", "sample.v1.LineList", {"lines": ["x"]})]
    assert (await served.admin.get("/services/sample.v1.Counter/state/nobody")).json == []
    assert (await served.admin.get("/services/sample.v1.Counter/state/nobody/total")).status == 404
    assert (await served.admin.get("/services/sample.v1.Count/state")).status == 404


async def test_kill_and_resume(served: Any) -> None:
    id = (await served.http.post("/sample.v1.Echo/Script/send", {"text": "boom"})).json["invocationId"]
    while (await served.admin.get(f"/invocations/{id}")).json["status"] != "backing-off":
        await asyncio.sleep(0.01)
    assert (await served.admin.request("PATCH", f"/invocations/{id}/kill")).status == 200
    assert (await served.admin.request("PATCH", f"/invocations/{id}/kill")).status == 200
    assert (await served.admin.get(f"/invocations/{id}")).json["completion_result"] == "failure"
    assert (await served.admin.request("PATCH", f"/invocations/{id}/resume")).error[:2] == (400, "failed_precondition")
    assert (await served.admin.request("PATCH", "/invocations/nonsense/kill")).error[:2] == (400, "invalid_argument")
    reply = await served.admin.request("POST", f"/invocations/{id}/kill")
    assert (reply.status, reply.headers["allow"]) == (405, "PATCH")


@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"uri": "http://[::1"}', "'http://[::1' is no URL"),
        ('{"uri": "http://a..b:1"}', "'http://a..b:1' is no URL: 'a..b' is no name of a host [RT0601]"),
        ('{"uri": "http://a..b:1", "use_http_11": true}', "'a..b' is no name of a host [RT0601]"),
        ('{"uri": "http://127.0.0.1:99999"}', "is no URL: Port out of range"),
        ('{"uri": "\\ud800"}', "the body is no registration"),
    ],
)
async def test_a_deployment_at_no_url(served: Any, body: str, said: str) -> None:
    status, code, message = (await served.admin.post("/deployments", body)).error
    assert (status, code, said in message) == (400, "invalid_argument", True), message
    assert (await served.admin.get("/deployments")).json == []


async def test_health_and_nothing(served: Any) -> None:
    assert (await served.admin.get("/health")).status == 200
    assert (await served.admin.get("/nothing")).error[:2] == (404, "not_found")


async def until(served: Any, id: str, *statuses: str) -> dict[str, Any]:
    while (row := (await served.admin.get(f"/invocations/{id}")).json)["status"] not in statuses:
        await asyncio.sleep(0.01)
    return dict(row)


@pytest.mark.rule("R15")
async def test_cancel(served: Any) -> None:
    id = (await served.http.post("/sample.v1.Echo/Script/send", {"text": "sleep 60"})).json["invocationId"]
    assert (await served.admin.request("PATCH", f"/invocations/{id}/cancel")).status == 200
    assert (await until(served, id, "completed"))["completion_failure"] == "CANCELLED: cancelled"
    assert (await served.admin.request("PATCH", f"/invocations/{id}/cancel")).status == 200
    assert (await served.admin.request("PATCH", "/invocations/inv_1AAAAAAAAAAAAAAAAAAAAAA/cancel")).status == 404


async def test_pause_restart_and_purge(served: Any) -> None:
    id = (await served.http.post("/sample.v1.Echo/Script/send", {"text": "sleep 0.05"})).json["invocationId"]
    assert (await served.admin.request("PATCH", f"/invocations/{id}/pause")).status == 200
    assert (await until(served, id, "paused"))["last_failure"] == "paused by request"
    for verb in ("purge", "restart-as-new"):
        assert (await served.admin.request("PATCH", f"/invocations/{id}/{verb}")).error[:2] == (400, "failed_precondition")
    assert (await served.admin.request("PATCH", f"/invocations/{id}/resume")).status == 200
    await until(served, id, "completed")
    assert (await served.admin.request("PATCH", f"/invocations/{id}/pause")).error[:2] == (400, "failed_precondition")

    new_id = (await served.admin.request("PATCH", f"/invocations/{id}/restart-as-new")).json["new_invocation_id"]
    assert new_id != id
    assert (await until(served, new_id, "completed"))["completion_result"] == "success"
    assert (await served.admin.get(f"/invocations/{new_id}")).json["journal"][0]["value"] == {"text": "sleep 0.05"}

    assert (await served.admin.request("PATCH", f"/invocations/{id}/purge")).status == 200
    assert (await served.admin.get(f"/invocations/{id}")).status == 404
    assert (await served.admin.request("PATCH", f"/invocations/{id}/purge")).status == 404
