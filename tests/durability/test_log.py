"""The write-ahead log after an unclean exit: everything acknowledged is there, or the start says that it is not (R40, R44)."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from restate_runtime import RuntimeFault
from restate_runtime.engine.storage.schema import SCHEMA_VERSION

from .harness import app
from .processes import child

DATABASE, LOG, MARK = "restate.sqlite3", "restate.sqlite3-wal", "highwater"


@dataclass
class Killed:
    """A directory as SIGKILL left it, and what was acknowledged before."""

    directory: Path
    sums: dict[str, int]

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.directory, to)
        return to


def kill_after(directory: Path, acknowledged: int, checkpoint: int) -> Killed:
    sums: dict[str, int] = {}
    with child("adder", directory, checkpoint) as adder:
        for _ in range(acknowledged):
            _, key, value = adder.until("added")
            sums[key] = int(value)
        adder.process.kill()
        while words := adder.next():  # said before the end came
            if len(words) == 3:
                sums[words[1]] = int(words[2])
    return Killed(directory, sums)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """With everything in the log."""
    return kill_after(tmp_path_factory.mktemp("killed"), 40, 0)


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """With the log copied into the file every few pages."""
    return kill_after(tmp_path_factory.mktemp("checkpointed"), 60, 25)


async def opened(directory: Path, killed: Killed, **options: Any) -> str | bool:
    """The code of the refusal, or whether everything acknowledged is there."""
    try:
        async with app().start(data_dir=directory, **options) as runtime:
            client = CounterClient(runtime)
            found = {key: (await client.get(CounterKey(name=key))).value for key in killed.sums}
    except RuntimeFault as fault:
        return fault.code
    # What was in flight may be there as well, once.
    return all(value <= found[key] <= value + 1 for key, value in killed.sums.items())


@pytest.mark.rule("R40")
async def test_everything_acknowledged_is_there(killed: Killed, checkpointed: Killed, tmp_path: Path) -> None:
    for case in (killed, checkpointed):
        assert (case.directory / LOG).stat().st_size > 0
        assert await opened(case.copy(tmp_path / "copy"), case) is True


@pytest.mark.rule("R40")
@pytest.mark.rule("R44")
@pytest.mark.parametrize("which", ["killed", "checkpointed"])
async def test_a_truncated_log_is_refused_or_complete(which: str, request: pytest.FixtureRequest, tmp_path: Path, full: bool) -> None:
    case: Killed = request.getfixturevalue(which)
    size = (case.directory / LOG).stat().st_size
    step = 512 if full else size // 40
    seen = set()
    for length in [*range(0, size, step), size - 1, size]:
        directory = case.copy(tmp_path / "copy")
        with (directory / LOG).open("r+b") as log:
            log.truncate(length)
        result = await opened(directory, case)
        assert result in ("RT0203", True), f"truncated to {length} of {size}"
        seen.add(result)
    assert seen == {"RT0203", True}


@pytest.mark.rule("R44")
@pytest.mark.parametrize("which", ["killed", "checkpointed"])
async def test_a_flipped_bit_in_the_log_is_refused_or_harmless(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, full: bool
) -> None:
    case: Killed = request.getfixturevalue(which)
    size = (case.directory / LOG).stat().st_size
    seen = set()
    for offset in range(7, size, 97 if full else size // 30):
        directory = case.copy(tmp_path / "copy")
        with (directory / LOG).open("r+b") as log:
            log.seek(offset)
            (byte,) = log.read(1)
            log.seek(offset)
            log.write(bytes([byte ^ 0x10]))
        result = await opened(directory, case)
        assert result in ("RT0203", "RT0204", True), f"byte {offset} of {size}"
        seen.add(result)
    assert "RT0203" in seen


@pytest.mark.rule("R44")
async def test_a_refused_start_keeps_the_evidence(killed: Killed, tmp_path: Path) -> None:
    """The log is mended from a backup after a refusal: nothing was thrown away meanwhile."""
    directory = killed.copy(tmp_path / "copy")
    content = (directory / LOG).read_bytes()
    (directory / LOG).write_bytes(content[: len(content) // 2])
    assert await opened(directory, killed) == "RT0203"
    assert await opened(directory, killed) == "RT0203"
    assert (directory / LOG).read_bytes() == content[: len(content) // 2]
    (directory / LOG).write_bytes(content)
    assert await opened(directory, killed) is True


@pytest.mark.rule("R44")
@pytest.mark.parametrize("missing", [[LOG], [LOG, "restate.sqlite3-shm"], [DATABASE], [DATABASE, LOG], [MARK]])
async def test_a_missing_file_is_noticed(missing: list[str], killed: Killed, tmp_path: Path) -> None:
    directory = killed.copy(tmp_path / "copy")
    for name in missing:
        (directory / name).unlink(missing_ok=True)
    with pytest.raises(RuntimeFault) as error:
        async with app().start(data_dir=directory):
            pass
    # A database that was never checkpointed and has no log holds nothing, not even tables.
    assert error.value.code in ("RT0203", "RT0204")
    assert str(directory) in error.value.message


async def test_the_shared_memory_file_is_not_needed(killed: Killed, tmp_path: Path) -> None:
    directory = killed.copy(tmp_path / "copy")
    (directory / "restate.sqlite3-shm").unlink(missing_ok=True)
    assert await opened(directory, killed) is True


@pytest.mark.rule("R44")
@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"\xff" * 40, b"short"])
async def test_a_damaged_mark_is_noticed(content: bytes, killed: Killed, tmp_path: Path) -> None:
    directory = killed.copy(tmp_path / "copy")
    (directory / MARK).write_bytes(content)
    assert await opened(directory, killed) == "RT0203"


@pytest.mark.rule("R44")
async def test_one_torn_record_of_the_mark_does_no_harm(killed: Killed, tmp_path: Path) -> None:
    newer = max(range(2), key=lambda place: _record(killed.directory / MARK, place))
    directory = killed.copy(tmp_path / "copy")
    content = bytearray((directory / MARK).read_bytes())
    content[newer * 20 : newer * 20 + 20] = b"x" * 20
    (directory / MARK).write_bytes(content)
    assert await opened(directory, killed) is True


def _record(mark: Path, place: int) -> int:
    return int.from_bytes(mark.read_bytes()[place * 20 : place * 20 + 8], "little")


@pytest.mark.rule("R44")
async def test_an_older_copy_of_the_database_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with app().start(data_dir=directory) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    shutil.copy(directory / DATABASE, tmp_path / "older")
    async with app().start(data_dir=directory) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    shutil.copy(tmp_path / "older", directory / DATABASE)
    with pytest.raises(RuntimeFault, match="acknowledged data is missing") as error:
        async with app().start(data_dir=directory):
            pass
    assert "--accept-data-loss" in error.value.message


@pytest.mark.rule("R44")
@pytest.mark.parametrize("runs", [0, 1])
async def test_a_loss_is_accepted_once(runs: int, killed: Killed, tmp_path: Path) -> None:
    """After it nothing of it is left that refuses the next start."""
    directory = killed.copy(tmp_path / "copy")
    with (directory / LOG).open("r+b") as log:
        log.truncate(log.seek(0, 2) * 2 // 3)
    assert await opened(directory, killed) == "RT0203"
    async with app().start(data_dir=directory, accept_data_loss=True) as runtime:
        for _ in range(runs):
            await CounterClient(runtime).add(AddRequest(name="new", amount=1))
    async with app().start(data_dir=directory) as runtime:
        assert (await CounterClient(runtime).get(CounterKey(name="new"))).value == runs
        assert (await CounterClient(runtime).get(CounterKey(name="k0"))).value < killed.sums["k0"]


@pytest.mark.rule("R45")
async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async with app().start(data_dir=tmp_path) as runtime:
        await CounterClient(runtime).add(AddRequest(name="k", amount=1))
    connection = apsw.Connection(str(tmp_path / DATABASE))
    connection.execute("ALTER TABLE meta ADD COLUMN of_the_future TEXT; UPDATE meta SET schema_version = 99")
    connection.close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(RuntimeFault, match=f"schema version 99, this runtime knows {SCHEMA_VERSION}: start the newer version") as error:
        async with app().start(data_dir=tmp_path):
            pass
    assert error.value.code == "RT0205"
    assert (tmp_path / DATABASE).read_bytes() == before


@pytest.mark.rule("R44")
@pytest.mark.parametrize(
    "content", [b"this is no database, but it is long enough to be looked at as one" * 100, b"SQLite format 3\0" + b"\1" * 5000]
)
async def test_a_file_that_is_no_database(content: bytes, tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(RuntimeFault) as error:
        async with app().start(data_dir=tmp_path):
            pass
    assert error.value.code == "RT0204"
    assert (tmp_path / DATABASE).read_bytes() == content


@pytest.mark.rule("R44")
async def test_somebody_elses_database(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / DATABASE))
    connection.execute("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
    connection.close()
    with pytest.raises(RuntimeFault, match="is not a database of this runtime") as error:
        async with app().start(data_dir=tmp_path):
            pass
    assert error.value.code == "RT0204"


@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_killed_again_and_again(tmp_path: Path, full: bool) -> None:
    """Each life adds on top of what the lives before were told; the oracle is what they said."""
    sums: dict[str, int] = {}
    for life in range(40 if full else 4):
        with child("adder", tmp_path, 30) as adder:
            for _ in range(7 + 11 * life % 30):
                _, key, value = adder.until("added")
                # One that was in flight when the life before ended may count, or not.
                assert int(value) - sums.get(key, 0) in (1, 2), (life, key)
                sums[key] = int(value)
            adder.process.kill()
            while words := adder.next():
                if len(words) == 3:
                    sums[words[1]] = int(words[2])
    assert asyncio.all_tasks() == {asyncio.current_task()}
