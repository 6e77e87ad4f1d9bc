"""The guard's example runs as it stands, against real services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer

from costledger.schemas.budgets import Budget
from costledger.schemas.topics import TopicNames
from costledger.sinks.budgets import save_budget
from costledger.sinks.migrations import migrate

EXAMPLE = Path(__file__).resolve().parents[3] / "producers" / "examples" / "budget_guard.py"


@pytest.mark.parametrize(
    ("monthly", "expected"),
    [
        (
            10**12,
            "allow: Within budget\nagain: The work under this key was settled before\nspent and reserved: 0.04 USD\n",
        ),
        (10**11, "skip: Single operation cost exceeds 10% of monthly budget\n"),
        (10**10, "skip: Monthly budget would be exceeded\n"),
    ],
)
def test_the_example_says_what_it_decides(
    kafka: KafkaServer, postgres: PostgresServer, redis_url: str, monthly: int, expected: str
) -> None:
    """With budgets of 1 USD, 10 cents and 1 cent for 4 cents of work."""
    database_url, prefix = postgres.create_database(), kafka.unique("guard") + "."
    migrate(database_url)
    kafka.create_topic(TopicNames.with_prefix(prefix).events)
    with psycopg.connect(database_url) as connection:
        save_budget(connection, Budget(user_id="user-1", monthly_budget=monthly))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        env={
            **os.environ,
            "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "COSTLEDGER_DATABASE_URL": database_url,
            "COSTLEDGER_REDIS_URL": redis_url,
            "COSTLEDGER_TOPIC_PREFIX": prefix,
            "COSTLEDGER_GUARD_RECOVERY_SECONDS": "0.1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
