"""What the command line does to invocations."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from .conftest import Process, Serve

pytestmark = pytest.mark.rule("R39")

ECHO = "sample.v1.Echo"


def send(process: Process, text: str) -> str:
    return process.run("send", f"{ECHO}/Script", f'{{"text": "{text}"}}').out.strip()


def reach(process: Process, id: str, status: str) -> dict[str, Any]:
    while (row := process.run("invocations", "describe", id, "--json").json)["status"] != status:
        time.sleep(0.02)
    return dict(row)


@pytest.mark.rule("R15")
def test_cancel(serve: Serve) -> None:
    process = serve()
    first, second = (send(process, "sleep 60") for _ in range(2))
    ran = process.run("invocations", "cancel", first, second)
    assert (ran.status, ran.out) == (0, f"cancelled {first}\ncancelled {second}\n")
    for id in (first, second):
        assert reach(process, id, "completed")["completion_failure"] == "CANCELLED: cancelled"
    assert process.run("invocations", "cancel", first, "--json").json == {"id": first, "result": "cancelled"}
    later = process.run("send", f"{ECHO}/Call", "{}", "--delay", "15m").out.strip()
    process.run("invocations", "cancel", later)
    assert process.run("invocations", "describe", later, "--json").json["completion_failure"] == "CANCELLED: cancelled"


def test_several_ids_of_which_some_are_none(serve: Serve) -> None:
    process = serve()
    ids = [send(process, "sleep 60") for _ in range(3)]
    unknown = "inv_1AAAAAAAAAAAAAAAAAAAAAA"
    ran = process.run("invocations", "kill", ids[0], "nonsense", ids[1])
    assert (ran.status, ran.out) == (1, f"killed {ids[0]}\nkilled {ids[1]}\n")
    assert ran.err == "error: invalid_argument: 'nonsense' is no invocation's id [RT0502]\n"
    ran = process.run("invocations", "kill", unknown, ids[2], "--json")
    error = f"not_found: there is no invocation {unknown}"
    assert ran.status == 1
    assert ran.json == [{"id": unknown, "result": "refused", "error": error}, {"id": ids[2], "result": "killed"}]
    assert ran.err == f"error: {error} [RT0502]\n"
    for id in ids:
        assert process.run("invocations", "describe", id, "--json").json["completion_failure"] == "ABORTED: killed"
    alone = process.run("invocations", "kill", unknown, "--json")
    assert (alone.status, alone.out, alone.err) == (1, "", f"error: {error} [RT0502]\n")


def test_pause_and_resume(serve: Serve) -> None:
    process = serve()
    id = send(process, "sleep 60")
    assert process.run("invocations", "pause", id).out == f"paused {id}\n"
    assert id in process.run("invocations", "list", "--status", "paused").out
    assert process.run("invocations", "describe", id, "--json").json["last_failure"] == "paused by request"
    assert process.run("invocations", "resume", id).out == f"resumed {id}\n"
    assert process.run("invocations", "describe", id, "--json").json["status"] in ("running", "suspended")
    process.run("invocations", "kill", id)
    refused = process.run("invocations", "pause", id)
    assert refused.status == 1
    assert f"failed_precondition: the invocation {id} is completed: only one that has its turn can be paused" in refused.err


def test_restart_and_purge(serve: Serve) -> None:
    process = serve()
    first, second = (send(process, f"fail ABORTED {number}") for number in (1, 2))
    for id in (first, second):
        reach(process, id, "completed")
    rows = process.run("invocations", "restart", first, second, "--json").json
    assert [(row["id"], row["result"]) for row in rows] == [(first, "restarted"), (second, "restarted")]
    new = rows[0]["new_id"]
    assert reach(process, new, "completed")["completion_failure"] == "ABORTED: 1"
    assert process.run("invocations", "restart", new).out.startswith(f"restarted {new} as inv_1")
    assert process.run("invocations", "purge", first, second).out == f"purged {first}\npurged {second}\n"
    gone = process.run("invocations", "describe", first)
    assert gone.status == 1
    assert "not_found" in gone.err
    waiting = send(process, "sleep 60")
    refused = process.run("invocations", "purge", waiting)
    assert refused.status == 1
    assert "only a completed one can be purged" in refused.err


@pytest.mark.rule("R15")
@pytest.mark.rule("R16")
@pytest.mark.parametrize(("verb", "failure"), [("cancel", "CANCELLED: cancelled"), ("kill", "ABORTED: killed")])
def test_what_was_acknowledged_outlives_a_kill_of_the_runtime(serve: Serve, verb: str, failure: str) -> None:
    process = serve("--inactivity-timeout", "50ms")
    ids = [send(process, "sleep 3600") for _ in range(3)]
    assert process.run("invocations", verb, *ids).status == 0
    process.stop(signal.SIGKILL)
    process = serve()
    for id in ids:
        assert reach(process, id, "completed")["completion_failure"] == failure
