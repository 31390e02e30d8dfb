"""A plugin of pytest: the contract suite as it is, on the classes of another library.

    CONTRACT_GENERATED=FOLDER PYTHONPATH=tests/flavours pytest -p contract_suite tests/contract

FOLDER holds the package `gen`, generated with `messages=`. What the suite imports from `sample` and `tour` comes from there: the messages
exist in no `_pb2` in this process.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pool

TESTS = Path(__file__).parents[1]
MESSAGES = ("sample.v1.Text", "sample.v1.Items", "dev.restate.Event", "tour.v1.Ticket")


def _put_in_place() -> None:
    generated = Path(os.environ["CONTRACT_GENERATED"])
    sys.path[:0] = [str(generated), str(TESTS.parent / "examples" / "ticket_reservation")]
    for file in sorted((generated / "gen").rglob("*_restate.py")):
        services = ".".join(file.relative_to(generated).with_suffix("").parts)
        package, _, name = services.removeprefix("gen.").rpartition(".")
        for part in (package.partition(".")[0], package):  # empty: what is not generated is not there
            sys.modules.setdefault(part, ModuleType(part)).__path__ = []
        sys.modules[f"{package}.{name}"] = importlib.import_module(services)
        # Both libraries have the messages of a package in one module.
        sys.modules[f"{package}.{name.removesuffix('_restate')}_pb2"] = importlib.import_module(f"gen.{package}")
    sys.modules["dev.restate.events_pb2"] = importlib.import_module("gen.dev.restate")
    sys.modules["services"] = importlib.import_module("dataclass_shop")  # the ticket shop of the examples


_put_in_place()  # now: pytest imports the suite's conftest before it calls a hook


@pytest.fixture(autouse=True, scope="session")
def _in_no_pb2() -> None:
    for name in MESSAGES:
        with pytest.raises(KeyError):
            descriptor_pool.Default().FindMessageTypeByName(name)
