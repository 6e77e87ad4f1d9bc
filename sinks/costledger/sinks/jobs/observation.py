"""The metrics of the scheduler, from the definitions in `costledger.schemas.metrics`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from prometheus_client import CollectorRegistry

from costledger.schemas import metrics
from costledger.sinks.database import Connection
from costledger.sinks.queries import query

_JOB_STATES = ("todo", "doing", "failed")
_DELIVERY_STATES = ("pending", "dead")


class SchedulerMetrics:
    """What the scheduler counts and shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports = metrics.create(metrics.SCHEDULER_REPORTS, registry)
        self._failures = metrics.create(metrics.SCHEDULER_FAILURES, registry)
        self._jobs = metrics.create(metrics.SCHEDULER_JOBS, registry)
        self._deliveries = metrics.create(metrics.SCHEDULER_DELIVERIES, registry)
        self._sealed = metrics.create(metrics.CHAIN_SEALED, registry)
        self._unsealed = metrics.create(metrics.CHAIN_UNSEALED, registry)
        self._missed_total = metrics.create(metrics.SWEEP_MISSED, registry)
        self._hour_total = metrics.create(metrics.HOUR_TOTAL, registry)
        self._hour_users = metrics.create(metrics.HOUR_USERS, registry)
        self._hour_spikes = metrics.create(metrics.HOUR_SPIKES, registry)
        self._month_total = metrics.create(metrics.MONTH_TOTAL, registry)

    def made(self, kind: str) -> None:
        """A report was made."""
        self._reports.labels(kind).inc()

    def failed(self, work: str) -> None:
        """Some periodic work failed, and will be tried again."""
        self._failures.labels(work).inc()

    def sealed(self, entries: int) -> None:
        """Entries were sealed in the hash chain."""
        self._sealed.inc(entries)

    def missed(self, spikes: int) -> None:
        """A sweep found spikes that nobody was told of."""
        self._missed_total.inc(spikes)

    def refresh(self, connection: Connection) -> None:
        """Bring the gauges up to date: the same in every scheduler, whichever of them did the work."""
        rows = connection.execute(query("scheduler_gauges")).fetchall()
        counted: dict[tuple[str, str], int] = {(kind, state): count for kind, state, count in rows}
        for state in _JOB_STATES:
            self._jobs.labels(state).set(counted.get(("job", state), 0))
        for state in _DELIVERY_STATES:
            self._deliveries.labels(state).set(counted.get(("delivery", state), 0))
        ((unsealed,),) = connection.execute(query("chain_unsealed")).fetchall()
        self._unsealed.set(unsealed)
        row = connection.execute(query("newest_sweep")).fetchone()
        if row is not None:
            self._sweep(row[0])

    def _sweep(self, content: dict[str, Any]) -> None:
        # Prometheus knows floats only: a display, from which nothing is computed.
        self._hour_total.set(float(Decimal(content["total"])))
        self._month_total.set(float(Decimal(content["month_total"])))
        self._hour_users.set(content["active_users"])
        self._hour_spikes.set(content["spikes"])
