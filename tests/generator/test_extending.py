"""The worked examples of docs/guide/extending-the-generator.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import CASES, INCLUDE, ROOT, findings, protoc

EXAMPLES = ROOT / "docs" / "examples" / "generator"
CASE = CASES / "services"
PATH = {"PYTHONPATH": str(EXAMPLES)}


def run(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (*path, EXAMPLES)))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})


def generate(out: Path, *options: str) -> str:
    """Generates for the case; what went to stderr."""
    flags = [f"--restate_opt={option}" for option in options]
    done = protoc(out, f"--python_out={out}", *flags, "services/shop.proto", includes=(CASE, INCLUDE), environment=PATH)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_page_for_each_service_and_a_rule(tmp_path: Path) -> None:
    warnings = generate(tmp_path, "plugins=service_pages")
    page = (tmp_path / "services" / "Stock.md").read_text()
    assert page.startswith("# services.Stock\n\nKEYED. Keeps stock.\n")
    assert "| Add | services.Item | services.Total |\n" in page
    assert "service services.Till has no comment [PAGES001]" in warnings
    expected = (CASE / "expected" / "services" / "shop_restate.py").read_text()
    assert (tmp_path / "services" / "shop_restate.py").read_text() == expected


def test_generate_finds_a_plugin_in_the_working_directory(tmp_path: Path) -> None:
    for file in ("service_pages.py", "templates/service.md.j2"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / file, tmp_path / file)
    (tmp_path / "dev.py").touch()  # what else is there changes nothing
    (tmp_path / "jinja2.py").touch()
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", CASE, "--out", "out", "--opt", "plugins=service_pages", CASE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "services" / "Stock.md").is_file()


def test_a_mock_for_each_client_through_insertion_points(tmp_path: Path) -> None:
    assert generate(tmp_path, "plugins=client_mocks", "plugins=service_pages") != ""
    program = """
import asyncio
from services.shop_pb2 import Item, Total
from services.shop_restate import StockClient, StockClientMock

rpcs = {name for name, value in vars(StockClient).items() if isinstance(value, property)}
stock = StockClientMock()
assert rpcs == set(vars(stock)), rpcs
stock.add.return_value = Total()
assert asyncio.run(stock.add(Item(id="a"))) == Total()
stock.add.assert_awaited_once_with(Item(id="a"))
stock.remove.in_background(Item(id="b"))
stock.remove.in_background.assert_called_once()
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


ACME = """syntax = "proto3";
package parcels;
import "dev/restate/ext.proto";
message Parcel { string id = 1 [(dev.restate.ext.field) = KEY]; }
message Label { string text = 1; }
service Depot {
  option (dev.restate.ext.service_type) = KEYED;
  rpc Send(Parcel) returns (Label);
}
"""

USE = """
import asyncio, json, urllib.request
from google.protobuf import descriptor_pool
from parcels.depot_restate import DEPOT, DepotBase, DepotClient
from parcels.messages import Label, Parcel
from restate_runtime import App

class Depot(DepotBase):
    async def send(self, ctx, request):
        assert type(request) is Parcel
        kept = await ctx.get("label", Label)
        ctx.set("label", Label(f"for {ctx.key}"))
        return kept or Label("new")

def post(url):
    request = urllib.request.Request(url, b'{"id": "p"}', {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))

async def main():
    async with App(Depot()).start(ingress="127.0.0.1:0") as runtime:
        assert (await DepotClient(runtime).send(Parcel("p"))) == Label("new")
        assert await asyncio.to_thread(post, runtime.ingress_url + "/parcels.Depot/Send") == {"text": "for p"}
        (row,) = runtime.inspector.state("parcels.Depot", "p")
        assert (row["type"], row["value_json"]) == ("parcels.Label", {"text": "for p"})

asyncio.run(main())
"""


