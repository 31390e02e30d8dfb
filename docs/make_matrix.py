"""Writes docs/reference/matrix.md from what the contract suite reported: `nox -s matrix`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "reference" / "matrix.md"
WITH_GATEWAY = "a cluster has it with the gateway in front"
ENGINES = {
    "in-process": "in process",
    "served": "served",
    "always-suspend": "always-suspend",
    "remote": "endpoint, both ways",
    "remote-always-suspend": "endpoint, both ways, always-suspend",
    "remote-request-response": "endpoint, request and response",
    "lambda": "Lambda",
    "cluster": "Restate, one node",
    "cluster-http1": "Restate, one node, request and response",
    "gateway": "Restate, one node, gateway",
    "three-nodes": "Restate, three nodes, leader killed, gateway",
}
RULES = {
    "R1": "order of calls", "R2": "options of calls", "R3": "Empty", "R5": "handles", "R6": "handles by id, methods by name",
    "R7": "outside handlers", "R10": "futures", "R11": "terminal errors", "R12": "side effects", "R13": "invocation retry",
    "R14": "state and payloads", "R15": "cancel", "R16": "kill", "R17": "abandoned attempts", "R18": "deadlock", "R19": "missing callee",
    "R20": "mismatch", "R21": "order", "R22": "idempotency", "R23": "keys", "R31": "start and stop", "R32": "HTTP ingress",
    "R34": "built-in services", "R35": "events", "R36": "private services", "R37": "deployments", "R38": "safe defaults", "R39": "tools",
    "R40": "acknowledged is durable", "R41": "exactly once", "R42": "one at a time for a key", "R45": "bad input",
}  # fmt: skip
HEAD = """# Rules by engine

Made by `nox -s matrix`: the contract suite (`tests/contract`), the same tests on every engine. A number is how many tests of the rule
passed; *gateway* means that a cluster has the thing with the gateway in front, which is a column of its own; a letter stands for a
difference that is explained below the table, and *fails* for a failure. On three nodes the node that leads the partition in use is killed
with -9 in every single test.

"""
FOOT = """
Some rules say nothing about engines, and have their tests elsewhere: R4 is the generator's (`tests/generator`), R30 is about options of the
embedded runtime (`tests/durability/test_options.py`, `tests/cli`), R43 and R44 about its data directory (`tests/durability`).
"""


def page(reports: Mapping[str, Mapping[str, Any]], seen: str) -> str:
    """The page, of the reports of the engines by name."""
    reasons: dict[str, str] = {}
    columns = [name for name in ENGINES if name in reports]
    lines = [
        "| rule | " + " | ".join(ENGINES[name] for name in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for rule, title in RULES.items():
        cells = [_cell(reports[name]["engines"].get(name, {}).get(rule), reasons) for name in columns]
        lines.append(f"| {rule} {title} | " + " | ".join(cells) + " |")
    tests = [f"{reports[name]['tests'].get(name, 0)} in {reports[name]['seconds'].get(name, 0):.0f} s" for name in columns]
    lines.append("| tests | " + " | ".join(tests) + " |")
    notes = "".join(f"\n- **{letter}**: {reason}" for reason, letter in reasons.items())
    return HEAD + "\n".join(lines) + "\n" + notes + "\n" + FOOT + f"\nSeen {seen}.\n"


def _cell(cell: Mapping[str, Any] | None, reasons: dict[str, str]) -> str:
    if cell is None:
        return ""
    if cell["failed"]:
        return f"**fails** {len(cell['failed'])}"
    shown = [str(cell["passed"])] if cell["passed"] else []
    for reason in dict.fromkeys(cell["left_out"]):
        if reason == WITH_GATEWAY:
            shown += [] if cell["passed"] else ["gateway"]
        else:
            shown.append(reasons.setdefault(reason, chr(ord("a") + len(reasons))))
    return " ".join(shown)


def main(folder: Path, seen: str) -> None:
    reports = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    names = ("protobuf", "restate-sdk", "hypercorn", "awslambdaric")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    python = ".".join(map(str, sys.version_info[:3]))
    PAGE.write_text(page(reports, f"{seen}; Python {python}, {versions}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
