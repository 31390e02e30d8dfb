"""The tools: calling and looking at a live runtime, or at the files of a stopped one."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import apsw
import pytest

from .conftest import Process, Serve, run

pytestmark = pytest.mark.rule("R39")

COUNTER = "sample.v1.Counter"


def awakeable_of(process: Process, key: str) -> str:
    while (ran := process.run("state", "get", COUNTER, key, "awakeable")).status:
        time.sleep(0.05)
    return str(json.loads(ran.out))


def test_call_and_send(serve: Serve) -> None:
    process = serve()
    assert process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}').json == {"value": "2"}
    assert process.run("call", f"{COUNTER}/Add", "-", stdin='{"name": "a", "amount": 3}').json == {"value": "5"}
    assert process.run("call", "sample.v1.Ledger/Lines").json == {}
    first = process.run("send", f"{COUNTER}/Add", '{"name": "b"}', "--idempotency-key", "k")
    second = process.run("send", f"{COUNTER}/Add", '{"name": "b"}', "--idempotency-key", "k", "--json")
    assert {"invocationId": first.out.strip()} == second.json
    later = process.run("send", f"{COUNTER}/Add", '{"name": "b"}', "--delay", "15m").out.strip()
    assert process.run("invocations", "describe", later, "--json").json["status"] == "scheduled"


def test_services_invocations_and_state(serve: Serve) -> None:
    process = serve()
    process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}')
    process.run("call", "sample.v1.Ledger/Append", '{"text": "x"}')
    assert [row["name"] for row in process.run("services", "--json").json] == [COUNTER, "sample.v1.Echo", "sample.v1.Ledger"]
    assert "Add, Get, Script" in process.run("services").out

    rows = process.run("invocations", "list", "--json").json
    assert [row["target_service_name"] for row in rows] == ["sample.v1.Ledger", COUNTER]
    assert process.run("invocations", "list", "--service", COUNTER, "--key", "a", "--json").json == rows[1:]
    assert process.run("invocations", "list", "--status", "paused").out == "no invocations\n"
    assert rows[0]["id"] in process.run("invocations", "list").out

    described = process.run("invocations", "describe", rows[1]["id"], "--json").json
    assert described["journal"][0]["value"] == {"name": "a", "amount": "2"}
    shown = process.run("invocations", "describe", rows[1]["id"]).out
    assert "set state 'total'" in shown
    assert '{"name":"a","amount":"2"}' in shown

    state = process.run("state", "get", COUNTER, "a", "--json").json
    assert [(row["service_key"], row["key"], row["value_json"]) for row in state] == [("a", "order", [2]), ("a", "total", 2)]
    assert process.run("state", "get", COUNTER, "--json").json == state
    assert process.run("state", "get", COUNTER, "a", "total").out == "2\n"
    assert process.run("state", "get", COUNTER, "a", "total", "--json").json == state[1]
    assert process.run("state", "get", "sample.v1.Ledger", "lines").json == {"lines": ["x"]}
    assert process.run("state", "get", COUNTER, "nobody").out == "no state\n"


def test_the_files_of_a_stopped_runtime(serve: Serve) -> None:
    process = serve()
    process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}')
    looks: list[tuple[str, ...]] = [("services",), ("invocations", "list"), ("state", "get", COUNTER, "a")]
    live = [process.run(*look, "--json").json for look in looks]
    offline = [(*look, "--json", "--data-dir", str(process.data_dir)) for look in looks]
    for look in offline:
        refused = run(*look)
        assert (refused.status, "[RT0201]" in refused.err) == (1, True)
    assert process.stop() == 0
    before = contents(process.data_dir)
    assert [run(*look).json for look in offline] == live
    id = live[1][0]["id"]
    assert run("invocations", "describe", id, "--json", "--data-dir", process.data_dir).json["status"] == "completed"
    assert contents(process.data_dir) == before


@pytest.mark.parametrize("index", ["left behind", "missing"])
def test_the_files_of_a_killed_runtime_are_read_and_stay_as_they_are(index: str, serve: Serve) -> None:
    process = serve()
    process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}')
    looks: list[tuple[str, ...]] = [("services",), ("invocations", "list"), ("state", "get", COUNTER, "a")]
    live = [process.run(*look, "--json").json for look in looks]
    process.stop(signal.SIGKILL)
    assert (process.data_dir / "restate.sqlite3-wal").stat().st_size
    if index == "missing":  # as in a copy of the files
        (process.data_dir / "restate.sqlite3-shm").unlink()
    before = contents(process.data_dir)
    assert [run(*look, "--json", "--data-dir", process.data_dir).json for look in looks] == live
    assert run("doctor", "--data-dir", process.data_dir).status == 0
    assert contents(process.data_dir) == before


def test_a_folder_that_is_no_data_directory_stays_as_it_is(tmp_path: Path) -> None:
    refused = run("invocations", "list", "--data-dir", tmp_path)
    assert (refused.status, "has no restate.sqlite3 [RT0202]" in refused.err) == (1, True)
    assert contents(tmp_path) == {}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What each file holds, and when it was written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_kill_and_resume(serve: Serve) -> None:
    process = serve("--retry-max-attempts", "1")
    id = process.run("send", "sample.v1.Echo/Script", '{"text": "boom"}').out.strip()
    while process.run("invocations", "describe", id, "--json").json["status"] != "paused":
        time.sleep(0.05)
    assert "ValueError" in process.run("invocations", "list", "--status", "paused").out
    assert process.run("invocations", "resume", id).out == f"resumed {id}\n"
    assert process.run("invocations", "kill", id, "--json").json == {"id": id, "result": "killed"}
    assert process.run("invocations", "describe", id, "--json").json["status"] == "completed"


@pytest.mark.rule("R34")
def test_awakeables(serve: Serve) -> None:
    process = serve()
    ids = [process.run("send", f"{COUNTER}/Script", json.dumps({"key": key})).out.strip() for key in ("a", "b")]
    assert process.run("awakeables", "resolve", awakeable_of(process, "a"), '"yes"').status == 0
    assert process.run("awakeables", "reject", awakeable_of(process, "b"), "not today", "--json").json["result"] == "rejected"
    rows = [process.run("invocations", "describe", id, "--json").json for id in ids]
    assert [row["completion_result"] for row in rows] == ["success", "failure"]
    assert "not today" in rows[1]["completion_failure"]
    again = process.run("awakeables", "resolve", awakeable_of(process, "a"), '"no"')
    assert (again.status, again.err.startswith("error: already_exists: ")) == (1, True)


def test_doctor(serve: Serve) -> None:
    process = serve()
    process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}')
    process.stop()
    healthy = run("doctor", "--data-dir", process.data_dir)
    assert (healthy.status, "error" in healthy.out) == (0, False)
    assert {row["severity"] for row in run("doctor", "--json").json} == {"ok"}


@pytest.mark.rule("R44")
def test_doctor_finds_a_flipped_bit(serve: Serve) -> None:
    process = serve()
    marker = "a text that can be found in the file again"
    process.run("call", "sample.v1.Ledger/Append", json.dumps({"text": marker}))
    process.stop()
    damaged = 0
    for path in process.data_dir.iterdir():
        data = path.read_bytes()
        if marker.encode() in data:
            path.write_bytes(data.replace(marker.encode(), marker.encode().replace(b"text", b"tezt")))
            damaged += 1
    assert damaged
    rows = run("doctor", "--json", "--data-dir", process.data_dir)
    assert rows.status == 1
    assert {row["code"] for row in rows.json if row["severity"] == "error"} & {"RT0203", "RT0204"}


@pytest.mark.rule("R44")
@pytest.mark.rule("R45")
def test_doctor_goes_on_behind_what_cannot_be_read(serve: Serve) -> None:
    process = serve()
    for name in ("a", "b", "c"):
        process.run("call", f"{COUNTER}/Add", json.dumps({"name": name, "amount": 2}))
    process.stop()
    change(process.data_dir, "UPDATE invocation SET key = CAST(x'ff' AS TEXT) WHERE key = 'b'")
    change(process.data_dir, "UPDATE invocation SET method = 'Get' WHERE key = 'c'")
    change(process.data_dir, "UPDATE state SET tag = CAST(x'ff' AS TEXT) WHERE key = 'b'")
    found = faults(process.data_dir)
    assert [code for code, _, _ in found] == ["RT0204"] * len(found)
    texts = {subject: [text for _, other, text in found if other == subject] for _, subject, _ in found}
    assert "row 2 is damaged: it holds text that is no UTF-8" in texts["invocation"][0]
    assert "its checksum does not match" in texts["invocation"][1]
    assert len(texts["state"]) == 2  # the keys of b are `order` and `total`
    for look in (["invocations", "list"], ["state", "get", COUNTER]):
        ran = run(*look, "--data-dir", process.data_dir)
        assert (ran.status, "[RT0204]" in ran.err, len(ran.err.splitlines())) == (1, True, 1), ran.err


@pytest.mark.rule("R44")
@pytest.mark.rule("R45")
def test_doctor_without_the_row_that_says_the_version(serve: Serve) -> None:
    process = serve()
    process.run("call", f"{COUNTER}/Add", '{"name": "a", "amount": 2}')
    process.stop()
    change(process.data_dir, "DELETE FROM meta")
    ((code, _, text),) = faults(process.data_dir)
    assert (code, "is not a database of this runtime" in text) == ("RT0204", True)
    change(process.data_dir, "UPDATE state SET tag = 'x' WHERE name = 'total'")
    assert [subject for _, subject, _ in faults(process.data_dir)][1:] == ["state"]
    change(process.data_dir, "DROP TABLE timer")
    assert [subject for _, subject, _ in faults(process.data_dir)][1:] == ["state", "timer"]


def change(data_dir: Path, sql: str) -> None:
    connection = apsw.Connection(str(data_dir / "restate.sqlite3"))
    connection.execute(sql)
    assert connection.changes() or sql.startswith("DROP")
    connection.close()


def faults(data_dir: Path) -> list[tuple[str, str, str]]:
    ran = run("doctor", "--json", "--data-dir", data_dir)
    assert ran.status == 1, ran.err
    return [(row["code"], row["subject"], row["message"]) for row in ran.json if row["severity"] == "error"]


def test_explain() -> None:
    explained = run("explain", "rt0201")
    assert (explained.status, "One process owns a data directory." in explained.out) == (0, True)
    assert run("explain", "RT0201", "--json").json["code"] == "RT0201"
    assert "there is no code 'RT9'" in run("explain", "RT9").err
