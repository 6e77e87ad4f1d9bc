"""The scheduler seals the ledger: every minute what is due, a bounded part of a backlog, and the metrics say what is left."""

from __future__ import annotations

from functools import partial

import pytest
import redis
from prometheus_client import CollectorRegistry
from tests.sinks.chain.writing import TOPIC, some_events, tamper, verified, write
from tests.sinks.conftest import Ledger

from costledger.schemas.settings import Settings
from costledger.schemas.topics import EVENTS
from costledger.sinks.chain import seal
from costledger.sinks.database import Connection, connect
from costledger.sinks.jobs.observation import SchedulerMetrics
from costledger.sinks.jobs.ticking import Ticker
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.reports.store import open_redis


class Minutes:
    """A scheduler's ticks, by hand."""

    def __init__(self, ledger: Ledger, settings: Settings, client: redis.Redis) -> None:
        self._url = ledger.url
        self._registry = CollectorRegistry()
        self._metrics = SchedulerMetrics(self._registry)
        changed = settings.model_copy(update={"topic_prefix": TOPIC.removesuffix(EVENTS)})
        # An hour ago nothing was due yet, and nothing else is.
        self._ticker = Ticker(changed, self._connect, client, self._metrics, lambda: 1_700_000_000_000_000)

    def _connect(self) -> Connection:
        return connect(self._url, "tests", 10)

    def tick(self) -> float | None:
        """One tick; how many entries are sealed by now."""
        self._ticker.tick()
        assert self._registry.get_sample_value("costledger_scheduler_failures_total", {"work": "chain"}) is None
        return self._registry.get_sample_value("costledger_chain_sealed_entries_total")

    def unsealed(self) -> float | None:
        """The gauge."""
        with self._connect() as connection:
            self._metrics.refresh(connection)
        return self._registry.get_sample_value("costledger_chain_unsealed_entries")


@pytest.fixture
def minutes(ledger: Ledger, report_settings: Settings) -> Minutes:
    """A scheduler of a ledger with entries of five minutes and more ago in one partition, and of now in another."""
    write(ledger, 0, 0, some_events(30))
    write(ledger, 1, 0, some_events(7))
    tamper(
        ledger,
        "UPDATE ledger.sink_offsets SET since = since - interval '1 day'",
        "UPDATE ledger.entries SET recorded_at = recorded_at - interval '301 seconds' WHERE kafka_partition = 0",
    )
    with open_redis(report_settings) as client:
        return Minutes(ledger, report_settings, client)


def test_a_tick_seals_what_is_old_enough(minutes: Minutes, ledger: Ledger) -> None:
    """Entries of five minutes ago are sealed, those of now wait; the gauge counts them."""
    assert minutes.unsealed() == 37
    assert minutes.tick() == 30
    assert minutes.unsealed() == 7
    assert minutes.tick() == 30
    report = verified(ledger)
    assert report.ok
    assert (report.total("rows"), report.total("unsealed")) == (30, 7)


def test_while_another_seals_a_tick_does_not_wait(minutes: Minutes, ledger: Ledger) -> None:
    """No failure, and nothing done: the other one does it."""
    key = (AdvisoryLock.SEALING.value,)
    ledger.connection.execute("SELECT pg_advisory_lock(%s)", key)
    assert minutes.tick() == 0
    ledger.connection.execute("SELECT pg_advisory_unlock(%s)", key)
    assert minutes.tick() == 30


def test_a_tick_takes_a_part_of_a_backlog(minutes: Minutes, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many rounds in a turn, however much there is."""
    monkeypatch.setattr("costledger.sinks.jobs.ticking.TURN_ROUNDS_MAX", 1)
    monkeypatch.setattr("costledger.sinks.jobs.ticking.seal", partial(seal, block_rows_max=8))
    assert [minutes.tick() for _ in range(4)] == [16, 30, 30, 30]
    assert verified(ledger).ok
