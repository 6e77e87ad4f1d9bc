"""`stream_month`: the stream worker with users who have been there for a month, beside a loop that keeps nothing.

The load comes when the worker has worked through the history and Redis has all of it: else what is counted would be the writing
of a history's hours to Redis. So each run has topics of its own. While the load is written the worker is suspended, for it would
keep up with whoever writes it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import psutil
import redis
from tests.bench.bench_stream import StreamBench, await_total, budgets_of, check_alerts
from tests.bench.kafka import committed_by, fill, records_in
from tests.bench.processes import Program, cpu_between, running
from tests.bench.rates import committed_rate, watch
from tests.bench.stage import HISTORY_RATE_MIN
from tests.bench.workload import History, Workload

from costledger.deploy.kafka_topics import check_topics, needed_topics
from costledger.schemas.codec import encode_budget, encode_event

#: Longer than a load is written.
_SESSION_SECONDS = 60
_LOAD_SECONDS_MAX = 600.0


class MonthBench(StreamBench):
    """As `StreamBench`, whose topic the loop reads, with a history before the load."""

    def __init__(
        self,
        services: Mapping[str, str],
        folder: Path,
        workload: Workload,
        commit_interval_seconds: float,
        history: History,
    ) -> None:
        super().__init__(services, folder, workload, commit_interval_seconds, "stream_month", history)
        self._past = history
        self._runs = count(1)
        #: By key and value, in the order in which they are written.
        self._load = [(one["user_id"].encode(), encode_event(one)) for one in workload.records()]

    def _ours(self) -> float:
        app_id, prefix = self._stage.group("stream"), f"stream_month-{next(self._runs)}."
        settings = self._settings(app_id).model_copy(update={"topic_prefix": prefix})
        topics = settings.topics
        check_topics(settings, needed_topics(settings), create=True)
        budgets = budgets_of(self._workload, self._past)
        fill(self._bootstrap, topics.budgets, ((one.user_id.encode(), encode_budget(one)) for one in budgets))
        history = ((one["user_id"].encode(), encode_event(one)) for one in self._past.records())
        fill(self._bootstrap, topics.events, history)
        variables = self._variables(app_id, prefix) | {
            "COSTLEDGER_STREAM_SESSION_TIMEOUT_SECONDS": str(_SESSION_SECONDS)
        }
        arguments = ["-m", "costledger", "stream", "--supervisor", str(os.getpid())]
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as totals:
            totals.flushdb()
            with running("stream", arguments, self._folder, variables) as worker, ExitStack() as closing:
                committed = committed_by(self._bootstrap, app_id, topics.events, closing)
                watch(committed, self._past.events, self._past.events / HISTORY_RATE_MIN + _LOAD_SECONDS_MAX)
                await_total(totals, self._past.amount, self._past.events)
                told = records_in(self._bootstrap, topics.alerts)
                with suspended(worker):
                    fill(self._bootstrap, topics.events, self._load)
                before = worker.cpu_by_thread()
                all_events = self._past.events + self._workload.events
                commits = watch(committed, all_events, _LOAD_SECONDS_MAX)
                self.cpu_by_thread.append(cpu_between(before, worker.cpu_by_thread()))
                await_total(totals, self._amount)
                self.held_bytes.append(psutil.Process(worker.pid).memory_info().rss)
                worker.stop()
        check_alerts(told, records_in(self._bootstrap, topics.alerts))
        # What was committed before the load is no part of it.
        return committed_rate([commit for commit in commits if commit.events > self._past.events])


@contextmanager
def suspended(worker: Program) -> Iterator[None]:
    """SIGSTOP until the end; `TimeoutError` where it took longer than the group waits for a member."""
    began = time.monotonic()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    took = time.monotonic() - began
    if took > _SESSION_SECONDS / 2:
        raise TimeoutError(f"the load was written in {took:.0f} s, in which the group may have forgotten the worker")
