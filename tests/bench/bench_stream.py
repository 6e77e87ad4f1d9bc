"""`stream`: the stream worker over a full topic, against a raw loop and against Faust as documented.

Rates are of committed offsets, asked of the broker from outside, in the same way for all. Ours runs as it is
shipped: totals by hour, day and month, budgets, spikes, alerts, changelog, Redis. After each run the sum of all
totals is compared to the workload's: a wrong result has no rate.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import redis
from tests.bench.kafka import PARTITIONS, committed_by, create_topic, fill
from tests.bench.ledgers import WrongResult
from tests.bench.processes import Program, running
from tests.bench.rates import Contender, committed_rate, watch
from tests.bench.workload import Workload

from costledger.deploy.kafka_topics import check_topics, needed_topics
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import encode_budget, encode_event
from costledger.schemas.settings import Settings

#: Faust as documented is some forty times slower: it gets this part of the events.
FAUST_SHARE = 20
#: Every so-manyth user has a budget of their own; the others have the default.
BUDGET_EVERY = 10
_RUN_SECONDS_MAX = 600.0
_REDIS_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05
_PROGRAMS = Path(__file__).with_name("programs")


class StreamBench:
    """The topics of the benchmark, filled once, and its contenders."""

    def __init__(
        self, services: Mapping[str, str], folder: Path, workload: Workload, commit_interval_seconds: float
    ) -> None:
        self._services = services
        self._folder = folder
        self._workload = workload
        self._commit_seconds = str(commit_interval_seconds)
        self._bootstrap = services["COSTLEDGER_BOOTSTRAP_SERVERS"]
        self._redis_url = services["COSTLEDGER_REDIS_URL"]
        self._faust_topic = "bench.faust.events"
        self._faust_events = workload.events // FAUST_SHARE

    def contenders(self) -> dict[str, Contender]:
        """Ours first; each returns events per second of one run."""
        return {"stream": self._ours, "raw_aiokafka": self._raw, "faust_documented": self._faust}

    def prepare(self) -> str:
        """Make and fill the topics; the name of the one with all events."""
        settings = self._settings("bench-prepare")
        check_topics(settings, needed_topics(settings), create=True)
        create_topic(self._bootstrap, self._faust_topic)
        for topic, count in (
            (settings.topics.events, self._workload.events),
            (self._faust_topic, self._faust_events),
        ):
            records = self._workload.records(count)
            fill(self._bootstrap, topic, ((one["user_id"].encode(), encode_event(one)) for one in records))
        users = sorted({record["user_id"] for record in self._workload.records()})[::BUDGET_EVERY]
        budgets = [Budget(user_id=user, version=1, tier="premium") for user in users]
        fill(self._bootstrap, settings.topics.budgets, ((one.user_id.encode(), encode_budget(one)) for one in budgets))
        return settings.topics.events

    def _settings(self, app_id: str) -> Settings:
        return Settings(bootstrap_servers=self._bootstrap, stream_app_id=app_id, partitions=PARTITIONS)

    def _ours(self) -> float:
        app_id = f"bench-stream-{uuid.uuid4().hex[:8]}"
        settings = self._settings(app_id)
        check_topics(settings, needed_topics(settings), create=True)
        variables = {
            **self._services,
            "COSTLEDGER_STREAM_APP_ID": app_id,
            "COSTLEDGER_PARTITIONS": str(PARTITIONS),
            "COSTLEDGER_STREAM_METRICS_PORT": "0",
            "COSTLEDGER_STREAM_FLUSH_INTERVAL_SECONDS": self._commit_seconds,
        }
        arguments = ["-m", "costledger", "stream", "--supervisor", str(os.getpid())]
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as totals:
            totals.flushdb()
            with running("stream", arguments, self._folder, variables) as worker:
                rate = self._rate(worker, app_id, settings.topics.events, self._workload.events)
                await_total(totals, self._workload.amount)
                worker.stop()
        return rate

    def _raw(self) -> float:
        group, topic = f"bench-raw-{uuid.uuid4().hex[:8]}", self._settings("any").topics.events
        report = self._folder / f"{group}.txt"
        program = str(_PROGRAMS / "raw_aiokafka_loop.py")
        arguments = [program, self._bootstrap, topic, group, self._commit_seconds, str(report)]
        with running("raw_aiokafka", arguments, self._folder, {}) as loop:
            rate = self._rate(loop, group, topic, self._workload.events)
            loop.stop()
        if (found := int(report.read_text())) != self._workload.amount:
            raise WrongResult(f"raw_aiokafka added up {found}; the events have {self._workload.amount}")
        return rate

    def _faust(self) -> float:
        group = f"bench-faust-{uuid.uuid4().hex[:8]}"
        program = str(_PROGRAMS / "faust_documented_app.py")
        data = str(self._folder / group)
        where = [self._bootstrap, self._faust_topic, group]
        arguments = [program, *where, self._commit_seconds, str(PARTITIONS), data]
        with running("faust_documented", arguments, self._folder, {}) as app:
            return self._rate(app, group, self._faust_topic, self._faust_events)

    def _rate(self, program: Program, group: str, topic: str, total: int) -> float:
        with ExitStack() as closing:
            committed = committed_by(self._bootstrap, group, topic, closing)

            def checked() -> int:
                program.check()
                return committed()

            return committed_rate(watch(checked, total, _RUN_SECONDS_MAX))


def await_total(totals: redis.Redis, amount: int) -> None:
    """Wait until the months of all users in Redis add up to `amount` (1e-12 USD); `WrongResult` if they do not."""
    deadline = time.monotonic() + _REDIS_SECONDS_MAX
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
