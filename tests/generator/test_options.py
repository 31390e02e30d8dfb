"""Every option of the plugin, by what comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protoc_gen_restate.options import Options, help_text

from .conftest import INCLUDE, findings, protoc, ruff

CONTRACT = """syntax = "proto3";
package shop.v1;
import "dev/restate/ext.proto";
import "google/protobuf/empty.proto";
import "common/money.proto";
service Stock {
  option (dev.restate.ext.service_type) = KEYED;
  rpc Add(Item) returns (common.Money);
  rpc Remove(Item) returns (google.protobuf.Empty);
}
message Item { string id = 1 [(dev.restate.ext.field) = KEY]; }
"""
MONEY = 'syntax = "proto3";\npackage common;\nmessage Money { int64 cents = 1; }\n'
MODULE = "shop/v1/stock_restate.py"


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    folder = tmp_path / "protos"
    for name, text in (("shop/v1/stock.proto", CONTRACT), ("common/money.proto", MONEY)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    return folder


def generate(protos: Path, out: Path, *options: str) -> str:
    """The generated module, beside protoc's messages."""
    flags = [f"--restate_opt={option}" for option in options]
    done = protoc(out, f"--python_out={out}", *flags, "shop/v1/stock.proto", "common/money.proto", includes=(protos, INCLUDE))
    assert (done.returncode, done.stderr) == (0, "")
    return (out / MODULE).read_text() if (out / MODULE).exists() else ""


def run(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    paths = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}\n"
    return subprocess.run([sys.executable, "-c", paths + program], capture_output=True, text=True)


def loads(module: str, *path: Path) -> None:
    done = run(f"import importlib; m = importlib.import_module({module!r}); assert m.STOCK.methods", *path)
    assert done.returncode == 0, done.stderr


def test_imports_are_absolute_unless_asked_otherwise(protos: Path, tmp_path: Path) -> None:
    assert "from common import money_pb2\nfrom shop.v1 import stock_pb2\n" in generate(protos, tmp_path / "gen")
    loads("shop.v1.stock_restate", tmp_path / "gen")


def test_relative_imports_work_inside_any_package(protos: Path, tmp_path: Path) -> None:
    text = generate(protos, tmp_path / "acme" / "gen", "imports=relative")
    assert "from . import stock_pb2\nfrom ...common import money_pb2\n" in text
    # protoc's own modules import each other absolutely.
    loads("acme.gen.shop.v1.stock_restate", tmp_path, tmp_path / "acme" / "gen")


def test_a_prefix_goes_before_own_modules_only(protos: Path, tmp_path: Path) -> None:
    text = generate(protos, tmp_path / "acme" / "gen", "package_prefix=acme.gen", "empty=keep")
    assert "from google.protobuf import empty_pb2\n" in text
    assert "from acme.gen.common import money_pb2\nfrom acme.gen.shop.v1 import stock_pb2\n" in text
    loads("acme.gen.shop.v1.stock_restate", tmp_path, tmp_path / "acme" / "gen")


def test_a_file_can_have_its_messages_elsewhere(protos: Path, tmp_path: Path) -> None:
    text = generate(protos, tmp_path / "gen", "Mcommon/money.proto=bank.cash_pb2")
    assert "from bank import cash_pb2\n" in text
    (tmp_path / "gen" / "bank").mkdir()
    (tmp_path / "gen" / "common" / "money_pb2.py").rename(tmp_path / "gen" / "bank" / "cash_pb2.py")
    program = (
        "import sys, bank.cash_pb2; sys.modules['common.money_pb2'] = bank.cash_pb2; import common; common.money_pb2 = bank.cash_pb2\n"
    )
    done = run(f"{program}import shop.v1.stock_restate as m; assert m.STOCK.methods[0].response.__name__ == 'Money'", tmp_path / "gen")
    assert done.returncode == 0, done.stderr


def test_modules_can_end_otherwise(protos: Path, tmp_path: Path) -> None:
    assert generate(protos, tmp_path / "gen", "suffix=_durable") == ""
    loads("shop.v1.stock_durable", tmp_path / "gen")


def test_init_files_are_written_when_asked_for(protos: Path, tmp_path: Path) -> None:
    generate(protos, tmp_path / "gen", "init_files=true")
    written = sorted(path.relative_to(tmp_path / "gen").as_posix() for path in (tmp_path / "gen").rglob("__init__.py"))
    assert written == ["shop/__init__.py", "shop/v1/__init__.py"]


