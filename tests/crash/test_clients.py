"""500 clients on 100 keys, and a kill -9 in the middle."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from .clients import Clients, check
from .server import Server

CLIENTS = 500
KEYS = 100
CALLS = 10


@pytest.mark.parametrize("options", [[], ["--always-suspend"]], ids=["default", "always-suspend"])
@pytest.mark.rule("R21")
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
@pytest.mark.rule("R42")
async def test_many_clients_and_a_kill_in_the_middle(tmp_path: Path, options: list[str]) -> None:
    log, executed = tmp_path / "sent", tmp_path / "executed"
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")

    def server(ingress: str) -> Server:
        return Server(
            "served_counter:app", Path(__file__).parent, tmp_path / "data", {"EXECUTED": str(executed)}, *options, ingress=ingress
        )

    async with server("127.0.0.1:0") as first:
        clients = Clients(first.ingress, log, clients=CLIENTS, keys=KEYS, seed=seed)
        running = asyncio.ensure_future(clients.run(lambda number: number < CALLS))
        while clients.acknowledged < CLIENTS * CALLS // 2:
            await asyncio.sleep(0.01)
        await first.kill()
        assert not running.done()
    async with server(first.ingress.removeprefix("http://")) as second:
        sums = await running
        assert await second.stop() == 0
    check(sums, log, executed)


GOOD_SENT = ["0 0 k 1 0 1 1", "1 0 k 2 2 3 -", "0 1 k 4 4 5 7"]
GOOD_EXECUTED = ["k 0/0", "k 1/0", "k 0/1"]


@pytest.mark.parametrize(
    ("sent", "executed", "total"),
    [
        pytest.param(GOOD_SENT, GOOD_EXECUTED[:2], 3, id="lost"),
        pytest.param(GOOD_SENT, [*GOOD_EXECUTED, "k 0/0"], 7, id="twice"),
        pytest.param(GOOD_SENT, ["k 1/0", "k 0/0", "k 0/1"], 7, id="out of turn"),
        pytest.param(["0 0 k 1 0 3 -", "0 1 k 2 1 2 -"], ["k 0/1", "k 0/0"], 3, id="sender's order"),
        pytest.param([*GOOD_SENT[:2], "0 1 k 4 4 5 8"], GOOD_EXECUTED, 7, id="wrong answer"),
        pytest.param(GOOD_SENT, GOOD_EXECUTED, 8, id="wrong sum"),
    ],
)
def test_the_oracle_sees_what_is_wrong(tmp_path: Path, sent: list[str], executed: list[str], total: int) -> None:
    (tmp_path / "sent").write_text("\n".join(sent))
    (tmp_path / "executed").write_text("\n".join(executed))
    with pytest.raises(AssertionError):
        check({"k": total}, tmp_path / "sent", tmp_path / "executed")


def test_the_oracle_is_content_with_what_is_right(tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("\n".join(GOOD_SENT))
    (tmp_path / "executed").write_text("\n".join(["k 0/0", *GOOD_EXECUTED]))
    check({"k": 7}, tmp_path / "sent", tmp_path / "executed")
