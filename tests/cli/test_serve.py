"""`restate-runtime serve`: options, start and stop."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import COMMAND, HOSTED, Serve, environment, run


@pytest.mark.rule("R31")
def test_one_line_says_where_it_serves(serve: Serve, tmp_path: Path) -> None:
    process = serve()
    assert process.run("call", "sample.v1.Echo/Call", '{"text": "x"}').json == {"text": "x"}
    assert process.stop() == 0
    out, err = process.popen.communicate()
    assert (out, err) == ("", "")
    assert process.data_dir == tmp_path / "data"
    assert process.data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.rule("R31")
def test_the_json_line_has_a_null_for_what_is_not_served(tmp_path: Path) -> None:
    arguments = ["serve", "hosted:app", "--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", str(tmp_path / "d")]
    for flags in ([], ["--json"]):
        popen = subprocess.Popen([*COMMAND, *arguments, *flags], cwd=HOSTED, env=environment(), stdout=subprocess.PIPE, text=True)
        assert popen.stdout is not None
        line = popen.stdout.readline()
        popen.terminate()
        assert popen.wait(timeout=30) == 0
        popen.stdout.close()
        if flags:
            said = json.loads(line)
            assert set(said) == {"ingress", "grpc", "admin", "data_dir", "pid"}
            assert (said["grpc"], said["pid"]) == (None, popen.pid)
        else:
            assert line.startswith("serving: ingress http://127.0.0.1:")


@pytest.mark.rule("R31")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_while_calls_wait(serve: Serve, number: signal.Signals) -> None:
    process = serve()
    waiting = subprocess.Popen(
        [*COMMAND, "call", "sample.v1.Echo/Script", '{"text": "sleep 120"}', "--ingress", process.ingress],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not process.run("invocations", "list", "--json").json:
        time.sleep(0.05)
    began = time.monotonic()
    assert process.stop(number) == 0
    assert time.monotonic() - began < 10
    _, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err.startswith("error: unavailable: ")) == (1, True), err
    # What waited is there after a restart.
    [row] = serve().run("invocations", "list", "--json").json
    assert row["status"] in ("ready", "running", "suspended")


@pytest.mark.rule("R31")
def test_a_second_signal_ends_it_at_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(
        "import time\n"
        "from restate_runtime import App\n"
        "from sample.v1.sample_restate import EchoBase\n"
        "class Stuck(EchoBase):\n"
        "    async def call(self, ctx, request):\n"
        "        open('stuck', 'w').close()\n"
        "        while True:\n"
        "            time.sleep(0.01)  # blocks the loop: no orderly stop is possible\n"
        "    async def script(self, ctx, request):\n"
        "        return request\n"
        "app = App(Stuck())\n"
    )
    process = serve(target="stuck:app", cwd=tmp_path)
    process.run("send", "sample.v1.Echo/Script", "{}")
    call = subprocess.Popen(
        [*COMMAND, "send", "sample.v1.Echo/Call", "{}", "--ingress", process.ingress], env=environment(), stderr=subprocess.PIPE
    )
    while not (tmp_path / "stuck").exists():
        time.sleep(0.02)
    process.popen.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.popen.poll() is None
    assert process.stop() == 128 + signal.SIGTERM
    call.communicate(timeout=30)


@pytest.mark.rule("R31")
@pytest.mark.rule("R11")
async def test_a_connection_outlives_a_runtime_that_is_killed(serve: Serve) -> None:
    from sample.v1.sample_pb2 import Text
    from sample.v1.sample_restate import EchoClient

    from restate_runtime import connect

    process = serve()
    async with connect(process.ingress) as connection:
        echo = EchoClient(connection)
        waiting = echo.script(Text(text="sleep 0.5"), idempotency_key="k")
        assert await echo.call(Text(text="x")) == Text(text="x")
        process.stop(signal.SIGKILL)
        with pytest.raises(ConnectionError, match="a retry under the same idempotency key is safe"):
            await waiting
        with pytest.raises(ConnectionError, match="no runtime can be reached"):
            await echo.call(Text(text="x"))
        serve("--ingress", process.ingress.removeprefix("http://"))
        assert await echo.script(Text(text="sleep 0.5"), idempotency_key="k") == Text(text="done")


@pytest.mark.rule("R30")
def test_options_from_file_environment_and_flags(serve: Serve, tmp_path: Path) -> None:
    too_large = json.dumps({"text": "x" * 2000})
    config = tmp_path / "options.toml"
    config.write_text("max-message-size = 1000\n")
    for arguments, variables, status in (
        (["--max-message-size", "1000"], {}, 1),
        ([], {"RESTATE_RUNTIME_MAX_MESSAGE_SIZE": "1000"}, 1),
        (["--config", str(config)], {}, 1),
        (["--config", str(config)], {"RESTATE_RUNTIME_MAX_MESSAGE_SIZE": "5000"}, 0),
        (["--config", str(config), "--max-message-size", "5000"], {"RESTATE_RUNTIME_MAX_MESSAGE_SIZE": "1000"}, 0),
    ):
        process = serve(*arguments, **variables)
        assert process.run("call", "sample.v1.Echo/Call", "-", stdin=too_large).status == status
        assert process.stop() == 0


@pytest.mark.rule("R30")
def test_every_option_is_a_flag() -> None:
    from dataclasses import fields

    from restate_runtime.engine.options import Options

    shown = run("serve", "--help").out
    for option in fields(Options):
        assert f"--{option.name.replace('_', '-')} " in shown


@pytest.mark.rule("R30")
def test_importing_and_starting_without_ports_loads_no_http_and_no_command_line() -> None:
    script = (
        "import asyncio, sys, tempfile\n"
        "import restate_runtime\n"
        "assert not {'aiohttp', 'click', 'rich', 'apsw', 'google'} & set(sys.modules)\n"
        "import hosted\n"
        "async def main():\n"
        "    async with hosted.app.start(data_dir=tempfile.mkdtemp()): pass\n"
        "asyncio.run(main())\n"
        "assert not {'aiohttp', 'click', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run([COMMAND[0], "-c", script], cwd=HOSTED, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.rule("R43")
def test_a_second_process_on_the_same_directory_is_refused(serve: Serve) -> None:
    process = serve()
    refused = run("serve", "hosted:app", "--data-dir", process.data_dir, "--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    assert refused.status == 1
    assert f"in use by process {process.popen.pid}" in refused.err
    assert refused.err.endswith("[RT0201]\n")