@pytest.mark.parametrize("folder", ["google/shop", "dev/shop", "dev/restate/shop"])
def test_init_files_hide_no_installed_package(folder: str, protos: Path, tmp_path: Path) -> None:
    (protos / folder).mkdir(parents=True)
    text = CONTRACT.replace("package shop.v1", "package mine").replace("common.Money", "Item").replace('import "common/money.proto";', "")
    (protos / folder / "mine.proto").write_text(text)
    out = tmp_path / "gen"
    done = protoc(out, f"--python_out={out}", "--restate_opt=init_files=true", f"{folder}/mine.proto", includes=(protos, INCLUDE))
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / folder / "__init__.py").is_file()
    loads(f"{folder.replace('/', '.')}.mine_restate", out)
    assert ruff("check", *out.rglob("__init__.py")) == ruff("format", "--check", *out.rglob("__init__.py")) == ""


def test_rpcs_that_a_concrete_base_leaves_out_fail_with_unimplemented(protos: Path, tmp_path: Path) -> None:
    text = generate(protos, tmp_path / "gen", "unimplemented=raise")
    assert "abc" not in text
    program = """
import asyncio
from restate_runtime import App, TerminalError
from shop.v1.stock_pb2 import Item
from shop.v1.stock_restate import StockBase, StockClient

async def main():
    async with App(StockBase()).start() as runtime:
        try:
            await StockClient(runtime).remove(Item(id="a"))
        except TerminalError as error:
            print(error.code.value, error.message)

asyncio.run(main())
"""
    done = run(program, tmp_path / "gen")
    assert done.stdout.endswith("shop.v1.Stock/Remove is not implemented\n"), done.stderr


def test_a_template_can_be_replaced_by_itself(protos: Path, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "client.py.j2").write_text("# no client for {{ service.full_name }}\n")
    text = generate(protos, tmp_path / "gen", f"templates={tmp_path / 'templates'}")
    assert "# no client for shop.v1.Stock\n" in text
    assert "class StockBase" in text
    assert "class StockClient" not in text


def test_a_folder_that_replaces_no_template_is_a_mistake(protos: Path, tmp_path: Path) -> None:
    (tmp_path / "clients.py.j2").write_text("# no client\n")
    done = protoc(tmp_path / "gen", f"--restate_opt=templates={tmp_path}", "shop/v1/stock.proto", includes=(protos, INCLUDE))
    names = "base.py.j2, client.py.j2, descriptor.py.j2, module.py.j2, state.py.j2"
    reason = f"option 'templates' has no effect: in {tmp_path} there is none of {names}"
    assert findings(done.stderr) == f"--restate_opt: {reason} [RST004]\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["imports=relative", "package_prefix=a"], "option 'package_prefix' is for absolute imports, and 'imports' is 'relative'"),
        (["default_service_type=KEYED"], "option 'default_service_type' has no effect without 'require_service_type=false'"),
        (["package_prefix=a-b"], "option 'package_prefix' is a Python module such as 'acme.gen', not 'a-b'"),
        (["suffix=-x"], "option 'suffix' is the end of a module's name such as '_restate', not '-x'"),
        (["suffix=_pb2"], "option 'suffix' is not '_pb2': such modules are protoc's own"),
        (["templates=nowhere"], "option 'templates' is a folder; there is none at 'nowhere'"),
        (["init_files=yes"], "option 'init_files' is 'true' or 'false', not 'yes'"),
        (["lint=loud"], "option 'lint' is 'error', 'warn' or 'off', not 'loud'"),
        (["Ma.proto=b", "Ma.proto=c"], "option 'Ma.proto' is given twice"),
        (
            ["plugins=no_such_plugin"],
            "there is no plugin 'no_such_plugin': neither an entry point of the group protoc_gen_restate nor a module",
        ),
        (["import=relative"], "unknown option 'import'; did you mean 'imports'?"),
        (["EMPTY=keep"], "unknown option 'EMPTY'; did you mean 'empty'?"),
        (["Mcommon/money=bank.cash_pb2"], "unknown option 'Mcommon/money'; did you mean 'Mcommon/money.proto'?"),
    ],
)
def test_mistakes_are_named(options: list[str], message: str, protos: Path, tmp_path: Path) -> None:
    flags = [f"--restate_opt={option}" for option in options]
    done = protoc(tmp_path / "gen", *flags, "shop/v1/stock.proto", includes=(protos, INCLUDE))
    assert findings(done.stderr) == f"--restate_opt: {message} [RST004]\n"


def test_help_lists_every_option() -> None:
    names = {"M<file>" if item == "modules" else item for item in Options._fields}
    lines = [line.strip() for line in help_text().splitlines()]
    assert names <= set(lines)
    done = subprocess.run([sys.executable, "-m", "protoc_gen_restate", "generate", "--help"], capture_output=True, text=True)
    assert help_text() in done.stdout
