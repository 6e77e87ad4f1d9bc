"""All metric names in one place: Prometheus names with units, what they mean, and their labels.

Nothing here needs the Prometheus library; `create` does, and is called by the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` ends in its unit; counters get `_total` from Prometheus."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS: Final = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0)

# Every process
PYTHON_MEMORY: Final = Metric(
    "costledger_python_memory_blocks", "gauge", "memory blocks in use of Python's allocator; a leak shows here first"
)
C_MEMORY: Final = Metric(
    "costledger_c_memory_bytes", "gauge", "bytes in use of the C library's allocator; resident memory is more"
)

# Stream app
STREAM_EVENTS: Final = Metric("costledger_stream_events", "counter", "events applied to the totals", ("partition",))
STREAM_REPLAYED: Final = Metric(
    "costledger_stream_replayed_events", "counter", "events skipped because the state had them already"
)
STREAM_REPEATED: Final = Metric(
    "costledger_stream_repeated_events", "counter", "events skipped because their id was seen at another offset"
)
STREAM_LATE: Final = Metric(
    "costledger_stream_late_events", "counter", "events of a day that was over when they arrived"
)
STREAM_HISTORY: Final = Metric(
    "costledger_stream_history_events",
    "counter",
    "events older than the horizon: not in the real-time totals",
)
STREAM_UNPRICED: Final = Metric("costledger_stream_unpriced_events", "counter", "events without an amount")
STREAM_REFUSED: Final = Metric(
    "costledger_stream_refused_events", "counter", "events sent to the dead-letter topic", ("reason",)
)
STREAM_ALERTS: Final = Metric("costledger_stream_alerts", "counter", "alerts raised", ("kind", "state"))
STREAM_BATCH_ROWS: Final = Metric(
    "costledger_stream_batch_events", "histogram", "events in one fetched batch", buckets=_ROWS
)
STREAM_LAG: Final = Metric("costledger_stream_lag_events", "gauge", "events not yet committed", ("topic", "partition"))
STREAM_USERS: Final = Metric("costledger_stream_users", "gauge", "users with state in this worker")
STREAM_VIEW_FAILURES: Final = Metric(
    "costledger_stream_view_failures", "counter", "writes to Redis that failed and will be repeated"
)

# Sink
SINK_EVENTS: Final = Metric("costledger_sink_events", "counter", "events written to the ledger", ("partition",))
SINK_DUPLICATES: Final = Metric(
    "costledger_sink_duplicate_events", "counter", "events refused because the ledger had their id"
)
SINK_UNPRICED: Final = Metric("costledger_sink_unpriced_events", "counter", "ledger entries without an amount")
SINK_QUARANTINED: Final = Metric(
    "costledger_sink_quarantined_events", "counter", "events put into quarantine", ("reason",)
)
SINK_BATCH_ROWS: Final = Metric("costledger_sink_batch_events", "histogram", "events in one transaction", buckets=_ROWS)
SINK_WRITE_SECONDS: Final = Metric(
    "costledger_sink_write_seconds", "histogram", "one transaction, from begin to commit", buckets=_SECONDS
)
SINK_LAG: Final = Metric("costledger_sink_lag_events", "gauge", "events not yet in the ledger", ("partition",))
SINK_PAUSED: Final = Metric(
    "costledger_sink_paused", "gauge", "1 while PostgreSQL cannot be reached and consumption is paused"
)
SINK_RETRIES: Final = Metric("costledger_sink_retries", "counter", "transactions tried again", ("sqlstate",))

# Notifier
NOTIFIER_ALERTS: Final = Metric("costledger_notifier_alerts", "counter", "alerts stored", ("kind",))
NOTIFIER_REPEATED: Final = Metric("costledger_notifier_repeated_alerts", "counter", "alerts that were stored before")
NOTIFIER_LAG: Final = Metric("costledger_notifier_lag_alerts", "gauge", "alerts not yet stored", ("partition",))

# Scheduler
SCHEDULER_REPORTS: Final = Metric("costledger_scheduler_reports", "counter", "reports made", ("kind",))
SCHEDULER_FAILURES: Final = Metric(
    "costledger_scheduler_failures", "counter", "periodic work that failed and is tried again", ("work",)
)
SCHEDULER_JOBS: Final = Metric("costledger_scheduler_jobs", "gauge", "jobs that are not done", ("state",))
SCHEDULER_DELIVERIES: Final = Metric(
    "costledger_scheduler_report_deliveries",
    "gauge",
    "reports not delivered to a recipient; dead: given up",
    ("state",),
)
CHAIN_UNSEALED: Final = Metric(
    "costledger_chain_unsealed_entries", "gauge", "entries of the ledger that are not in the hash chain yet"
)
CHAIN_SEALED: Final = Metric("costledger_chain_sealed_entries", "counter", "entries sealed in the hash chain")
SWEEP_MISSED: Final = Metric(
    "costledger_sweep_missed_spikes", "counter", "users above their hourly limit of whom no alert told"
)
HOUR_TOTAL: Final = Metric("costledger_hourly_total_usd", "gauge", "cost of all users in the last full hour (UTC)")
HOUR_USERS: Final = Metric("costledger_hourly_active_users", "gauge", "users with events in the last full hour (UTC)")
HOUR_SPIKES: Final = Metric(
    "costledger_hourly_spike_users", "gauge", "users above their hourly limit in the last full hour"
)
MONTH_TOTAL: Final = Metric(
    "costledger_month_total_usd", "gauge", "cost of all users in the month (UTC) up to the last full hour"
)

# Alert delivery
_DELIVERY_SECONDS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0)
DELIVERIES: Final = Metric(
    "costledger_alert_deliveries",
    "counter",
    "alerts on their way to people: delivered, given up (dead), acknowledged before (suppressed); attempts that failed",
    ("channel", "outcome"),
)
DELIVERIES_PENDING: Final = Metric("costledger_pending_alert_deliveries", "gauge", "alerts not yet sent", ("channel",))
DELIVERIES_DEAD: Final = Metric(
    "costledger_dead_alert_deliveries", "gauge", "alerts given up, and not retried", ("channel",)
)
DELIVERY_SECONDS: Final = Metric(
    "costledger_alert_delivery_seconds",
    "histogram",
    "from the alert in the ledger to its delivery",
    ("channel",),
    buckets=_DELIVERY_SECONDS,
)

# HTTP API
API_REQUESTS: Final = Metric(
    "costledger_api_requests", "counter", "requests answered, by the path of the route", ("method", "route", "status")
)
API_REQUEST_SECONDS: Final = Metric(
    "costledger_api_request_seconds",
    "histogram",
    "one request, from its head to the end of the answer",
    ("method", "route"),
    buckets=_SECONDS,
)
API_IN_FLIGHT: Final = Metric("costledger_api_in_flight_requests", "gauge", "requests that are being answered")
API_RATE_LIMITED: Final = Metric(
    "costledger_api_rate_limited_requests", "counter", "requests refused: 429", ("caller",)
)
API_LIMITER_FAILURES: Final = Metric(
    "costledger_api_unlimited_requests", "counter", "requests not counted because Redis could not be asked"
)

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def create(metric: Metric, registry: CollectorRegistry) -> Any:
    """The Prometheus counter, gauge or histogram of this metric, registered in `registry`."""
    import prometheus_client

    if metric.kind == "histogram":
        return prometheus_client.Histogram(
            metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
        )
    kind = prometheus_client.Counter if metric.kind == "counter" else prometheus_client.Gauge
    return kind(metric.name, metric.meaning, metric.labels, registry=registry)
