"""`costledger recommend` on a real ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from tests.deploy.conftest import Cli
from tests.fixtures.fix_postgres import PostgresServer

from costledger.deploy.cli import run
from costledger.sinks.migrations import migrate

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    """A ledger with the roll-ups of two users, today and 45 days ago."""
    url = postgres.create_database()
    migrate(url)
    rows = [
        ("ann", 0, "openai", "embedding-text-embedding-3-small", 7, 45),
        ("ann", 0, "aws-s3", "put", 7, 15),
        ("ann", 0, "costledger", "cache-hit:embedding", 60, 0),
        ("ann", 0, "costledger", "cache-miss:embedding", 40, 0),
        ("ann", 0, "costledger", "saved:embedding_deduplication", 1500, 0),
        ("bob", 0, "aws-rekognition", "detectLabels", 100, 40),
        ("ann", 45, "aws-transcribe", "transcription", 1, 1000),
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        for user, days_ago, service, operation, quantity, amount in rows:
            connection.execute(
                "INSERT INTO ledger.daily_totals VALUES (%s, %s, %s, %s, 1, 0, %s, %s)",
                (user, TODAY - timedelta(days=days_ago), service, operation, quantity, amount),
            )
    return url


@pytest.fixture
def recommend(url: str, tmp_path: Path) -> Cli:
    """The command line on that ledger."""
    return Cli(tmp_path, COSTLEDGER_DATABASE_URL=url)


def test_a_users_month_as_json(recommend: Cli) -> None:
    """The last 30 days, money as text."""
    document = recommend.json("recommend", "ann")
    assert document["user_id"] == "ann"
    assert document["total"] == "60.00"
    assert (document["efficiency_score"], document["cache_hit_rate"]) == ("95.00", "60.00")
    assert document["measured_saving"] == "1.50"
    assert [(one["code"], one["potential_saving"]) for one in document["recommendations"]] == [
        ("embedding_cache", "13.50"),
        ("cache_warming", "6.00"),
    ]
    start, end = (datetime.fromisoformat(document[name]).date() for name in ("from", "to"))
    assert (end - start).days == 30


def test_all_users_and_other_periods(recommend: Cli) -> None:
    """Without a user: everybody's sum, and no score. Periods by days or by dates."""
    everybody = recommend.json("recommend")
    assert (everybody["user_id"], everybody["total"], everybody["efficiency_score"]) == (None, "100.00", None)
    assert [one["code"] for one in everybody["recommendations"]] == [
        "embedding_cache",
        "cache_warming",
        "fewer_features",
    ]
    assert recommend.json("recommend", "ann", "--days", "60")["total"] == "1060.00"
    then = TODAY - timedelta(days=45)
    dated = recommend.json("recommend", "ann", "--from", str(then), "--to", str(then + timedelta(days=1)))
    assert (dated["from"], dated["total"]) == (str(then), "1000.00")
    assert recommend.json("recommend", "ann", "--from", str(then - timedelta(days=9)), "--to", str(then))["total"] == (
        "0.00"
    )


def test_people_read_a_table(recommend: Cli) -> None:
    """What may be saved comes first; a user without costs is no error."""
    shown = recommend("recommend", "ann").stdout
    assert "60.00 USD" in shown
    assert "efficiency 95.00 of 100" in shown
    assert "cache hit rate 60.00 % of 100 lookups" in shown
    assert shown.index("Cache embeddings") < shown.index("Warm the cache")
    assert "openai is 75.00 % of all costs" in shown
    nobody = recommend("recommend", "nobody")
    assert nobody.returncode == 0
    assert "nothing to recommend" in nobody.stdout
    assert "no cache was asked" in nobody.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--days", "0"),
        ("--from", "2026-11-20", "--days", "3"),
        ("--from", "2026-11-20", "--to", "2026-11-20"),
        ("--from", "yesterday"),
        ("--to", "0001-01-02"),
    ],
    ids=" ".join,
)
def test_a_period_that_is_none_is_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and why; nothing is connected to."""
    assert run(["recommend", "ann", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err
