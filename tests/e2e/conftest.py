"""A whole system from its processes: topics, a database, a Redis and the workers, each started by the CLI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

PARTITIONS = 4


class System:
    """One installation of costledger: run commands, start and end workers, ask the database and Redis."""

    def __init__(self, kafka, database_url: str, redis_url: str, folder: Path, wait_until: Callable) -> None:
        self.database_url = database_url
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.wait_until = wait_until
        self.topic_prefix = kafka.unique("e2e") + "."
        self.environment = {
            "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "COSTLEDGER_DATABASE_URL": database_url,
            "COSTLEDGER_REDIS_URL": redis_url,
            "COSTLEDGER_TOPIC_PREFIX": self.topic_prefix,
            "COSTLEDGER_STREAM_APP_ID": f"{self.topic_prefix}stream",
            "COSTLEDGER_SINK_GROUP": f"{self.topic_prefix}sink",
            "COSTLEDGER_NOTIFIER_GROUP": f"{self.topic_prefix}notifier",
            "COSTLEDGER_PARTITIONS": str(PARTITIONS),
            "COSTLEDGER_STREAM_SESSION_TIMEOUT_SECONDS": "6",
            "COSTLEDGER_STREAM_METRICS_PORT": "0",
            "COSTLEDGER_SINK_METRICS_PORT": "0",
            "COSTLEDGER_NOTIFIER_METRICS_PORT": "0",
        }
        self._folder = folder
        self._workers: list[subprocess.Popen[bytes]] = []
        self.run("migrate")
        self.run("topics")

    def command(self, *arguments: str) -> list[str]:
        """The command line of a costledger command."""
        return [str(Path(sys.executable).parent / "costledger"), *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*arguments),
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run_json(self, *arguments: str, check: bool = True) -> Any:
        """Run a command with --json; its document."""
        return json.loads(self.run(*arguments, "--json", check=check).stdout)

    def start(self, worker: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker: stream, sink or notifier; with more variables where given."""
        with (self._folder / f"{worker}-{len(self._workers)}.log").open("wb") as out:
            process = subprocess.Popen(
                self.command(worker),
                env={**os.environ, **self.environment, **(variables or {})},
                stdout=out,
                stderr=out,
            )
        self._workers.append(process)
        return process

    def start_all(self) -> list[subprocess.Popen[bytes]]:
        """One of each worker."""
        return [self.start(worker) for worker in ("stream", "sink", "notifier")]

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM; the worker must drain and exit 0."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL."""
        process.kill()
        process.wait(10)

    def sql(self, query: str, *values: Any, user: str | None = None) -> list[tuple]:
        """Rows of a query, as the owner or as another role."""
        with psycopg.connect(self.database_url) as connection:
            if user is not None:
                role = psycopg.sql.Identifier(user)
                connection.execute(psycopg.sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
            return connection.execute(query, values).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        """The only value of a query."""
        ((value,),) = self.sql(query, *values)
        return value

    def await_entries(self, count: int, timeout_seconds: float = 60) -> None:
        """Wait until the ledger has so many entries."""
        self.wait_until(
            lambda: self.value("SELECT count(*) FROM ledger.entries") == count,
            timeout_seconds,
            f"{count} ledger entries",
        )

    def await_reconciled(self, timeout_seconds: float = 60) -> dict[str, Any]:
        """Wait until the sink has caught up and reconcile finds no difference; its report."""
        reports = []

        def reconciled() -> bool:
            done = self.run("reconcile", "--wait", "30", "--json", check=False)
            reports[:] = [done]
            return done.returncode == 0

        try:
            self.wait_until(reconciled, timeout_seconds, "reconcile without differences")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{reports[0].stdout}\n{reports[0].stderr}") from None
        return json.loads(reports[0].stdout)

    def redis_totals(self) -> dict[tuple[str, str, str], int]:
        """Every total in Redis by user, kind of period and label."""
        found = {}
        for key in self.redis.scan_iter("costledger:{*}:total:*", count=1000):
            user = key[key.index("{") + 1 : key.index("}")]
            kind, label = key.split(":total:")[1].split(":", 1)
            total = self.redis.hget(key, "total")
            if total is not None:
                found[user, kind, label] = int(total)
        return found

    def close(self) -> None:
        """End what still runs."""
        for process in self._workers:
            if process.poll() is None:
                self.kill(process)
        self.redis.close()


@pytest.fixture
def system(kafka, postgres, redis_url, tmp_path, wait_until) -> Iterator[System]:
    """A migrated system with its topics and no workers yet."""
    made = System(kafka, postgres.create_database(), redis_url, tmp_path, wait_until)
    yield made
    made.close()
