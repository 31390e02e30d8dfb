"""`services`, `call`, `send` and `awakeables` in processes of their own."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from .conftest import HOSTED, Process, Serve, run

COUNTER, ECHO, LEDGER = "sample.v1.Counter", "sample.v1.Echo", "sample.v1.Ledger"
BODY = '{"name": "k", "amount": 1}'


def denied(process: Process) -> None:
    for verb in ("call", "send"):
        ran = process.run(verb, f"{COUNTER}/Add", BODY)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == f"error: permission_denied: {COUNTER}/Add is private: only services can call it [RT0502]\n"


@pytest.mark.rule("R36")
def test_closing_and_opening_a_service(serve: Serve) -> None:
    process = serve()
    assert process.run("services", "private", COUNTER, LEDGER).out == f"private {COUNTER}\nprivate {LEDGER}\n"
    denied(process)
    rows = {row["name"]: row["public"] for row in process.run("services", "list", "--json").json}
    assert rows == {COUNTER: False, ECHO: True, LEDGER: False}
    assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    assert {row["name"]: row["public"] for row in run("services", "--data-dir", process.data_dir, "--json").json} == rows
    process = serve()
    denied(process)  # what was acknowledged is stored
    assert process.run("services", "public", COUNTER, "--json").json == {"name": COUNTER, "result": "public"}
    assert process.run("call", f"{COUNTER}/Add", BODY).json == {"value": "1"}
    assert process.run("services", "reset", LEDGER).out == f"reset {LEDGER}\n"
    assert process.run("call", f"{LEDGER}/Lines").json == {}
    ran = process.run("services", "private", "sample.v1.Conter")
    assert (ran.status, "did you mean 'sample.v1.Counter'" in ran.err) == (1, True)


APP = """
from hosted import Counter, Echo, Ledger
from restate_runtime import App

