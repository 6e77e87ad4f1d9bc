"""`latency_redis`, `latency_alert`, `latency_ledger`: from a call of the SDK to what people can see, under steady load.

For each rate everything is started afresh, as it is shipped, beside the broker and the databases on one machine: a
stream worker, a sink, and a process that sends events with the SDK. Some of the events are sampled: those of probe
users, until Redis and the ledger have them, and those that come to a budget, until their alert is on the topic.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from tests.bench.bench_stream import await_total
from tests.bench.kafka import fill
from tests.bench.latencies import Probe, Timeline, figures_of, samples_of
from tests.bench.latency_load import Load, LoadReport
from tests.bench.latency_observers import AlertObserver, LedgerObserver, RedisObserver, Watching, watching
from tests.bench.latency_result import JUDGED_RATE, LatencyRun
from tests.bench.ledgers import Connection, WrongResult, fresh_ledger
from tests.bench.processes import Program, machine_cpu_seconds, running

from costledger.deploy.kafka_topics import check_topics, needed_topics
from costledger.schemas.codec import encode_budget, encode_event
from costledger.schemas.money import to_picodollars
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds

RATES = (1_000, 5_000, 20_000)
WARM_UP_SECONDS = 5.0
#: The broker's code is translated while it works: with less of it, the first run would be of another broker than the last.
REHEARSAL_SECONDS_MAX = 25.0
#: After the load: what is not visible by then counts as longer than any other.
CATCH_UP_SECONDS_MAX = 60.0
_START_SECONDS_MAX = 60.0
#: A generator that cannot keep its rate may take so many times as long.
_LOAD_FACTOR_MAX = 3.0
_POLL_SECONDS = 0.05
_PROGRAM = str(Path(__file__).with_name("programs") / "latency_load.py")
Workers = Mapping[str, Program]


@dataclass(frozen=True)
class _Observers:
    redis: RedisObserver
    ledger: LedgerObserver
    alert: AlertObserver

    def all(self) -> tuple[RedisObserver, LedgerObserver, AlertObserver]:
        return self.redis, self.ledger, self.alert

    def ready(self, pilots: int) -> bool:
        """Whether the pilots are visible: one of each probe user."""
        in_redis = all(timeline.level >= 1 for timeline in self.redis.timelines.values())
        return in_redis and self.ledger.consumed >= pilots

    def caught_up(self, in_redis: list[Probe], alerts: list[Probe], events: int) -> bool:
        """Whether all samples are visible, and the ledger has all events."""
        seen = _reached(in_redis, self.redis.timelines) and _reached(alerts, self.alert.timelines)
        return seen and self.ledger.consumed >= events


class LatencyBench:
    """Runs the system under load; services are named by the settings that lead to them."""

    def __init__(
        self,
        services: Mapping[str, str],
        folder: Path,
        say: Callable[[str], None],
        *,
        catch_up_seconds_max: float = CATCH_UP_SECONDS_MAX,
    ) -> None:
        self._services = services
        self._folder = folder
        self._say = say
        self._catch_up_seconds_max = catch_up_seconds_max

    def measure(self, rates: Sequence[int], seconds: float) -> list[LatencyRun]:
        """A run at each rate, after one that is not counted: a broker that has just been started is slow at first."""
        rehearsal = Load(min(JUDGED_RATE, max(rates)), min(REHEARSAL_SECONDS_MAX, seconds), 0.0)
        self._say(f"latency: rehearsing at {rehearsal.rate:,} events/s for {rehearsal.seconds:g} s")
        self.run(rehearsal)
        return [self._measure(rate, seconds) for rate in rates]

    def _measure(self, rate: int, seconds: float) -> LatencyRun:
        """One run, and what it came to in a few words."""
        self._say(f"latency at {rate:,} events/s for {seconds:g} s after {WARM_UP_SECONDS:g} s of warming up")
        run = self.run(Load(rate, seconds, WARM_UP_SECONDS))
        for name, figures in run.figures.items():
            self._say(f"  {name}: p50 {figures.p50_ms} ms, p99 {figures.p99_ms} ms, {figures.verdict()}")
        return run

    def run(self, load: Load, on_ready: Callable[[Workers], None] = lambda _: None) -> LatencyRun:
        """Start everything, send the load, wait (for so long at most) until all is visible, compare, stop.

        `on_ready` is called with the workers just before the load. `WrongResult` where everything is visible and the
        ledger or Redis do not have what was sent; `ProgramFailed` where a process ends by itself.
        """
        name = f"latency-{load.rate}-{uuid.uuid4().hex[:8]}"
        settings = Settings(
            bootstrap_servers=self._services["COSTLEDGER_BOOTSTRAP_SERVERS"],
            topic_prefix=f"{name}.",
            stream_app_id=name,
        )
        check_topics(settings, needed_topics(settings), create=True)
        budgets = ((one.user_id.encode(), encode_budget(one)) for one in load.budgets())
        fill(settings.bootstrap_servers, settings.topics.budgets, budgets)
        today = datetime.now(UTC).date()
        with (
            redis.Redis.from_url(self._services["COSTLEDGER_REDIS_URL"], decode_responses=True) as totals,
            fresh_ledger(self._services["COSTLEDGER_DATABASE_URL"], today, today + timedelta(days=1)) as ledger,
        ):
            totals.flushdb()
            url, connection = ledger
            variables = {
                **self._services,
                "COSTLEDGER_DATABASE_URL": url,
                "COSTLEDGER_TOPIC_PREFIX": settings.topic_prefix,
                "COSTLEDGER_STREAM_APP_ID": name,
                "COSTLEDGER_SINK_GROUP": f"{name}-sink",
                "COSTLEDGER_STREAM_METRICS_PORT": "0",
                "COSTLEDGER_SINK_METRICS_PORT": "0",
            }
            observers = self._observers(load, settings, url)
            with self._workers(variables) as workers, watching(observers.all()) as looking:
                self._await_ready(load, settings, observers, lambda: _check(workers, looking))
                on_ready(workers)
                used_before = _cpu_seconds(workers)
                report, seconds = self._send(load, name, variables, lambda: _check(workers, looking))
                used = {whose: cpu - used_before[whose] for whose, cpu in _cpu_seconds(workers).items()}
                events = len(load.probe_users) + report.acked
                if self._catch_up(observers, report, events, lambda: _check(workers, looking)):
                    _compare(connection, totals, events)
                    for worker in workers.values():
                        worker.stop()
            used["generator"] = report.cpu_seconds
            cores = {whose: round(cpu / seconds, 2) for whose, cpu in used.items()}
            return _run_of(load, report, observers, connection, cores)

    def _observers(self, load: Load, settings: Settings, url: str) -> _Observers:
        now, partitions = datetime.now(UTC), settings.partitions
        # A load over the end of a month is in two of them.
        instants = (now, now + timedelta(hours=1))
        months = sorted({period_at(PeriodKind.MONTH, to_microseconds(each)).label for each in instants})
        return _Observers(
            RedisObserver(self._services["COSTLEDGER_REDIS_URL"], load.probe_users, months),
            LedgerObserver(url, settings.topics.events, partitions),
            AlertObserver(settings.bootstrap_servers, settings.topics.alerts, partitions, load.alert_users),
        )

    @contextmanager
    def _workers(self, variables: Mapping[str, str]) -> Iterator[Workers]:
        supervised = ["--supervisor", str(os.getpid())]
        with (
            running("latency-stream", ["-m", "costledger", "stream", *supervised], self._folder, variables) as stream,
            running("latency-sink", ["-m", "costledger", "sink", *supervised], self._folder, variables) as sink,
        ):
            yield {"stream": stream, "sink": sink}

    def _await_ready(self, load: Load, settings: Settings, observers: _Observers, check: Callable[[], None]) -> None:
        records = list(load.pilots(time.time_ns() // 1000))
        pilots = ((one["user_id"].encode(), encode_event(one)) for one in records)
        fill(settings.bootstrap_servers, settings.topics.events, pilots)
        if not _await(lambda: observers.ready(len(records)), _START_SECONDS_MAX, check):
            raise TimeoutError(f"the first events were not visible within {_START_SECONDS_MAX:g} s of the start")

    def _send(
        self, load: Load, name: str, variables: Mapping[str, str], check: Callable[[], None]
    ) -> tuple[LoadReport, float]:
        """Send the load; the report, and how long the program ran (s)."""
        report = self._folder / f"{name}.json"
        arguments = [_PROGRAM, load.arguments(), str(report)]
        limit_seconds = _LOAD_FACTOR_MAX * load.total_seconds + _START_SECONDS_MAX
        begun = time.monotonic()
        with running("latency-load", arguments, self._folder, variables) as generator:
            if not _await(generator.ended, limit_seconds, check):
                raise TimeoutError(f"the generator did not send its load within {limit_seconds:g} s")
            generator.finish()
        return LoadReport.parse(report.read_text()), time.monotonic() - begun

    def _catch_up(self, observers: _Observers, report: LoadReport, events: int, check: Callable[[], None]) -> bool:
        in_redis, alerts = report.redis_probes(), report.alert_probes()
        done = _await(lambda: observers.caught_up(in_redis, alerts, events), self._catch_up_seconds_max, check)
        if not done:
            self._say(f"  not everything was visible within {self._catch_up_seconds_max:g} s of the end of the load")
        return done


def _run_of(
    load: Load, report: LoadReport, observers: _Observers, connection: Connection, cores: dict[str, float]
) -> LatencyRun:
    probes: dict[str, tuple[list[Probe], Mapping[str, Timeline]]] = {
        "latency_redis": (report.redis_probes(), observers.redis.timelines),
        "latency_alert": (report.alert_probes(), observers.alert.timelines),
        "latency_ledger": (report.ledger_probes(_places(connection, report)), observers.ledger.timelines),
    }
    figures = {
        name: figures_of(load.rate, samples_of(sent, timelines), report.counted_from_ns(load))
        for name, (sent, timelines) in probes.items()
    }
    return LatencyRun(load.rate, report.rate_reached, report.late_ms_max, report.dropped, cores, figures)


def _cpu_seconds(workers: Workers) -> dict[str, float]:
    return {"machine": machine_cpu_seconds(), **{name: program.cpu_seconds() for name, program in workers.items()}}


def _places(connection: Connection, report: LoadReport) -> dict[str, tuple[int, int]]:
    """Event id -> partition and offset of the samples that have a row in the ledger."""
    query = "SELECT event_id, kafka_partition, kafka_offset FROM ledger.entries WHERE event_id = ANY(%s::uuid[])"
    rows = connection.execute(query, ([sent.event_id for sent in report.probes],)).fetchall()
    return {str(event_id): (partition, offset) for event_id, partition, offset in rows}


def _compare(connection: Connection, totals: redis.Redis, events: int) -> None:
    """`WrongResult` unless the ledger has so many entries and Redis their sum."""
    ((entries, amount),) = connection.execute("SELECT count(*), sum(amount) FROM ledger.entries").fetchall()
    if entries != events:
        raise WrongResult(f"the ledger has {entries} entries; {events} events were acknowledged")
    await_total(totals, to_picodollars(amount))


def _reached(probes: list[Probe], timelines: Mapping[str, Timeline]) -> bool:
    return all(timelines[probe.series].level >= probe.level for probe in probes)


def _check(workers: Workers, looking: Watching) -> None:
    """Whoever has ended by itself, worker or observer, is an error."""
    for worker in workers.values():
        worker.check()
    looking.check()


def _await(done: Callable[[], bool], seconds_max: float, check: Callable[[], None]) -> bool:
    """Whether it was done in time; `check` raises what makes waiting senseless."""
    deadline = time.monotonic() + seconds_max
    while not done():
        check()
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
