"""Events arrive the same whatever library the message classes are of (R35). Each plays in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = {"protobuf": "google", "betterproto": "betterproto", "betterproto2": "betterproto2"}


def post(folder: Path, flavour: str, mode: str) -> dict[str, Any]:
    script = Path(__file__).with_name("event_source.py")
    done = subprocess.run([sys.executable, script, folder, flavour, mode], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.rule("R35")
def test_events_arrive_the_same_with_every_library(tmp_path: Path) -> None:
    reports = {}
    for flavour in LIBRARIES:
        out = tmp_path / flavour if flavour == "protobuf" else tmp_path / flavour / "gen"
        contract = ROOT / "protos" / "sample" / "v1" / "events.proto"
        command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", ROOT / "protos", "--out", out, contract]
        done = subprocess.run([*command, "--opt", f"messages={flavour}"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        for mode in ("default", "always-suspend"):
            reports[flavour, mode] = post(tmp_path / flavour, flavour, mode)
    assert {flavour: report.pop("library") for (flavour, _), report in reports.items()} == LIBRARIES
    expected = reports["protobuf", "default"]
    assert [answer[0] for path, answer in expected.items() if path != "state"] == [400, 200, 400, 200, 200, 200]
    assert expected["state"][0]["value_json"] == ["clé", "clé", "sun ☀", {"a": "1", "b": "ä"}]
    assert all(report == expected for report in reports.values())
