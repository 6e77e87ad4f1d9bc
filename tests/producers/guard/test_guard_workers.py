"""Sixty-four concurrent workers against one budget: never a picodollar too much, and all of it used.

The topic is a list in another Redis, whose positions are the offsets; a stand-in for the stream app writes the month's
total from it, late. What was spent is the sum of that list.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.fix_redis import OwnRedis, RedisServer
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import now_us

from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.sinks.migrations import migrate
from costledger.sinks.queries import query
from costledger.sinks.totals import as_arrays

PROCESSES, THREADS = 8, 8
PROGRAM = Path(__file__).with_name("guard_workers.py")
USER = "ann"


class Simulation:
    """The topic, the stream's totals and, if there is a database, the ledger's: each with a delay of its own."""

    def __init__(self, log_url: str, guard_url: str, database_url: str | None, rng: random.Random) -> None:
        # Not from the seed: tests of one run share the seed, and the Redis.
        self.log_url, self.log_key = log_url, f"topic-{uuid.uuid4()}"
        self.database_url = database_url
        self.guarded = redis.Redis.from_url(guard_url, decode_responses=True)
        self._log = redis.Redis.from_url(log_url, decode_responses=True)
        self._rng = rng
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._stream, daemon=True)]
        if database_url is not None:
            self._threads.append(threading.Thread(target=self._ledger, daemon=True))
        for thread in self._threads:
            thread.start()

    def spent(self) -> int:
        """The sum of all events on the topic."""
        return sum(map(int, self._log.lrange(self.log_key, 0, -1)))

    def close(self) -> None:
        """End the threads."""
        self._ending.set()
        for thread in self._threads:
            thread.join(10)
        self.guarded.close()
        self._log.close()

    def _stream(self) -> None:
        total, offset = 0, -1
        while not self._ending.wait(self._rng.random() * 0.4):
            amounts = self._log.lrange(self.log_key, offset + 1, -1)
            total, offset = total + sum(map(int, amounts)), offset + len(amounts)
            key = totals_key(USER, PeriodKind.MONTH, period_at(PeriodKind.MONTH, now_us()).label)
            # Written again when it is found lost, as the stream app does: about a second later.
            # While Redis is away nothing is written; later everything is, absolute.
            with suppress(redis.ConnectionError):
                if amounts or (not self.guarded.exists(key) and self._rng.random() < 0.3):
                    self.guarded.hset(key, mapping={"total": str(total), "offset": str(offset)})

    def _ledger(self) -> None:
        offset = -1
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            while not self._ending.wait(self._rng.random() * 0.6):
                amounts = self._log.lrange(self.log_key, offset + 1, -1)
                offset += len(amounts)
                if amounts:
                    hour = int(datetime.now(UTC).timestamp()) // 3600
                    sums = {
                        (USER, hour, "s", "o"): [len(amounts), 0, 10**9, sum(map(int, amounts)), max(map(int, amounts))]
                    }
                    connection.execute(query("upsert_hourly"), as_arrays(sums))


@contextmanager
def workers(simulation: Simulation, options: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The program with its children; all are gone at the end."""
    given = {"log_url": simulation.log_url, "log_key": simulation.log_key, "database_url": simulation.database_url}
    command = [sys.executable, str(PROGRAM), json.dumps({**options, **given})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = json.loads(process.stdout.readline())["children"]
        try:
            yield process, children
        finally:
            if process.poll() is None:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)


def options_of(rng: random.Random, url: str, **other: Any) -> dict[str, Any]:
    """A budget of about 1000 USD, to the picodollar; jobs of a 4000th to a 150th of it."""
    budget = rng.randint(9 * 10**14, 11 * 10**14) | 1
    return {
        "redis_url": url,
        "seed": rng.randrange(10**6),
        "budget": budget,
        "least": budget // 4000,
        "most": budget // 150,
        "processes": PROCESSES,
        "threads": THREADS,
        "recovery_seconds": 1,
        "reservation_seconds": 8,
        "settled_hold_seconds": 600,
        **other,
    }


def results_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the children have printed; fails when one has said anything else."""
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return [json.loads(line) for line in out.splitlines()]


def assert_kept(simulation: Simulation, options: dict[str, Any], results: list[dict[str, Any]], threads: int) -> None:
    """Never more than the budget, and less than the smallest job left of it."""
    spent, budget = simulation.spent(), options["budget"]
    assert spent <= budget, f"overspent by {spent - budget}"
    assert spent + options["least"] > budget, f"only {spent / budget:.4f} used: {results}"
    assert sum(each["exhausted"] for each in results) == threads
    assert sum(each["jobs"] for each in results) > 200


@pytest.fixture
def simulate(redis_server: RedisServer, seed: int) -> Iterator[Any]:
    """Begin a simulation on a Redis for the guard."""
    begun: list[Simulation] = []

    def go(guard_url: str, rng: random.Random, database_url: str | None = None) -> Simulation:
        log_url = urlsplit(redis_server.url)._replace(path="/0").geturl()
        begun.append(Simulation(log_url, guard_url, database_url, rng))
        return begun[-1]

    yield go
    for each in begun:
        each.close()


@pytest.mark.parametrize("run", range(3))
def test_sixty_four_workers_never_overspend(redis_url: str, simulate: Any, seed: int, run: int) -> None:
    """Eight processes of eight threads, totals that come late: exact to the last 1e-12 USD, and nothing left over."""
    rng = random.Random(seed + run)
    simulation, options = simulate(redis_url, rng), options_of(rng, redis_url)
    with workers(simulation, options) as (process, _):
        results = results_of(process)
    assert_kept(simulation, options, results, PROCESSES * THREADS)


@pytest.mark.fault
def test_killed_workers_break_no_budget(redis_url: str, simulate: Any, seed: int) -> None:
    """Two of the processes die in the middle: what they held is free after its time, and so is what they had settled
    and could not confirm; what they spent counts."""
    rng = random.Random(seed)
    simulation = simulate(redis_url, rng)
    options = options_of(rng, redis_url, reservation_seconds=4, settled_hold_seconds=4)
    with workers(simulation, options) as (process, children):
        wait_until(lambda: simulation.spent() > options["budget"] * 0.3, 60, "a third is spent")
        for pid in children[:2]:
            os.kill(pid, signal.SIGKILL)
        results = results_of(process)
    assert len(results) == PROCESSES - 2
    assert_kept(simulation, options, results, (PROCESSES - 2) * THREADS)


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("how", ["flushed", "killed"])
def test_a_redis_lost_in_the_middle_breaks_no_budget(
    own_redis: OwnRedis, postgres: PostgresServer, simulate: Any, seed: int, how: str
) -> None:
    """Emptied, or killed and started again without its data, with jobs at work: rebuilt from the ledger and from what
    the processes hold."""
    rng = random.Random(seed)
    database_url = postgres.create_database()
    migrate(database_url)
    simulation = simulate(own_redis.url, rng, database_url)
    options = options_of(rng, own_redis.url, recovery_seconds=5)
    with workers(simulation, options) as (process, _):
        for share in (0.25, 0.6):
            wait_until(lambda share=share: simulation.spent() > options["budget"] * share, 60, f"{share} is spent")
            if how == "flushed":
                simulation.guarded.flushall()
            else:
                own_redis.kill()
                for path in own_redis.service.data_dir.rglob("appendonly*"):
                    if path.is_file():
                        path.unlink()
                own_redis.start()
        results = results_of(process)
    assert_kept(simulation, options, results, PROCESSES * THREADS)
    assert all(each["codes"].get("guard_recovering") for each in results)
