"""What an export costs and what it leaves behind: constant memory, and a whole file or none."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from tests.fixtures.fix_postgres import OwnPostgres, PostgresServer
from tests.sinks.export.exporting import exported, insert_many, month

from costledger.schemas.errors import InvalidValue
from costledger.sinks.database import connect
from costledger.sinks.export import Destination, ExportFormat, export_entries, file_output, stream_output
from costledger.sinks.migrations import migrate

ROOT = Path(__file__).resolve().parents[3]
FEW, MANY = 20_000, 200_000
#: 200,000 rows are some 60 MB of CSV: who kept them would need far more than this.
GROWTH_MIB_MAX = 15


@pytest.fixture(scope="module")
def ledgers(postgres: PostgresServer) -> dict[int, str]:
    """Ledgers with few and with many entries."""
    made = {}
    for rows in (FEW, MANY):
        made[rows] = postgres.create_database()
        migrate(made[rows])
        with psycopg.connect(made[rows], autocommit=True) as connection:
            insert_many(connection, rows)
    return made


@pytest.mark.parametrize("kind", ExportFormat)
def test_memory_does_not_grow_with_the_ledger(ledgers: dict[int, str], kind: ExportFormat, tmp_path: Path) -> None:
    """Ten times the rows take the same memory, to within 15 MiB."""
    taken = {}
    for rows, url in ledgers.items():
        done = subprocess.run(
            [sys.executable, "-m", "tests.sinks.export.memory_of_export", url, kind.value, str(tmp_path / "out")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        written, kib = map(int, done.stdout.split())
        assert written == (rows - rows // 50 if kind is ExportFormat.FOCUS else rows)
        taken[rows] = kib / 1024
    assert taken[MANY] - taken[FEW] < GROWTH_MIB_MAX, taken


def test_a_file_that_is_there_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    """Whatever goes wrong, the old file is untouched and nothing lies beside it; afterwards the new one has its place."""
    path = tmp_path / "costs.csv"
    path.write_bytes(b"old")
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), file_output(path) as destination:  # noqa: PT012 - what fails is within
            destination.write(b"half of the new")
            destination.flush()
            assert path.read_bytes() == b"old"
            raise error
        assert [entry.name for entry in tmp_path.iterdir()] == ["costs.csv"]
        assert path.read_bytes() == b"old"
    with file_output(path) as destination:
        destination.write(b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["costs.csv"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that a link leads to is replaced; what is no ordinary file is refused."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "real" / "costs.csv")
    with file_output(link) as destination:
        destination.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "costs.csv").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InvalidValue, match="output"), file_output(place):
            pass
    with pytest.raises(FileNotFoundError), file_output(tmp_path / "absent" / "costs.csv"):
        pass


@pytest.fixture
def restarting(own_postgres: OwnPostgres) -> tuple[OwnPostgres, str]:
    """A ledger in a PostgreSQL that may go down."""
    url = own_postgres.create_database()
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        insert_many(connection, 4 * FEW)
    return own_postgres, url


def test_a_database_that_goes_down_leaves_no_half_file(restarting: tuple[OwnPostgres, str], tmp_path: Path) -> None:
    """The server ends in the middle: an error of PostgreSQL, and neither the file nor a part of it."""
    server, url = restarting
    folder = tmp_path / "exports"
    folder.mkdir()
    for kind in (ExportFormat.CSV, ExportFormat.PARQUET):
        stopped = []

        def stop(rows: int, _of: int, stopped: list[int] = stopped) -> None:
            if not stopped:
                stopped.append(rows)
                server.stop(mode="immediate")

        with (
            pytest.raises(psycopg.OperationalError),
            file_output(folder / "costs") as destination,
            connect(url, "tests", 10) as connection,
        ):
            export_entries(connection, month(kind), destination, stop)
        assert stopped
        assert list(folder.iterdir()) == []
        server.start()


def test_a_full_disk_is_an_error(ledgers: dict[int, str]) -> None:
    """What cannot be written ends the export with the system's own error, and the connection can be used again."""
    with (
        connect(ledgers[FEW], "tests", 10) as connection,
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        with pytest.raises(OSError, match="No space"):
            export_entries(connection, month(ExportFormat.CSV), Destination(full))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_same_ledger_gives_the_same_file(ledgers: dict[int, str]) -> None:
    """Two exports of one state are one and the same, byte for byte, in order of their time."""
    first, summary = exported(ledgers[FEW], month(ExportFormat.CSV))
    second, again = exported(ledgers[FEW], month(ExportFormat.CSV))
    assert first == second
    assert summary.sha256 == again.sha256
    times = [line.split(b",")[1] for line in first.splitlines()[1:]]
    assert times == sorted(times)


def test_a_stream_gets_everything(ledgers: dict[int, str]) -> None:
    """A stream such as stdout is not closed, and what went through is counted."""
    stream = io.BytesIO()
    with stream_output(stream) as destination:
        destination.write(b"abc")
    assert (destination.bytes, stream.getvalue()) == (3, b"abc")
