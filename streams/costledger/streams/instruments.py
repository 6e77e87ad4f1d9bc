"""The stream worker's metrics, created from the names in `costledger.schemas.metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from costledger.schemas import metrics
from costledger.streams.domain.partition import Outcome


class Instruments:
    """What the stream worker measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = metrics.create(metrics.STREAM_EVENTS, registry)
        self.replayed = metrics.create(metrics.STREAM_REPLAYED, registry)
        self.repeated = metrics.create(metrics.STREAM_REPEATED, registry)
        self.late = metrics.create(metrics.STREAM_LATE, registry)
        self.history = metrics.create(metrics.STREAM_HISTORY, registry)
        self.unpriced = metrics.create(metrics.STREAM_UNPRICED, registry)
        self.refused = metrics.create(metrics.STREAM_REFUSED, registry)
        self.alerts = metrics.create(metrics.STREAM_ALERTS, registry)
        self.batch_rows = metrics.create(metrics.STREAM_BATCH_ROWS, registry)
        self.lag = metrics.create(metrics.STREAM_LAG, registry)
        self._lagging: set[tuple[str, str]] = set()
        self.users = metrics.create(metrics.STREAM_USERS, registry)
        self.view_failures = metrics.create(metrics.STREAM_VIEW_FAILURES, registry)

    def set_lag(self, lags: Mapping[tuple[str, str], int]) -> None:
        """Set the lag by (topic, partition); partitions that are another worker's now have none here."""
        for gone in self._lagging - lags.keys():
            self.lag.remove(*gone)
        for place, lag in lags.items():
            self.lag.labels(*place).set(lag)
        self._lagging = set(lags)

    def count_batch(self, partition: int, rows: int, outcomes: Mapping[Outcome, int], late: int) -> None:
        """Count one batch."""
        self.batch_rows.observe(rows)
        self.events.labels(str(partition)).inc(outcomes[Outcome.APPLIED] + outcomes[Outcome.UNPRICED])
        self.unpriced.inc(outcomes[Outcome.UNPRICED])
        self.replayed.inc(outcomes[Outcome.REPLAYED])
        self.repeated.inc(outcomes[Outcome.REPEATED])
        self.history.inc(outcomes[Outcome.HISTORY])
        self.late.inc(late)
