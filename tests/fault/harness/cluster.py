"""One installation of costledger on the services of the harness: topics, a database, workers, loads, and the check.

with load, do harm, heal, check:

    load = cluster.load(events=5_000, rate=1_000)
    cluster.worker("sink").kill()
    cluster.start("sink")
    load.finish()
    cluster.check()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

import psycopg
import redis
from tests.fault.harness.examination import examine
from tests.fault.harness.fail_points import without_fail_point
from tests.fault.harness.findings import Findings
from tests.fault.harness.load import Generator, Load
from tests.fault.harness.oracle import Record
from tests.fault.harness.services import Services
from tests.fault.harness.topics import TopicReader, committed
from tests.fault.harness.watch import Watch
from tests.fault.harness.workers import Worker
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.settings import Settings, load_settings
from costledger.sinks.budgets import save_budget
from costledger.sinks.database import Connection

#: I8: the time that all consumers have after healing.
HEALED_SECONDS_MAX: Final = 60.0
#: I5: Redis follows within this time when all is quiet.
REDIS_SECONDS_MAX: Final = 10.0
#: I8: no worker may hold more, whatever happens to it.
RSS_BYTES_MAX: Final = 600 * 2**20
RUN_SECONDS_MAX: Final = 240.0


class Cluster:
    """Everything that one scenario needs. Close it in the end."""

    def __init__(self, services: Services, folder: Path, seed: int, *, partitions: int = 4) -> None:
        self.services = services
        self.folder = folder
        self.seed = seed
        self.partitions = partitions
        self.prefix = f"fault-{uuid.uuid4().hex[:8]}."
        self.database_url = services.postgres.create_database(self.prefix.rstrip(".").replace("-", "_"))
        self.workers: dict[str, Worker] = {}
        self.generators: list[Generator] = []
        #: What was attempted by processes that are no generators.
        self.other_records: list[Record] = []
        #: Of every process of the product, as they are.
        self.variables: dict[str, str] = {}
        self._settings: dict[str, str] = {}
        self._started: dict[str, dict[str, str]] = {}
        self.revived = 0
        #: Of these, how many had ended by themselves.
        self.crashed = 0
        self.redis = redis.Redis.from_url(services.redis.url, decode_responses=True)
        self.redis.flushall()
        self.run("migrate")
        self.run("topics")
        # As the superuser, who may see and do what no role of the product may.
        self._connection: Connection = psycopg.connect(self.database_url, autocommit=True)
        self.reader = TopicReader(services.kafka.bootstrap_servers)
        self.watch = Watch(self)
        #: What `check` has found, for the report of the whole run.
        self.checked: list[Findings] = []

    # --- settings and commands

    def environment(self, client: str | None) -> dict[str, str]:
        """The settings of one client, which reaches every service through links of its own; None: directly."""
        services = self.services
        database_url, redis_url = self.database_url, services.redis.url
        bootstrap_servers = services.kafka.bootstrap_servers
        if client is not None:
            bootstrap_servers = services.bootstrap_servers(client)
            database_url = services.through(client, "postgres", database_url)
            redis_url = services.through(client, "redis", redis_url)
        return {
            "COSTLEDGER_BOOTSTRAP_SERVERS": bootstrap_servers,
            "COSTLEDGER_DATABASE_URL": database_url,
            "COSTLEDGER_REDIS_URL": redis_url,
            "COSTLEDGER_TOPIC_PREFIX": self.prefix,
            "COSTLEDGER_STREAM_APP_ID": f"{self.prefix}stream",
            "COSTLEDGER_SINK_GROUP": f"{self.prefix}sink",
            "COSTLEDGER_NOTIFIER_GROUP": f"{self.prefix}notifier",
            "COSTLEDGER_PARTITIONS": str(self.partitions),
            "COSTLEDGER_STREAM_SESSION_TIMEOUT_SECONDS": "6",
            "COSTLEDGER_SINK_SESSION_TIMEOUT_SECONDS": "6",
            "COSTLEDGER_DATABASE_TIMEOUT_SECONDS": "10",
            # Any that is free.
            "COSTLEDGER_STREAM_METRICS_PORT": "0",
            "COSTLEDGER_SINK_METRICS_PORT": "0",
            "COSTLEDGER_NOTIFIER_METRICS_PORT": "0",
            "COSTLEDGER_SCHEDULER_METRICS_PORT": "0",
            **self.variables,
            **self._settings,
        }

    def configure(self, **settings: str) -> None:
        """Settings for everything that is started from now on: `sink_batch_rows_max="500"`."""
        self._settings |= {f"COSTLEDGER_{name.upper()}": value for name, value in settings.items()}

    def settings(self) -> Settings:
        """The settings of somebody who reaches the services directly."""
        # What is JSON in the environment is an object as an argument.
        return load_settings(
            **{
                name.removeprefix("COSTLEDGER_").lower(): json.loads(value) if value.startswith("{") else value
                for name, value in self.environment(None).items()
                if name not in self.variables
            }
        )

    def run(
        self, *arguments: str, check: bool = True, timeout_seconds: float = RUN_SECONDS_MAX
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of costledger to its end."""
        program = str(Path(sys.executable).parent / "costledger")
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, **self.environment(None)},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    # --- workers and loads

    def start(self, *names: str, **settings: str) -> Worker:
        """Start workers by the names of their links (`sink`, `sink-2`); returns the last. One that has ended is replaced.

        From then on the watch looks, until the next check.
        """
        worker: Worker | None = None
        for name in names:
            former = self.workers.get(name)
            assert former is None or not former.alive(), f"{name} is running already"
            own = {f"COSTLEDGER_{setting.upper()}": value for setting, value in settings.items()}
            command = name.rstrip("0123456789").rstrip("-")
            environment = {**self.environment(name), **own}
            self._started[name] = settings
            worker = self.workers[name] = Worker(command, name, environment, self.folder / f"{name}.log")
        assert worker is not None
        self.watch.start()
        return worker

    def start_all(self) -> None:
        """One stream worker, one sink, one notifier, with low limits."""
        self.set_low_limits()
        self.start("stream", "sink", "notifier")

    def set_low_limits(self) -> None:
        """Whoever has no budget reaches the default one, and the hourly limit, in a load of seconds: alerts to be lost."""
        tiers = json.dumps({"default": "0.01"})
        self.configure(budget_by_tier=tiers, hourly_spike_limit_usd="0.005", hourly_elevated_usd="0.002")

    def alert_kinds(self) -> set[str]:
        """The kinds of alerts that the database has."""
        return {str(kind) for (kind,) in self.connection.execute("SELECT DISTINCT kind FROM ledger.alerts")}

    def revive(self) -> None:
        """Start those again that were killed or have ended by themselves, as a supervisor does; not those told to.

        Who has died at a fail point comes back without it.
        """
        for name, worker in list(self.workers.items()):
            if worker.is_gone():
                self.revived += 1
                self.crashed += worker.crashed()
                self.start(name, **without_fail_point(self._started[name]))

    def worker(self, name: str) -> Worker:
        """A worker by its name."""
        return self.workers[name]

    def load(self, name: str = "load", **options: Any) -> Generator:
        """Begin to produce; see `Load` for the options. One name, one generator, one spool (elsewhere: `spool_dir`)."""
        spool_dir = options.pop("spool_dir", self.folder / f"{name}-spool")
        seed = options.pop("seed", self.seed + len(self.generators))
        load = Load(name=name, seed=seed, **options)
        generator = Generator(load, self.folder, self.environment("producer"), spool_dir)
        self.generators.append(generator)
        return generator

    def sweep_up(self, name: str = "load") -> None:
        """Have a new process of the service send what a killed one left in its spool, until nothing is left."""
        environment = self.environment("producer")
        load = Load(name=f"{name}-after", seed=self.seed, rate=0.0)
        after = Generator(load, self.folder, environment, self.folder / f"{name}-spool")
        self.generators.append(after)
        wait_until(lambda: not after.spool_files(), HEALED_SECONDS_MAX, f"the spool of {name} is sent")
        after.stop()

    def set_budgets(self, *budgets: Budget) -> None:
        """Set budgets and wait until Kafka has them. Needs a notifier, and no stream worker that reads events yet."""
        for budget in budgets:
            save_budget(self.connection, budget)
        wait_until(lambda: self.value("SELECT count(*) FROM ledger.budget_outbox") == 0, 60, "Kafka has the budgets")

    # --- facts

    @property
    def connection(self) -> Connection:
        """A connection past all proxies, made again where PostgreSQL was restarted meanwhile."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError:
            self._connection.close()
            self._connection = psycopg.connect(self.database_url, autocommit=True)
        return self._connection

    def value(self, query: str, *values: Any) -> Any:
        """The only value of a query."""
        row = self.connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def consumed(self) -> int:
        """Offsets that the ledger accounts for."""
        return int(self.value("SELECT coalesce(sum(consumed), 0) FROM ledger.sink_offsets"))

    def streamed(self) -> int:
        """Offsets that the stream has committed."""
        settings = self.settings()
        servers = self.services.kafka.bootstrap_servers
        return sum(committed(servers, settings.stream_app_id, settings.topics.events, self.partitions).values())

    def lag(self) -> dict[str, int]:
        """By consumer how many messages it has still to read: sink (by the ledger), stream and notifier (by Kafka)."""
        settings = self.settings()
        ends = self.reader.ends(settings.topics.events)
        query = "SELECT partition, next_offset FROM ledger.sink_offsets WHERE topic = %s"
        positions = dict(self.connection.execute(query, (settings.topics.events,)).fetchall())
        servers = self.services.kafka.bootstrap_servers
        streamed = committed(servers, settings.stream_app_id, settings.topics.events, self.partitions)
        alerts = self.reader.ends(settings.topics.alerts)
        told = committed(servers, settings.notifier_group, settings.topics.alerts, len(alerts))
        return {
            "sink": _distance(ends, positions),
            "stream": _distance(ends, streamed),
            "notifier": _distance(alerts, told),
        }

    def await_quiet(self, timeout_seconds: float = HEALED_SECONDS_MAX) -> float:
        """Wait until every consumer is at the end, twice in a row; the seconds that it took. Ended workers are revived."""
        began = time.monotonic()
        seen = [0]

        def quiet() -> bool:
            self.revive()
            seen[0] = seen[0] + 1 if not any(self.lag().values()) else 0
            return seen[0] >= 2

        try:
            wait_until(quiet, timeout_seconds, "every consumer is at the end of its topic")
        except AssertionError as error:
            raise AssertionError(f"I8 does not hold: {error}; lag {self.lag()}; {self.describe_workers()}") from error
        return time.monotonic() - began

    def describe_workers(self) -> str:
        """Which workers are there, and where their logs are."""
        states = {name: worker.process.poll() for name, worker in self.workers.items()}
        return f"workers {states} (None: alive), logs in {self.folder}, seed {self.seed}"

    # --- the check

    def examine(
        self, *, replay_alerts: bool = True, redis_seconds: float = REDIS_SECONDS_MAX, chain: bool = True
    ) -> Findings:
        """All invariants, after the load has ended and every consumer is at the end.

        What Redis shows may follow within `redis_seconds`. Without `chain` all but I9.
        """
        findings = examine(self, replay_alerts=replay_alerts, redis_seconds=redis_seconds, chain=chain)
        self.watch.report(findings, RSS_BYTES_MAX)
        return findings

    def check(self, **options: Any) -> Findings:
        """Wait for quiet, then AssertionError where an invariant does not hold; what was found, with figures.

        Also where a worker has ended by itself since the beginning.
        """
        try:
            healed_seconds = self.await_quiet()
        except AssertionError as error:
            behind = Findings()
            behind.found("I8", str(error))
            self.checked.append(behind)
            raise
        if self.consumed():
            self.watch.await_snapshot()
        findings = self.examine(**options)
        findings.figures["healed_seconds"] = round(healed_seconds, 1)
        findings.figures["revived"] = self.revived
        findings.figures["crashed"] = self.crashed
        self.checked.append(findings)
        assert not findings.broken, f"{findings.describe()}\n{self.describe_workers()}"
        assert self.crashed == 0, f"{self.crashed} workers ended by themselves; {self.describe_workers()}"
        return findings

    def close(self) -> None:
        """End all processes and connections. The database stays for whoever looks at a failure; its server is the harness's."""
        self.watch.stop()
        for worker in self.workers.values():
            worker.end()
        for generator in self.generators:
            generator.end()
        self.reader.close()
        self._connection.close()
        self.redis.close()


def _distance(ends: dict[int, int], positions: dict[int, int]) -> int:
    """How far all partitions are from their ends; one that is beyond its end makes up for nothing."""
    return sum(abs(end - positions.get(partition, 0)) for partition, end in ends.items())
