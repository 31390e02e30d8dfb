"""A user's mistake is one clear line, with a code, and never a traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, Serve, environment, run

pytestmark = pytest.mark.rule("R45")

PORTS = ("--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0")


def one_line(err: str) -> str:
    assert re.fullmatch(r"error: [^\n]+ \[RT\d{4}\]\n", err), err
    return err


MODULES = {
    "missing_import.py": ("import nowhere\n", "No module named 'nowhere' (missing_import.py:1) [RT0005]"),
    "syntax.py": ("x = (\n", "SyntaxError: '(' was never closed (syntax.py:1) [RT0005]"),
    "raises.py": ("def f():\n    raise ValueError('bad\\nthing')\nf()\n", "ValueError: bad thing (raises.py:2) [RT0005]"),
    "exits.py": ("import sys\nsys.exit(3)\n", "SystemExit: 3 (exits.py:2) [RT0005]"),
    "no_services.py": ("from restate_runtime import App\napp = App()\n", "the App has no services"),
    "no_service.py": ("from restate_runtime import App\nclass X: pass\napp = App(X())\n", "[RT0103]"),
    "no_app.py": ("app = 1\n", "no_app:app is no App but an int"),
    "other_name.py": ("import hosted\napplication = hosted.app\n", "has no 'app'; its Apps are application"),
    "nothing.py": ("", "the module 'nothing' has no 'app'; it has no App at all"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_does_not_do(name: str, tmp_path: Path) -> None:
    source, message = MODULES[name]
    (tmp_path / name).write_text(source)
    (tmp_path / "hosted.py").write_text((Path(__file__).parents[1] / "ingress" / "hosted.py").read_text())
    ran = run("serve", f"{name.removesuffix('.py')}:app", "--data-dir", tmp_path / "data", *PORTS, cwd=tmp_path)
    assert (ran.status, message in one_line(ran.err)) == (1, True), ran.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere:app", "there is no module 'nowhere'"),
        ("hosted", "write MODULE:APP, such as hosted:app"),
        ("hosted.py:app", "write MODULE:APP, such as hosted:app"),
        ("hosted:Echo", "hosted:Echo is no App"),
    ],
)
def test_a_target_that_is_none(target: str, message: str) -> None:
    ran = run("serve", target, *PORTS)
    assert (ran.status, message in one_line(ran.err)) == (1, True), ran.err


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('ingres = "x"\n')
    broken = tmp_path / "broken.toml"
    broken.write_text("=")
    for arguments, variables, message in (
        (["--inactivity-timeout", "soon"], {}, "inactivity_timeout: not a duration: 'soon'"),
        (["--ingress", "8080"], {}, "ingress: '8080' is no address: write HOST:PORT"),
        (["--retry-on-exhausted", "stop"], {}, "'stop' is not one of pause, fail"),
        (["--config", str(wrong)], {}, "there is no option 'ingres': did you mean 'ingress'?"),
        (["--config", str(broken)], {}, "is no TOML"),
        (["--config", str(tmp_path / "none.toml")], {}, "cannot be read"),
        ([], {"RESTATE_RUNTIME_INGRES": "x"}, "environment: there is no option 'ingres': did you mean 'ingress'?"),
    ):
        ran = run("serve", "hosted:app", *PORTS, *arguments, **variables)
        assert (ran.status, message in one_line(ran.err)) == (1, True), ran.err


def test_a_command_line_that_does_not_fit() -> None:
    for arguments, message in (
        (["srve"], "there is no command 'srve': did you mean 'serve'?"),
        (["serve"], "missing argument 'MODULE:APP'"),
        (["serve", "hosted:app", "--ingres", "x"], "there is no option '--ingres': did you mean '--ingress'?"),
        (["call", "Echo"], "'Echo' is no method: write SERVICE/METHOD"),
        (["send", "a.B/C", "--delay", "soon"], "--delay: not a duration"),
        (["invocations", "list", "--status", "odd"], "'odd' is not one of"),
        (["services", "--admin", "http://127.0.0.1:1", "--data-dir", "x"], "not both"),
    ):
        ran = run(*arguments)
        assert (ran.status, message.lower() in one_line(ran.err).lower()) == (2, True), ran.err


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option in ("ingress", "admin"):
            ran = run("serve", "hosted:app", "--data-dir", tmp_path / "data", *PORTS, f"--{option}", address)
            assert (ran.status, one_line(ran.err)) == (1, f"error: {option}: cannot listen on {address}: the port is in use [RT0004]\n")


def test_no_runtime_answers(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:1"
    for arguments in (
        ["services", "--admin", nobody],
        ["invocations", "kill", "x", "--admin", nobody],
        ["call", "a.B/C", "--ingress", nobody],
        ["awakeables", "resolve", "x", "1", "--admin", "nonsense"],
    ):
        ran = run(*arguments)
        assert (ran.status, "[RT0501]" in one_line(ran.err)) == (1, True), ran.err
    ran = run("services", "--data-dir", tmp_path / "none")
    assert (ran.status, "[RT0202]" in one_line(ran.err)) == (1, True)


URLS = ("http://a..b:1", "http://[::1", "http://127.0.0.1:99999", "http:// /", f"http://{'a' * 64}:1", "")


@pytest.mark.parametrize("url", URLS)
def test_urls_that_are_none(url: str, tmp_path: Path) -> None:
    for arguments, code in (
        (["services", "--admin", url], "RT0501"),
        (["call", "a.B/C", "--ingress", url], "RT0501"),
        (["deployments", "register", "http://127.0.0.1:1", "--admin", url], "RT0501"),
        (["serve", "--deployment", url, "--data-dir", tmp_path / "data", *PORTS], "RT0002"),
    ):
        ran = run(*arguments)
        assert (ran.status, f"[{code}]" in one_line(ran.err), f"'{url}' is no" in ran.err) == (1, True, True), ran.err
    assert not (tmp_path / "data").exists()


def test_a_url_with_letters_in_its_path_that_are_not_ascii(serve: Serve) -> None:
    process = serve()
    ran = run("services", "--admin", f"{process.admin}/für")
    assert (ran.status, "the admin API has nothing at '/für/services'" in one_line(ran.err)) == (1, True), ran.err


def test_a_url_is_registered_that_is_none(serve: Serve) -> None:
    process = serve()
    for url in ("http://a..b:1", "http://[::1"):
        ran = process.run("deployments", "register", url)
        assert (ran.status, f"'{url}' is no URL" in one_line(ran.err), "[RT0601]" in ran.err) == (1, True, True), ran.err
    assert process.run("deployments", "list", "--json").json == []


BYTES = "\udcff"
"""A byte that is no UTF-8, as Python has it in arguments."""


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["call", "a.B/C", f'"{BYTES}"'], 2, "JSON"),
        (["call", "a.B/C", "--key", BYTES], 2, "--key"),
        (["call", f"a.{BYTES}/C"], 2, "SERVICE/METHOD"),
        (["send", "a.B/C", "--idempotency-key", BYTES], 2, "--idempotency-key"),
        (["send", "a.B/C", "--delay", BYTES], 2, "--delay"),
        (["awakeables", "resolve", "x", f'"{BYTES}"'], 2, "JSON"),
        (["awakeables", "reject", "x", BYTES], 2, "REASON"),
        (["services", "describe", BYTES], 2, "NAME"),
        (["services", "private", "a", BYTES], 2, "NAME"),
        (["invocations", "list", "--key", BYTES], 2, "--key"),
        (["invocations", "kill", BYTES], 2, "ID"),
        (["state", "get", "a", BYTES], 2, "KEY"),
        (["services", "--admin", f"http://127.0.0.1:1/{BYTES}"], 2, "--admin"),
        (["deployments", "register", f"http://127.0.0.1:1/{BYTES}"], 2, "URL"),
        (["endpoint", f"{BYTES}:app"], 2, "MODULE:APP"),
        (["serve", "hosted:app", "--ingress", f"{BYTES}:0"], 1, "ingress: "),
        (["serve", "--deployment", f"http://127.0.0.1:1/{BYTES}"], 1, "deployment: "),
    ],
)
def test_what_is_given_is_no_utf_8(arguments: list[str], status: int, message: str) -> None:
    ran = run(*arguments)
    assert (ran.status, message in one_line(ran.err), "is no UTF-8" in ran.err) == (status, True, True), ran.err


def test_variables_and_standard_input_that_are_no_utf_8() -> None:
    ran = run("services", RESTATE_RUNTIME_ADMIN_URL=f"http://{BYTES}")
    assert (ran.status, "it is no UTF-8" in one_line(ran.err)) == (2, True), ran.err
    ran = run("serve", "hosted:app", RESTATE_RUNTIME_ADMIN=f"{BYTES}:1")
    assert (ran.status, "is no UTF-8 [RT0002]" in one_line(ran.err)) == (1, True), ran.err
    for errors in ("strict", "surrogateescape"):  # which of the two depends on the locale
        done = subprocess.run(
            [*COMMAND, "call", "a.B/C", "-"], input=b'"\xff"', env=environment(PYTHONIOENCODING=f"utf-8:{errors}"), capture_output=True
        )
        assert (done.returncode, one_line(done.stderr.decode())) == (1, "error: the request is no JSON: it is no UTF-8 [RT0504]\n")


def test_files_may_have_any_name(tmp_path: Path, serve: Serve) -> None:
    data_dir = tmp_path / f"data{BYTES}"
    process = serve("--data-dir", str(data_dir), PYTHONIOENCODING="utf-8:strict")
    assert process.data_dir == tmp_path / "data?"
    assert process.stop() == 0
    assert run("services", "--data-dir", data_dir, "--json").status == 0
    for flags in ([], ["--json"]):
        ran = run("doctor", "--data-dir", data_dir, *flags, PYTHONIOENCODING="utf-8:strict")
        assert (ran.status, f"{tmp_path / 'data?'}" in ran.out) == (0, True), ran.err


def test_a_start_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "key.pem").write_text("no key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flags, code in (
            (["--request-identity-private-key", tmp_path / "gone.pem"], "RT0007"),
            (["--request-identity-private-key", tmp_path / "key.pem"], "RT0007"),
            (["--descriptors", tmp_path / "gone.binpb"], "RT0003"),
            (["--deployment", "http://a..b:1"], "RT0002"),
            (["--deployment", "nonsense"], "RT0002"),
            (["--ingress", address], "RT0004"),
            (["--admin", address], "RT0004"),
        ):
            for where in ([], ["--data-dir", tmp_path / "data"]):
                ran = run("serve", "hosted:app", *PORTS, *flags, *where, TMPDIR=str(temporary))
                assert (ran.status, f"[{code}]" in one_line(ran.err)) == (1, True), ran.err
                assert list(temporary.iterdir()) == []
                assert not (tmp_path / "data").exists()
    mine = tmp_path / "mine"
    mine.mkdir()  # what was there before stays
    run("serve", "hosted:app", *PORTS, "--request-identity-private-key", tmp_path / "gone.pem", "--data-dir", mine)
    assert mine.is_dir()


def test_what_a_runtime_refuses(serve: Serve) -> None:
    process = serve()
    for arguments, message in (
        (["call", "sample.v1.Counte/Add"], "not_found: there is no service 'sample.v1.Counte'; did you mean 'sample.v1.Counter'?"),
        (["call", "sample.v1.Counter/Add"], "the key field 'name' is empty"),
        (["call", "sample.v1.Counter/Add", '{"nam": "a"}'], "nam: sample.v1.AddRequest has no such field; did you mean 'name'?"),
        (["call", "sample.v1.Counter/Add", "{name: a}"], "the request is no JSON"),
        (["call", "sample.v1.Echo/Script", '{"text": "fail ABORTED it is so"}'], "aborted: it is so (invocation inv_1"),
        (["invocations", "describe", "nonsense"], "there is no invocation 'nonsense'"),
        (["invocations", "kill", "inv_1AAAAAAAAAAAAAAAAAAAAAA"], "not_found: there is no invocation"),
        (["state", "get", "sample.v1.Count", "a"], "did you mean 'sample.v1.Counter'?"),
        (["state", "get", "sample.v1.Counter", "a", "total"], "has no state 'total' for the key 'a'"),
        (["awakeables", "resolve", "sign_1x", "1"], "not_found"),
        (["awakeables", "resolve", "sign_1x", "{"], "the value is no JSON"),
        (["services", "--admin", process.ingress], "nothing is served at '/services'"),
    ):
        ran = process.run(*arguments)
        assert (ran.status, message in one_line(ran.err)) == (1, True), ran.err
    assert len(process.run("invocations", "list", "--json").json) == 1  # the one that failed


@pytest.mark.parametrize("name", ["dev/__init__.py", "dev.py", "dev/restate/__init__.py", "dev/restate.py"])
@pytest.mark.parametrize("on_path", [False, True], ids=["here", "on the path"])
def test_a_file_that_hides_the_shipped_modules(name: str, on_path: bool, tmp_path: Path) -> None:
    file = tmp_path / "user" / name
    file.parent.mkdir(parents=True)
    file.touch()
    where: dict[str, Any] = {"cwd": file.parents[name.count("/")]}
    if on_path:  # it is found before anything of the runtime is imported
        where = {"cwd": tmp_path, "PYTHONPATH": os.pathsep.join((str(where["cwd"]), environment()["PYTHONPATH"]))}
    shown = str(file.relative_to(where["cwd"]))
    for command in (["serve", "hosted:app", *PORTS], ["endpoint", "hosted:app", "--bind", "127.0.0.1:0"]):
        ran = run(*command, **where)
        assert (ran.status, one_line(ran.err)) == (
            1,
            f"error: {shown} hides the shipped modules dev.restate.*: remove it, or give it another name [RT0105]\n",
        )
    found = run("doctor", "--json", **where)
    faults = [(row["code"], row["message"].partition(" ")[0]) for row in found.json if row["severity"] == "error"]
    assert (found.status, faults) == (1, [("RT0105", shown)])


def test_a_users_own_package_dev_that_extends_its_path_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "__init__.py").write_text('__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n')
    found = run("doctor", "--json", cwd=tmp_path)
    assert (found.status, [row for row in found.json if row["severity"] == "error"]) == (0, [])
    ran = run("serve", "nowhere:app", *PORTS, cwd=tmp_path)
    assert "there is no module 'nowhere'" in one_line(ran.err)
