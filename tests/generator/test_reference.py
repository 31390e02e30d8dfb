"""The reference pages say what the code does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.restate import ext_pb2, options_pb2
from protoc_gen_restate import lint, options
from protoc_gen_restate.annotations import ANNOTATIONS
from protoc_gen_restate.annotations import reference as annotations_reference

from .conftest import CASES, ROOT

PAGES = ROOT / "docs" / "reference"


def test_the_page_of_rules_is_the_table_in_the_code() -> None:
    assert (PAGES / "lint.md").read_text() == lint.reference(), "run `python -m protoc_gen_restate.lint > docs/reference/lint.md`"


def test_the_page_of_annotations_has_the_table_in_the_code() -> None:
    assert annotations_reference() in (PAGES / "annotations.md").read_text(), "put `python -m protoc_gen_restate.annotations` there"


def test_the_shipped_files_declare_the_options_of_the_table() -> None:
    for module in (ext_pb2, options_pb2):
        declared = {item.full_name: (item.number, item.containing_type.full_name) for item in module.DESCRIPTOR.extensions_by_name.values()}
        table = [item for item in ANNOTATIONS if item.package == module.DESCRIPTOR.package]
        assert declared == {item.name: (item.number, item.place.value) for item in table}


def test_the_page_of_options_is_the_dataclass_in_the_code() -> None:
    page = (PAGES / "options.md").read_text()
    assert page == options.reference(), "run `python -m protoc_gen_restate.options > docs/reference/options.md`"


def test_the_commands_of_the_page_of_annotations_all_give_the_same(tmp_path: Path) -> None:
    page = (PAGES / "annotations.md").read_text()
    contract = tmp_path / "protos" / "shop" / "v1" / "shop.proto"
    contract.parent.mkdir(parents=True)
    contract.write_text(re.findall(r"^```proto\n(syntax.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    for name in re.findall(r'^--8<-- "(docs/examples/buf/.*)"$', page, re.MULTILINE):
        shutil.copy(ROOT / name, tmp_path)
    # The tools beside this interpreter, and what a bare shell has: no protoc is needed anywhere else.
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.defpath)), "HOME": str(tmp_path)}
    commands = [
        command.replace("\\\n", "")
        for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for command in re.split(r"(?<!\\)\n", block)
        if command and not command.startswith("pip ")
    ]
    outcomes = []
    for command in commands:
        (tmp_path / "gen").mkdir(exist_ok=True)
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command
        outcomes.append({file.relative_to(tmp_path).as_posix(): file.read_text() for file in (tmp_path / "gen").rglob("*_restate.py")})
        shutil.rmtree(tmp_path / "gen")
    by_generate, by_protoc, export, by_buf = outcomes
    assert list(by_generate) == ["gen/shop/v1/shop_restate.py"]
    assert by_generate == by_protoc == by_buf
    assert export == {}


def test_every_rule_has_a_case() -> None:
    texts = [file.read_text() for name in ("errors.txt", "warnings.txt") for file in CASES.glob(f"*/{name}")]
    reported = set(re.findall(r"\[(RST\d+)\]$", "\n".join(texts), re.MULTILINE))
    assert {rule.code for rule in lint.RULES} <= reported


def test_codes_are_unique() -> None:
    codes = [entry[0] for entry in (*lint.EARLIER, *lint.COMMAND)] + [rule.code for rule in lint.RULES]
    assert len(codes) == len(set(codes))
