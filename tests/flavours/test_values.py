"""Values of every kind are the same from outside whatever library the classes are of, but for what the library itself cannot hold.

What differs is listed here, and in docs/guide/message-libraries.md.
"""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROTOS = Path(__file__).with_name("protos")
OTHERS = ("betterproto", "betterproto2")

# What comes back for a value of one field, where that is not the value.
LOST: dict[str, dict[str, Any]] = {
    "betterproto": {
        '{"precise": -0.0, "key": "k"}': {},
        '{"texts": {"": ""}, "key": "k"}': {},
        '{"span": "0s", "key": "k"}': {},
        '{"span": "0.000000001s", "key": "k"}': {},
        '{"time": "1970-01-01T00:00:00Z", "key": "k"}': {},
        '{"time": "2024-02-29T12:00:00.123456789Z", "key": "k"}': {"time": "2024-02-29T12:00:00.123456Z"},
    },
    "betterproto2": {
        '{"precise": -0.0, "key": "k"}': {},
        '{"span": "0.000000001s", "key": "k"}': {"span": "0s"},
        '{"time": "2024-02-29T12:00:00.123456789Z", "key": "k"}': {"time": "2024-02-29T12:00:00.123456Z"},
    },
}
TOO_LATE = "a time that datetime cannot hold"
NEGATIVE = ("a negative span", "negative spans")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each library's services answered, each in a process of its own."""
    folder = tmp_path_factory.mktemp("values")
    found = {}
    for flavour in ("protobuf", *OTHERS):
        place = folder / flavour
        out = place if flavour == "protobuf" else place / "gen"
        command = [
            sys.executable,
            "-m",
            "protoc_gen_restate",
            "generate",
            "-I",
            PROTOS,
            "--out",
            out,
            "--opt",
            f"messages={flavour}",
            PROTOS,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        script = Path(__file__).with_name("echo.py")
        done = subprocess.run([sys.executable, script, place, flavour], capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        found[flavour] = json.loads(done.stdout)
    return found


def test_protobufs_own_classes_lose_nothing(reports: dict[str, dict[str, Any]]) -> None:
    report = reports["protobuf"]
    sent = [body for body in report if body.startswith('{"')]
    assert len(sent) > 60
    for body in sent:
        status, came_back = report[body]
        assert status == 200, body
        assert report[f"put {body}"] == report[f"get {body}"] == [200, came_back]
        assert report[f"see {body}"] == came_back
    assert report["CallOld " + json.dumps({"number": 1})] == [
        400,
        {"code": "invalid_argument", "message": "text, flag, kind, data: required, and not given"},
    ]
    assert report["without required fields"][0] == 400
    assert report["a class that no rpc speaks of"] == [200, {"nested": {"text": "x"}}]
    assert report["an unknown value of an enum"] == [200, "584d"]
    # What JSON cannot say is shown as it is.
    assert report["unseen"] == [200, {"base64": base64.b64encode(bytes.fromhex("0a016b92030708ffffffffff3f")).decode()}]
    assert report["unknown fields"] == [200, "0a016b6205f23f026869" + "f23f0568656c6c6f"]


@pytest.mark.rule("R14")
@pytest.mark.rule("R32")
@pytest.mark.rule("R45")
@pytest.mark.parametrize("flavour", OTHERS)
def test_the_other_libraries_answer_the_same(reports: dict[str, dict[str, Any]], flavour: str) -> None:
    expected = {name: copy.deepcopy(value) for name, value in reports["protobuf"].items() if name not in ("given", "unseen")}
    for body, value in LOST[flavour].items():
        came_back = {"key": "k", **value}
        expected |= {body: [200, came_back], f"put {body}": [200, came_back], f"get {body}": [200, came_back], f"see {body}": came_back}
    message = f"values.v1.Echo/Call: the request is good, but {flavour} cannot read it: OverflowError: date value out of range"
    expected[TOO_LATE] = [400, {"code": "invalid_argument", "message": message}]
    report = {name: value for name, value in reports[flavour].items() if name not in ("given", "unseen")}
    preset = next(name for name in report if "withDefault" in name)
    del expected[preset][1]["withDefault"]
    assert report == expected


@pytest.mark.rule("R14")
@pytest.mark.parametrize("flavour", OTHERS)
def test_a_value_that_cannot_be_written_fails_its_own_call(reports: dict[str, dict[str, Any]], flavour: str) -> None:
    for name, outcomes in reports["protobuf"]["given"].items():
        # google.protobuf's classes refuse it when the message is made, the others' when it is sent; a handler then fails.
        refused = ["SerdeError", "SerdeError", "TerminalError", "TerminalError"]
        good = outcomes[0].isalnum() and outcomes[0].islower() and name not in NEGATIVE
        assert reports[flavour]["given"][name] == (outcomes if good else refused), name
