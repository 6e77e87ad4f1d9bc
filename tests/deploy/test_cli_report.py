"""`costledger report` and `costledger scheduler`, as processes."""

from __future__ import annotations

import csv
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.deploy.conftest import COMMAND, DIRECT, Cli, clean_environment
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until

from costledger.schemas.topics import TopicNames

#: Long enough ago to be due in whatever zone.
DAY = (datetime.now(UTC) - timedelta(days=3)).date()


@pytest.fixture
def report_cli(tmp_path: Path, kafka: KafkaServer, api_database: str, redis_url: str) -> Cli:
    """The command line on a ledger with one event of a day, and an empty topic."""
    names = TopicNames.with_prefix(kafka.unique("reports") + ".")
    kafka.create_topic(names.events)
    with psycopg.connect(api_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ledger.daily_totals VALUES ('u', %s, 'openai', 'input-tokens', 3, 1, 7, 12.345678901234)",
            (DAY,),
        )
        connection.execute(
            "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, since) "
            "VALUES (%s, 0, 0, 1, 0, %s)",
            (names.events, datetime.now(UTC) - timedelta(days=2)),
        )
        connection.execute("UPDATE jobs.schema_migrations SET applied_at = now() - interval '9 days'")
    return Cli(
        tmp_path,
        COSTLEDGER_BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
        COSTLEDGER_TOPIC_PREFIX=names.events.removesuffix("cost.events"),
        COSTLEDGER_DATABASE_URL=api_database,
        COSTLEDGER_REDIS_URL=redis_url,
        COSTLEDGER_SCHEDULER_METRICS_PORT="0",
    )


def test_a_report_by_hand_is_the_stored_one(report_cli: Cli, api_database: str) -> None:
    """Made once and stored; text, CSV and JSON are of the same figures; anew only with --refresh."""
    arguments = ("report", "daily", "--date", DAY.isoformat())
    first = report_cli.json(*arguments)
    assert (first["stored"], first["revision"], first["date"]) == (True, 1, DAY.isoformat())
    assert first["totals"]["total"] == "12.345678901234"
    with psycopg.connect(api_database, autocommit=True) as connection:
        ((content, handed_over),) = connection.execute("SELECT content, handed_over_at FROM ledger.reports").fetchall()
        connection.execute("UPDATE ledger.daily_totals SET amount = 2")
    assert {**first, **content} == first
    assert handed_over is None
    assert "12.35 USD" in report_cli(*arguments).stdout
    rows = list(csv.DictReader(report_cli(*arguments, "--format", "csv").stdout.splitlines()))
    assert (rows[0]["section"], rows[0]["usd"]) == ("total", "12.345678901234")
    anew = report_cli.json(*arguments, "--refresh")
    assert (anew["revision"], anew["totals"]["total"]) == (2, "2.00")
    (listed,) = report_cli.json("report", "list")["reports"]
    assert (listed["kind"], listed["date"], listed["revision"]) == ("daily", DAY.isoformat(), 2)


def test_a_week_ends_before_its_date(report_cli: Cli) -> None:
    """The date is the day after the seven: the day itself is not in the week that ends before it."""
    own = report_cli.json("report", "weekly", "--date", DAY.isoformat())
    assert own["totals"]["events"] == 0
    after = report_cli.json("report", "weekly", "--date", (DAY + timedelta(days=1)).isoformat())
    assert after["totals"]["events"] == 3
    assert after["period"] == f"{DAY - timedelta(days=6)} to {DAY}"
    assert after["files"]["users_without_files"] == 1


def test_what_a_report_cannot_be_of(report_cli: Cli) -> None:
    """A day that is not over, or none at all, is a matter of usage."""
    today = report_cli("report", "daily", "--date", datetime.now(UTC).date().isoformat())
    assert today.returncode == 2
    assert "is over" in today.stderr.replace("\n", " ")
    assert report_cli("report", "weekly", "--date", "yesterday").returncode == 2
    elsewhere = report_cli("report", "daily", COSTLEDGER_JOBS_TIME_ZONE="Mars/Olympus")
    assert elsewhere.returncode == 2
    assert "time_zone" in elsewhere.stderr


def test_the_scheduler_is_a_process(report_cli: Cli, tmp_path: Path, api_database: str) -> None:
    """Ready once it runs jobs, with metrics; it does what is due at once; SIGTERM ends it with 0 within 10 seconds."""
    from costledger.deploy.stack.ports import free_port

    port = free_port()
    with (tmp_path / "scheduler.log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "scheduler"],
            env=clean_environment(**{**report_cli.settings, "COSTLEDGER_SCHEDULER_METRICS_PORT": str(port)}),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:

        def ready() -> bool:
            try:
                with DIRECT.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(ready, 30, "the scheduler is ready")

        def made() -> list[Any]:
            with psycopg.connect(api_database) as connection:
                return connection.execute("SELECT kind FROM ledger.reports WHERE kind = 'sweep'").fetchall()

        wait_until(made, 30, "the hours since the beginning are swept")
        with DIRECT.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        assert "costledger_hourly_total_usd" in metrics
        assert "costledger_pending_alert_deliveries" in metrics
    finally:
        process.terminate()
        assert process.wait(10) == 0