app = App(Counter(), Echo(), Ledger(), private=[Counter, "sample.v1.Ledger"])
"""


@pytest.mark.rule("R36")
def test_the_app_closes_services_until_somebody_opens_them(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "closed.py").write_text(APP)
    given = {"target": "closed:app", "cwd": tmp_path, "PYTHONPATH": f"{HOSTED}:{Path(HOSTED).parents[1] / 'generated'}"}
    process = serve(**given)
    denied(process)
    process.run("services", "public", COUNTER)
    assert process.run("call", f"{COUNTER}/Add", BODY).json == {"value": "1"}
    assert process.stop() == 0
    process = serve(**given)
    assert process.run("call", f"{COUNTER}/Add", BODY).json == {"value": "2"}
    process.run("services", "reset", COUNTER)
    denied(process)
    described = process.run("services", "describe", COUNTER, "--json").json
    assert (described["public"], [method["public"] for method in described["methods"]]) == (False, [False] * 3)


@pytest.mark.rule("R39")
def test_list_and_describe(serve: Serve) -> None:
    process = serve()
    process.run("services", "private", LEDGER)
    rows = process.run("services", "list", "--json").json
    assert rows == process.run("services", "--json").json
    assert [(row["name"], row["ty"], row["public"]) for row in rows] == [
        (COUNTER, "keyed", True),
        (ECHO, "unkeyed", True),
        (LEDGER, "singleton", False),
    ]
    shown = process.run("services", "list").out
    assert shown == process.run("services").out
    assert [line.split()[:3] for line in shown.splitlines() if "sample" in line][2] == [LEDGER, "singleton", "private"]
    assert process.run("services", "describe", COUNTER, "--json").json == rows[0]
    described = process.run("services", "describe", LEDGER).out
    assert "access    private" in described
    assert [line.split() for line in described.splitlines() if "Append" in line] == [
        ["Append", "sample.v1.Text", "google.protobuf.Empty", "private"]
    ]
    process.stop()
    assert run("services", "list", "--data-dir", process.data_dir, "--json").json == rows
    assert run("services", "describe", COUNTER, "--data-dir", process.data_dir, "--json").json == rows[0]
    missing = run("services", "describe", "sample.v1.Couter", "--data-dir", process.data_dir)
    assert (missing.status, missing.err) == (
        1,
        "error: not_found: there is no service 'sample.v1.Couter'; did you mean 'sample.v1.Counter'? [RT0502]\n",
    )


@pytest.mark.rule("R39")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("services", "describe"), "missing argument 'NAME'"),
        (("services", "private"), "missing argument 'NAME...'"),
        (("services", "--json", "list"), "options stand behind the word: services list OPTIONS"),
        (("call", "nonsense"), "'nonsense' is no method: write SERVICE/METHOD"),
        (("call", f"{ECHO}/Call", "--idempotency-key", ""), "--idempotency-key: it is empty"),
        (("call", f"{ECHO}/Call", "--idempotency-key", "a\nb"), "--idempotency-key: it is empty, has control characters"),
        (("send", f"{ECHO}/Call", "--delay", "soon"), "--delay: not a duration"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], words: str) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err


@pytest.mark.rule("R6")
def test_a_key_beside_the_request(serve: Serve) -> None:
    process = serve()
    for key in ("k", "a/b", "ä", "..", " ", "-x"):
        ran = process.run("call", f"{COUNTER}/Add", '{"amount": 2}', f"--key={key}")
        assert ran.json == {"value": "2"}, ran.err
        process.run("send", f"{COUNTER}/Add", '{"amount": 3}', f"--key={key}", "--idempotency-key", "one")
        while process.run("call", f"{COUNTER}/Get", "{}", f"--key={key}").json != {"value": "5"}:
            time.sleep(0.05)
    ran = process.run("call", f"{COUNTER}/Add", '{"name": "a"}', "--key", "b")
    assert ran.err == f"error: invalid_argument: {COUNTER}/Add: the key field 'name' is 'a', the call's key is 'b' [RT0502]\n"
    ran = process.run("call", f"{COUNTER}/Add", "{}")
    assert ran.err == f"error: invalid_argument: {COUNTER}/Add: the key field 'name' is empty [RT0502]\n"


def awakeable_of(process: Process, key: str) -> str:
    while (ran := process.run("state", "get", COUNTER, key, "awakeable")).status:
        time.sleep(0.05)
    return str(json.loads(ran.out))


@pytest.mark.rule("R34")
def test_awakeables(serve: Serve) -> None:
    process = serve()
    ids = {}
    for key, kind in (("resolved", "text"), ("rejected", "text"), ("typed", "message"), ("input", "text")):
        ids[key] = process.run("send", f"{COUNTER}/Script", json.dumps({"key": key, "text": kind})).out.strip()
    waiting = {key: awakeable_of(process, key) for key in ids}
    for _ in range(2):  # an equal one is accepted again
        assert process.run("awakeables", "resolve", waiting["resolved"], '"yes"').out == f"resolved {waiting['resolved']}\n"
        assert process.run("awakeables", "reject", waiting["rejected"], "not today", "--json").json["result"] == "rejected"
        assert process.run("awakeables", "resolve", waiting["typed"], '{"text": "typed"}').status == 0
        assert process.run("awakeables", "resolve", waiting["input"], "-", stdin=' "from a pipe" ').status == 0
    for arguments in (
        ("resolve", waiting["resolved"], '"no"'),
        ("reject", waiting["resolved"], "no"),
        ("resolve", waiting["rejected"], "1"),
    ):
        ran = process.run("awakeables", *arguments)
        assert (ran.status, ran.err.startswith("error: already_exists: ")) == (1, True), ran.err
    for verb, value in (("resolve", "1"), ("reject", "no")):
        assert process.run("awakeables", verb, "sign_1nonsense", value).err.startswith("error: not_found: ")
    assert process.run("awakeables", "resolve", waiting["resolved"], "{").err.endswith("[RT0504]\n")

    def result(key: str) -> object:
        return next(entry["value"] for entry in row(key)["journal"] if entry["entry"] == "return")  # type: ignore[attr-defined]

    def row(key: str) -> dict[str, object]:
        while (found := process.run("invocations", "describe", ids[key], "--json").json)["status"] != "completed":
            time.sleep(0.05)
        return dict(found)

    assert result("resolved") == {"text": "yes"}
    assert result("typed") == {"text": "typed"}
    assert result("input") == {"text": "from a pipe"}
    assert row("rejected")["completion_failure"] == "ABORTED: not today"
