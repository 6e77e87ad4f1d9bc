"""The metrics of the sink and of the notifier, made from the definitions in `costledger.schemas.metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry

from costledger.schemas import metrics
from costledger.sinks.alerts import StoredAlerts
from costledger.sinks.writer import Outcome


class SinkMetrics:
    """What the sink counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = metrics.create(metrics.SINK_EVENTS, registry)
        self._duplicates = metrics.create(metrics.SINK_DUPLICATES, registry)
        self._unpriced = metrics.create(metrics.SINK_UNPRICED, registry)
        self._quarantined = metrics.create(metrics.SINK_QUARANTINED, registry)
        self._batch_rows = metrics.create(metrics.SINK_BATCH_ROWS, registry)
        self._write_seconds = metrics.create(metrics.SINK_WRITE_SECONDS, registry)
        self._lag = metrics.create(metrics.SINK_LAG, registry)
        self._paused = metrics.create(metrics.SINK_PAUSED, registry)
        self._retries = metrics.create(metrics.SINK_RETRIES, registry)
        self._with_lag: set[int] = set()

    def written(self, outcome: Outcome) -> None:
        """A batch was committed."""
        for partition, count in outcome.counts.inserted.items():
            self._events.labels(partition).inc(count)
        self._duplicates.inc(outcome.counts.duplicates.total())
        self._unpriced.inc(outcome.counts.unpriced.total())
        for reason, count in outcome.reasons.items():
            self._quarantined.labels(reason).inc(count)
        self._batch_rows.observe(outcome.events)
        self._write_seconds.observe(outcome.seconds)

    def retried(self, sqlstate: str) -> None:
        """A transaction failed in a way that passes, and will be tried again."""
        self._retries.labels(sqlstate).inc()

    def paused(self, paused: bool) -> None:
        """Whether PostgreSQL cannot be reached."""
        self._paused.set(int(paused))

    def lag(self, partition: int, events: int) -> None:
        """How many events of a partition are not in the ledger yet."""
        self._with_lag.add(partition)
        self._lag.labels(partition).set(events)

    def forget(self, partitions: Iterable[int]) -> None:
        """Partitions that are another sink's now."""
        for partition in self._with_lag.intersection(partitions):
            self._lag.remove(partition)
            self._with_lag.discard(partition)


class NotifierMetrics:
    """What the notifier counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._alerts = metrics.create(metrics.NOTIFIER_ALERTS, registry)
        self._repeated = metrics.create(metrics.NOTIFIER_REPEATED, registry)
        self._lag = metrics.create(metrics.NOTIFIER_LAG, registry)
        self._with_lag: set[int] = set()

    def stored(self, outcome: StoredAlerts) -> None:
        """A batch of alerts was committed."""
        for kind, count in outcome.stored.items():
            self._alerts.labels(kind).inc(count)
        self._repeated.inc(outcome.repeated)

    def lag(self, alerts: Mapping[int, int]) -> None:
        """How many alerts of each partition are not stored yet; of no other partition anything is told any more."""
        for partition in self._with_lag - alerts.keys():
            self._lag.remove(partition)
        for partition, count in alerts.items():
            self._lag.labels(partition).set(count)
        self._with_lag = set(alerts)
