"""`costledger outbox` through the console script."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.deploy.conftest import Cli, clean_environment
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.wait import wait_until
from tests.producers.outbox.outbox_cases import TABLE, Service, fill, new_service

from costledger.producers.outbox.relay import BATCH_ROWS, BATCH_ROWS_MAX

SCRIPT = Path(sysconfig.get_path("scripts")) / "costledger"
WAIT_SECONDS = 60.0
STOP_SECONDS_MAX = 10.0


@pytest.fixture
def service(kafka: KafkaServer, postgres: PostgresServer) -> Service:
    """A service of this test alone."""
    return new_service(postgres.create_database(), kafka)


@pytest.fixture
def shop(cli: Cli, service: Service) -> Cli:
    """The command line with the service's settings."""
    cli.settings.update(
        COSTLEDGER_DATABASE_URL=service.url,
        COSTLEDGER_BOOTSTRAP_SERVERS=service.bootstrap_servers,
        COSTLEDGER_TOPIC_PREFIX=service.prefix,
    )
    return cli


def start_relay(shop: Cli, *arguments: str) -> subprocess.Popen[str]:
    """The relay as a supervisor starts it: the console script."""
    return subprocess.Popen(
        [str(SCRIPT), "outbox", "relay", *arguments],
        env=clean_environment(**shop.settings),
        cwd=shop.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_table_is_created_once_and_by_the_users_own_migrations(cli: Cli, postgres: PostgresServer) -> None:
    """`create` is repeatable, and what `--print` shows makes the same table."""
    url = postgres.create_database()
    database = ("--database-url", url)
    assert cli.json("outbox", "create", *database) == {"table": TABLE, "created": True}
    assert cli.json("outbox", "create", *database) == {"table": TABLE, "created": False}
    shown = cli("outbox", "create", "--print", "--table", "public.migrated")
    assert shown.returncode == 0
    with psycopg.connect(url) as connection:
        for _ in range(2):
            connection.execute(shown.stdout.encode())
        columns = "SELECT column_name, data_type, is_nullable, is_identity FROM information_schema.columns"
        ours, theirs = (
            connection.execute(f"{columns} WHERE table_name = %s ORDER BY ordinal_position", (name,)).fetchall()
            for name in (TABLE, "migrated")
        )
    assert ours == theirs
    assert [column[:2] for column in ours] == [
        ("id", "bigint"),
        ("event_id", "uuid"),
        ("key", "bytea"),
        ("value", "bytea"),
        ("created_at", "timestamp with time zone"),
    ]
    assert cli.json("outbox", "create", "--print")["sql"].startswith("-- Events that wait")


def test_status_and_relay_once(shop: Cli, service: Service) -> None:
    """What waits is counted with its age; `relay --once` brings it to Kafka; then nothing waits."""
    assert shop.json("outbox", "status") == {"table": TABLE, "waiting": 0, "oldest_at": None, "oldest_seconds": 0.0}
    ids = fill(service, 30)
    waiting: Any = shop.json("outbox", "status")
    assert waiting["waiting"] == 30
    assert waiting["oldest_seconds"] > 0
    assert waiting["oldest_at"].endswith("Z")
    assert "30 events wait in costledger_outbox" in shop("outbox", "status").stdout
    assert shop.json("outbox", "relay", "--once", "--batch", "7") == {"table": TABLE, "relayed": 30, "refused": []}
    assert "nothing waits" in shop("outbox", "status").stdout
    assert "0 events relayed" in shop("outbox", "relay", "--once").stdout
    assert service.on_topic() == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_is_ended_by_a_signal_without_a_repeat(shop: Cli, service: Service, number: signal.Signals) -> None:
    """Told to end under load, it finishes its batch, exits 0, and the next one goes on from there."""
    ids = fill(service, 3000)
    process = start_relay(shop, "--batch", "20")
    try:
        wait_until(lambda: len(service.waiting()) < 3000, WAIT_SECONDS, "the relay works")
        process.send_signal(number)
        _, errors = process.communicate(timeout=STOP_SECONDS_MAX)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    shop.json("outbox", "relay", "--once")
    assert service.on_topic() == dict.fromkeys(ids, 1)


@pytest.mark.fault
def test_killed_relays_lose_nothing(shop: Cli, service: Service, seed: int) -> None:
    """The console script killed with SIGKILL while it relays, three times: repeats at most, under the same ids."""
    ids = fill(service, 3000)

    def moved(before: int) -> bool:
        return len(service.waiting()) < max(before, 1)

    for _ in range(3):
        before = len(service.waiting())
        process = start_relay(shop, "--batch", "50")
        wait_until(partial(moved, before), WAIT_SECONDS, "the relay works")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()

    def relayed() -> bool:
        shop.json("outbox", "relay", "--once")
        return not service.waiting()

    wait_until(relayed, WAIT_SECONDS, "PostgreSQL has let the dead relays' rows go")
    found = service.on_topic()
    assert set(found) == set(ids)
    assert found.total() <= 3000 + 3 * 50


def test_a_batch_has_the_relays_bounds(shop: Cli) -> None:
    """The command says the relay's own default, and refuses what the relay refuses as a matter of usage."""
    words = shop("outbox", "relay", "--help").stdout.replace("│", " ").split()
    assert f"Default: {BATCH_ROWS}." in " ".join(words)
    for rows in (0, BATCH_ROWS_MAX + 1):
        refused = shop("outbox", "relay", "--once", "--batch", str(rows))
        assert refused.returncode == 2
        assert str(BATCH_ROWS_MAX) in refused.stderr


def test_what_is_wrong_is_one_line(shop: Cli) -> None:
    """A missing table and a Kafka that is away: exit code 1, what to do, no traceback, no password."""
    missing = shop("outbox", "status", "--table", "elsewhere")
    assert missing.returncode == 1
    assert "costledger outbox create --table elsewhere" in missing.stderr
    away = shop("outbox", "relay", "--once", COSTLEDGER_BOOTSTRAP_SERVERS="127.0.0.1:9")
    assert away.returncode == 1
    assert "Kafka at 127.0.0.1:9 does not answer" in away.stderr
    nobody = shop("outbox", "status", "--database-url", "postgresql://me:hidden@127.0.0.1:9/x")
    assert nobody.returncode == 1
    assert "PostgreSQL" in nobody.stderr
    for done in (missing, away, nobody):
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
        assert "hidden" not in done.stderr