def test_a_message_library_as_an_installed_plugin(tmp_path: Path) -> None:
    protos, out = tmp_path / "protos", tmp_path / "gen"
    (protos / "parcels").mkdir(parents=True)
    (protos / "parcels" / "depot.proto").write_text(ACME)
    installed = tmp_path / "site" / "acme-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[protoc_gen_restate]\nacme = acme_messages\n")
    path = os.pathsep.join((str(installed.parent), str(EXAMPLES)))
    done = protoc(out, "--restate_opt=messages=acme", "parcels/depot.proto", includes=(protos, INCLUDE), environment={"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    text = (out / "parcels" / "depot_restate.py").read_text()
    assert "from acme_messages import LIBRARY\n" in text
    assert "from parcels.messages import Label, Parcel\n" in text
    classes = "".join(f'class {name}(AcmeMessage):\n    FULL_NAME = "parcels.{name}"\n' for name in ("Parcel", "Label"))
    (out / "parcels" / "messages.py").write_text(f"from acme_messages import AcmeMessage\n{classes}")
    done = run(USE, out)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_breaks_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    flags = ["--restate_opt=plugins=broken", "services/shop.proto"]
    done = protoc(tmp_path / "out", *flags, includes=(CASE, INCLUDE), environment={"PYTHONPATH": str(tmp_path)})
    assert "the plugin 'broken' does not load: ModuleNotFoundError: No module named 'nothing_of_that_name' [RST004]" in done.stderr


FAULTY_PLUGINS = {
    "def files(contract):\n    raise ValueError('boom')": "fails in its hook 'files': ValueError: boom (faulty.py:4)",
    "def files():\n    return [OutputFile('services/shop_restate.py', '')]": "gives services/shop_restate.py, which is there already",
    "def files(contract):\n    return ['page.md']": "gives a str in its hook 'files', where an OutputFile is wanted",
    "def files(contract):\n    return 3": "fails in its hook 'files': TypeError: 'int' object is not iterable",
    "def check(contract):\n    return ['wrong']": "gives a str in its hook 'check', where a Finding is wanted",
    "def change(contract):\n    return 3": "gives an int in its hook 'change', where a Contract is wanted",
}


@pytest.mark.parametrize("hook", FAULTY_PLUGINS)
def test_a_plugins_own_faults_are_its_own(hook: str, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(f"from protoc_gen_restate.hooks import OutputFile, hookimpl\n@hookimpl\n{hook}\n")
    flags = ["--restate_opt=plugins=faulty", "services/shop.proto"]
    done = protoc(tmp_path / "out", *flags, includes=(CASE, INCLUDE), environment={"PYTHONPATH": str(tmp_path)})
    assert findings(done.stderr) == f"the plugin 'faulty' {FAULTY_PLUGINS[hook]} [RST010]\n"


FAULTY_TEMPLATES = {
    "# fine\n{% for %}\n": "2: TemplateSyntaxError: Expected an expression, got 'end of statement block'",
    "# fine\n\n{{ nothing }}\n": "3: UndefinedError: 'nothing' is undefined",
    "{{ 1 / 0 }}\n": "1: ZeroDivisionError: division by zero",
    "# fine\n{% include 'none.j2' %}\n": "2: TemplateNotFound: ",
}


@pytest.mark.parametrize("template", FAULTY_TEMPLATES)
def test_a_faulty_template_is_named_with_its_line(template: str, tmp_path: Path) -> None:
    (tmp_path / "base.py.j2").write_text(template)
    done = protoc(tmp_path / "out", f"--restate_opt=templates={tmp_path}", "services/shop.proto", includes=(CASE, INCLUDE))
    assert findings(done.stderr).startswith(f"{tmp_path / 'base.py.j2'}:{FAULTY_TEMPLATES[template]}")
    assert done.stderr.endswith(" [RST009]\n")
    assert done.stderr.count("\n") == 1


def test_a_plugins_faulty_template_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text("one\n{{ service.nothing }}\n")
    (tmp_path / "faulty.py").write_text(
        "from pathlib import Path\n"
        "from protoc_gen_restate.hooks import OutputFile, hookimpl\n"
        "@hookimpl\n"
        "def template_folders():\n    return [Path(__file__).parent]\n"
        "@hookimpl\n"
        "def files(contract, render):\n"
        "    return [OutputFile('page.md', render('page.j2', service=contract.files[0].services[0]))]\n"
    )
    flags = ["--restate_opt=plugins=faulty", "services/shop.proto"]
    done = protoc(tmp_path / "out", *flags, includes=(CASE, INCLUDE), environment={"PYTHONPATH": str(tmp_path)})
    assert f"{tmp_path / 'page.j2'}:2: UndefinedError: " in findings(done.stderr)
    assert done.stderr.endswith("[RST009]\n")
