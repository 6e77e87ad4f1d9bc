"""Schedulers as processes, a mail server, and settings of one test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.sinks.conftest import Ledger
from tests.sinks.jobs.mail_server import Mailbox, mail_server

from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames

StartScheduler = Callable[..., "subprocess.Popen[bytes]"]
PROGRAM = str(Path(__file__).with_name("scheduler_process.py"))


@pytest.fixture
def ledger(api_database: str) -> Iterator[Ledger]:
    """A fresh migrated database, in a tenth of the time that migrating takes."""
    found = Ledger(api_database)
    yield found
    found.connection.close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    with mail_server() as found:
        yield found


@pytest.fixture
def variables(
    kafka: KafkaServer, names: TopicNames, ledger: Ledger, redis_url: str, mailbox: Mailbox
) -> dict[str, str]:
    """The settings as variables, with one reader of the reports."""
    return {
        "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "COSTLEDGER_TOPIC_PREFIX": names.events.removesuffix("cost.events"),
        "COSTLEDGER_DATABASE_URL": ledger.url,
        "COSTLEDGER_REDIS_URL": redis_url,
        "COSTLEDGER_REPORT_RECIPIENTS": json.dumps([mailbox.url()]),
        "COSTLEDGER_DELIVERY_RETRY_SECONDS_MIN": "0.1",
        "COSTLEDGER_DATABASE_TIMEOUT_SECONDS": "10",
    }


@pytest.fixture
def report_settings(variables: dict[str, str]) -> Settings:
    """The same for this process."""
    values: dict[str, Any] = {name.removeprefix("COSTLEDGER_").lower(): value for name, value in variables.items()}
    return Settings(**values)


@pytest.fixture
def start_scheduler(tmp_path: Path, variables: dict[str, str]) -> Iterator[StartScheduler]:
    """Start schedulers whose clock begins at a time (see `scheduler_process.py`); killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(now_us: int, kill_at: str = "", **changed: str) -> subprocess.Popen[bytes]:
        path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        test = {"COSTLEDGER_TEST_NOW": str(now_us), "COSTLEDGER_TEST_KILL_AT": kill_at}
        with (tmp_path / f"scheduler-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, PROGRAM],
                env={**path, **variables, **changed, **test},
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
