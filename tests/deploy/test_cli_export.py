"""`costledger export` as its users run it."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import signal
import subprocess
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from tests.deploy.conftest import COMMAND, Cli, clean_environment
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.wait import wait_until
from tests.sinks.export.exporting import insert_many

from costledger.sinks.migrations import migrate

ROWS = 20_000
MARCH = ("--from", "2026-03-01", "--to", "2026-04-01T00:00:00Z")


@pytest.fixture(scope="module")
def database_url(postgres: PostgresServer) -> str:
    """A ledger with entries of March 2026."""
    url = postgres.create_database()
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        insert_many(connection, ROWS)
    return url


@pytest.fixture
def export(tmp_path: Path, database_url: str) -> Cli:
    """The command line, with that ledger."""
    return Cli(tmp_path, COSTLEDGER_DATABASE_URL=database_url)


def start(directory: Path, database_url: str, *arguments: str) -> subprocess.Popen[bytes]:
    """An export that goes on by itself."""
    return subprocess.Popen(
        [*COMMAND, "export", *MARCH, *arguments],
        env=clean_environment(COSTLEDGER_DATABASE_URL=database_url),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def parts(directory: Path) -> list[str]:
    """What lies in the directory."""
    return sorted(entry.name for entry in directory.iterdir())


def test_a_file_and_its_summary(export: Cli, tmp_path: Path) -> None:
    """The summary on stdout says of the file what is so: rows, bytes, hash, sum, and that the roll-ups agree."""
    said = export.json("export", *MARCH, "--output", "costs.csv")
    data = (tmp_path / "costs.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert said["rows"] == len(rows) == ROWS
    assert said["bytes"] == len(data)
    assert said["sha256"] == hashlib.sha256(data).hexdigest()
    total = sum(Decimal(row["amount"]) for row in rows if row["amount"])
    assert Decimal(said["amount_usd"]) == total
    assert said["unpriced"] == ROWS // 50
    assert said["rollups"] == {
        "agree": True,
        "whole_hours_events": ROWS,
        "whole_hours_amount_usd": said["amount_usd"],
    }
    assert said["watermark"] == []
    assert (said["from"], said["to"]) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert parts(tmp_path) == ["costs.csv"]


def test_stdout_has_the_export_alone(export: Cli, tmp_path: Path) -> None:
    """Without --output the rows are on stdout, and what is said of them is on stderr."""
    done = export("export", *MARCH, "--user", "user-7", "--format", "focus")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["SubAccountId"] for row in rows} == {"user-7"}
    assert "agree with the roll-ups" in done.stderr
    assert "without a price are left out" in done.stderr
    assert parts(tmp_path) == []


def test_parquet_to_a_file(export: Cli, tmp_path: Path) -> None:
    """A Parquet file has the same rows."""
    said = export.json("export", *MARCH, "--format", "parquet", "--output", "costs.parquet")
    table = pq.read_table(tmp_path / "costs.parquet")
    assert table.num_rows == said["rows"] == ROWS
    assert sum(filter(None, table["amount"].to_pylist())) == Decimal(said["amount_usd"])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--format", "xml"], "--format"),
        (["--json"], "--output"),
        (["--to", "2026-03-01"], "to is"),
        (["--from", "yesterday"], "RFC 3339"),
        (["--output", "."], "directory"),
    ],
)
def test_wrong_usage_is_named(export: Cli, arguments: list[str], word: str) -> None:
    """Exit code 2, and the option."""
    done = export("export", *MARCH, *arguments)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr


def test_without_the_extra_it_says_what_to_install(export: Cli, tmp_path: Path) -> None:
    """Where pyarrow is missing, one line names the extra; nothing is left behind."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pyarrow.py").write_text("raise ModuleNotFoundError(\"No module named 'pyarrow'\", name='pyarrow')\n")
    done = export("export", *MARCH, "--format", "parquet", "--output", "costs.parquet", PYTHONPATH=str(hidden))
    assert done.returncode == 1
    assert "costledger[parquet]" in done.stderr
    assert parts(tmp_path) == ["hidden"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number: signal.Signals, database_url: str, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM in the middle: exit code 130, an earlier file untouched, nothing beside it."""
    (tmp_path / "costs.csv").write_bytes(b"old")
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE ledger.entries IN ACCESS EXCLUSIVE MODE")
        process = start(tmp_path, database_url, "--output", "costs.csv")
        wait_until(lambda: len(parts(tmp_path)) == 2 and waiting(database_url), 30, "the export is under way")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert parts(tmp_path) == ["costs.csv"]
    assert (tmp_path / "costs.csv").read_bytes() == b"old"


def waiting(database_url: str) -> bool:
    """Whether an export waits for a lock in this database."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'costledger export' AND wait_event_type = 'Lock'"
        ).fetchone()
    return found == (1,)


def test_a_connection_that_ends_midway_is_a_failure(database_url: str, tmp_path: Path) -> None:
    """The server ends the connection while rows are under way: exit code 1 and one line, not a shorter success."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "export", *MARCH],
        env=clean_environment(COSTLEDGER_DATABASE_URL=database_url),
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as rows, psycopg.connect(database_url, autocommit=True) as connection:
        # It has begun, and cannot go on before its output is read.
        rows.read(1)
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'costledger export'"
        )
        rest = rows.read()
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) == 1, errors
    assert "PostgreSQL" in errors
    assert rest.count(b"\n") < ROWS


def test_a_reader_that_has_enough_ends_it(database_url: str, tmp_path: Path) -> None:
    """`costledger export | head` ends at once without a complaint."""
    process = start(tmp_path, database_url)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"event_id,occurred_at,")
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
