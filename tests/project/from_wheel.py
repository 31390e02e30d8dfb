"""What a wheel has to be good for, on whatever protobuf is installed beside it: python from_wheel.py PROTOBUF CHECKOUT."""

from __future__ import annotations

import importlib
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from google.protobuf.compiler import plugin_pb2

SHIPPED = ("events_pb2", "ext_pb2", "options_pb2", "services_pb2", "services_restate")


def main(protobuf: str, checkout: Path) -> None:
    assert version("protobuf").startswith(protobuf), version("protobuf")
    installed = Path(sysconfig.get_path("purelib"))
    for name in (*(f"dev.restate.{module}" for module in SHIPPED), "protoc_gen_restate", "restate_runtime"):
        file = importlib.import_module(name).__file__
        assert file is not None
        assert Path(file).is_relative_to(installed), file

    requests = checkout / "tests" / "generator" / "requests"
    expected = (checkout / "tests" / "cases" / "services" / "expected" / "services" / "shop_restate.py").read_text("utf-8")
    plugin = Path(sysconfig.get_path("scripts"), "protoc-gen-restate")
    for request in sorted(requests.glob("*.bin")):
        done = subprocess.run([plugin, "--request", request], capture_output=True, check=True)
        (answered,) = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout).file
        assert answered.content == expected, request

    sys.path.append(str(checkout / "generated"))  # behind the wheel's own `dev`
    tour = importlib.import_module("tour.v1.tour_restate")
    assert tour.TICKET_SERVICE.method("Reserve").request(ticket_id="a").ticket_id == "a"
    print(f"protobuf {version('protobuf')}: the wheel works")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
