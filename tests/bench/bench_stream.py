"""`stream`: the stream worker over a full topic, against raw loops, Faust as documented and other frameworks.

`stream_month` and `stream_many`: the same with users who have been there for long, and with many more users.

Rates are of committed offsets, asked of the broker from outside, in the same way for all. Ours runs as it is
shipped, but flushes as often as the others commit: totals by hour, day and month, budgets, spikes, alerts, changelog, Redis. After each run the sum of all
totals is compared to the workload's, and there must be new alerts: a wrong result has no rate.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import redis
from tests.bench.kafka import PARTITIONS, create_topic, fill, records_in
from tests.bench.ledgers import WrongResult
from tests.bench.processes import Program, ThreadCpu, cpu_between, running
from tests.bench.rates import Contender, medians_of
from tests.bench.stage import FullTopic, StreamStage
from tests.bench.workload import History, Workload, user_id

from costledger.deploy.kafka_topics import check_topics, needed_topics
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import current_schema, encode_budget, encode_event, without_logical_types
from costledger.schemas.settings import Settings

#: The benchmark with all peers.
NAME = "stream"
#: Faust as documented is some forty times slower: it gets this part of the events.
FAUST_SHARE = 20
#: Every so-manyth user has a budget of their own; the others have the default. With a history all have one.
BUDGET_EVERY = 10
_REDIS_SECONDS_MAX = 30.0
#: Periods of a history that come to Redis a second: each of its events has an hour of its own, and users are shown by turns.
_HISTORY_SHOWN_RATE_MIN = 4_000.0
_POLL_SECONDS = 0.05
_PROGRAMS = Path(__file__).with_name("programs")


class StreamBench:
    """The topics of the benchmark `name`, filled once, and its contenders."""

    def __init__(
        self,
        services: Mapping[str, str],
        folder: Path,
        workload: Workload,
        commit_interval_seconds: float,
        name: str = NAME,
        history: History | None = None,
    ) -> None:
        self._name = name
        self._services = services
        self._folder = folder
        self._workload = workload
        self._history = history
        self._amount = workload.amount + (history.amount if history else 0)
        self._commit_seconds = str(commit_interval_seconds)
        self._bootstrap = services["COSTLEDGER_BOOTSTRAP_SERVERS"]
        self._redis_url = services["COSTLEDGER_REDIS_URL"]
        self._stage = StreamStage(
            self._bootstrap,
            self._settings("any").topics.events,
            workload.events + (history.events if history else 0),
            self._amount,
            commit_interval_seconds,
            folder,
            folder / "cost_event.avsc",
            history_events=history.events if history else 0,
        )
        #: What our worker held at the end of each run, bytes.
        self.held_bytes: list[int] = []
        #: CPU seconds of its threads in the span that a run's rate is of.
        self.cpu_by_thread: list[dict[str, float]] = []
        self._faust_topic = FullTopic(self._bootstrap, "bench.faust.events", workload.events // FAUST_SHARE)

    def contenders(self, peers: Mapping[str, Callable[[StreamStage], float]]) -> dict[str, Contender]:
        """Ours first, `peers` last; each returns events per second of one run."""
        raw = {name: partial(self._raw, name) for name in ("raw_aiokafka", "raw_confluent")}
        others = {name: partial(run, self._stage) for name, run in peers.items()}
        return {self._name: self._ours, **raw, "faust_documented": self._faust, **others}

    def beside_a_loop(self) -> dict[str, Contender]:
        """The worker alone, beside a loop that keeps no state."""
        return {self._name: self._ours, "raw_aiokafka": partial(self._raw, "raw_aiokafka")}

    def fields(self) -> dict[str, Any]:
        """What the document has of our runs beside their rate."""
        return {"cpu_by_thread": medians_of(self.cpu_by_thread, 2)}

    def prepare(self) -> str:
        """Make and fill the topics; the name of the one with all events."""
        settings = self._settings("bench-prepare")
        check_topics(settings, needed_topics(settings), create=True)
        self._stage.schema_path.write_text(json.dumps(without_logical_types(current_schema("cost_event"))))
        before = self._history.records() if self._history else ()
        loads = {self._stage.topic: chain(before, self._workload.records())}
        if self._name == NAME:
            create_topic(self._bootstrap, self._faust_topic.topic)
            loads[self._faust_topic.topic] = self._workload.records(self._faust_topic.events)
        for topic, records in loads.items():
            fill(self._bootstrap, topic, ((one["user_id"].encode(), encode_event(one)) for one in records))
        budgets = budgets_of(self._workload, self._history)
        fill(self._bootstrap, settings.topics.budgets, ((one.user_id.encode(), encode_budget(one)) for one in budgets))
        return settings.topics.events

    def _settings(self, app_id: str) -> Settings:
        return Settings(
            bootstrap_servers=self._bootstrap,
            stream_app_id=app_id,
            partitions=PARTITIONS,
            topic_prefix="" if self._name == NAME else f"{self._name}.",
        )

    def _variables(self, app_id: str, topic_prefix: str) -> dict[str, str]:
        return {
            **self._services,
            "COSTLEDGER_STREAM_APP_ID": app_id,
            "COSTLEDGER_TOPIC_PREFIX": topic_prefix,
            "COSTLEDGER_PARTITIONS": str(PARTITIONS),
            "COSTLEDGER_STREAM_METRICS_PORT": "0",
            "COSTLEDGER_STREAM_FLUSH_INTERVAL_SECONDS": self._commit_seconds,
            # As shipped it waits for a second while it is far behind; the others commit as often as they are told.
            "COSTLEDGER_STREAM_FLUSH_INTERVAL_SECONDS_MAX": self._commit_seconds,
        }

    def _ours(self) -> float:
        app_id = self._stage.group("stream")
        settings = self._settings(app_id)
        check_topics(settings, needed_topics(settings), create=True)
        alerts_before = records_in(self._bootstrap, settings.topics.alerts)
        variables = self._variables(app_id, settings.topic_prefix)
        arguments = ["-m", "costledger", "stream", "--supervisor", str(os.getpid())]
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as totals:
            totals.flushdb()
            with running("stream", arguments, self._folder, variables) as worker:
                rate = self._watched_rate(worker, app_id)
                await_total(totals, self._amount)
                self.held_bytes.append(psutil.Process(worker.pid).memory_info().rss)
                worker.stop()
        check_alerts(alerts_before, records_in(self._bootstrap, settings.topics.alerts))
        return rate

    def _watched_rate(self, worker: Program, group: str) -> float:
        """Its rate; what its threads use meanwhile is noted."""
        samples: list[dict[int, ThreadCpu]] = []
        rate = self._stage.rate(worker, group, lambda: samples.append(worker.cpu_by_thread()))
        self.cpu_by_thread.append(cpu_between(samples[0], samples[-1]))
        return rate

    def _raw(self, name: str) -> float:
        group = self._stage.group(name)
        report = self._folder / f"{group}.txt"
        program = str(_PROGRAMS / f"{name}_loop.py")
        arguments = [program, self._bootstrap, self._stage.topic, group, self._commit_seconds, str(report)]
        with running(name, arguments, self._folder, {}) as loop:
            rate = self._stage.rate(loop, group)
            loop.stop()
        self._stage.check(name, int(report.read_text()))
        return rate

    def _faust(self) -> float:
        group = self._faust_topic.group("faust")
        program = str(_PROGRAMS / "faust_documented_app.py")
        where = [self._bootstrap, self._faust_topic.topic, group]
        arguments = [program, *where, self._commit_seconds, str(PARTITIONS), str(self._folder / group)]
        with running("faust_documented", arguments, self._folder, {}) as app:
            return self._faust_topic.rate(app, group)


def budgets_of(workload: Workload, history: History | None) -> Iterator[Budget]:
    """The budgets on the topic. Users with a history have as much for a month as they spent in it: some reach it."""
    if history is not None:
        for user in range(history.users):
            yield Budget(user_id=user_id(user), version=1, monthly_budget=history.spent_by(user))
    else:
        for user in range(0, workload.users, BUDGET_EVERY):
            yield Budget(user_id=user_id(user), version=1, tier="premium")


def check_alerts(before: int, after: int) -> None:
    """`WrongResult` unless the topic of alerts has grown: the mean user spends the default budget."""
    if after <= before:
        raise WrongResult(
            f"there were {before} alerts before the run and {after} after it; some users reach their budgets"
        )


def await_total(totals: redis.Redis, amount: int, history_events: int = 0) -> None:
    """Wait until the months of all users in Redis add up to `amount` (1e-12 USD); `WrongResult` if they do not.

    It takes longer where a history came before.
    """
    deadline = time.monotonic() + _REDIS_SECONDS_MAX + history_events / _HISTORY_SHOWN_RATE_MIN
    while (found := month_total(totals)) != amount:
        if time.monotonic() > deadline:
            raise WrongResult(f"the months in Redis add up to {found}; the events have {amount}")
        time.sleep(_POLL_SECONDS)


def month_total(totals: redis.Redis) -> int:
    """The sum of all users' months in Redis, 1e-12 USD."""
    keys = list(totals.scan_iter("costledger:{*}:total:month:*", count=1_000))
    pipeline = totals.pipeline(transaction=False)
    for key in keys:
        pipeline.hget(key, "total")
    return sum(int(value or 0) for value in pipeline.execute())
