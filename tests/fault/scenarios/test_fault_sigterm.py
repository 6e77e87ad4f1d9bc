"""F21: every worker is told to stop under load: it drains within 10 s, and its successor does nothing a second time."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.figures import Observed
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.metrics import NOTIFIER_REPEATED, STREAM_EVENTS, STREAM_REPLAYED

pytestmark = pytest.mark.fault

USD = 10**12
DRAINED_SECONDS_MAX = 10.0


def test_workers_that_are_told_to_stop_drain_and_nothing_is_done_twice(cluster: Cluster) -> None:
    """Sink, stream, notifier, scheduler and the producing service; the ledger refuses the service's own repeats alone."""
    cluster.start("notifier")
    thresholds = tuple(Decimal(10 * one) for one in range(1, 11))
    cluster.set_budgets(
        *(
            Budget(user_id=f"user-{number:03d}", monthly_budget=USD // 50, alert_thresholds=thresholds)
            for number in range(20)
        )
    )
    cluster.start("stream", "sink", "scheduler")
    load = cluster.load(rate=500, repeat_share=0.02)
    wait_until(
        lambda: cluster.consumed() >= 500 and cluster.value("SELECT count(*) FROM ledger.alerts") > 0, 60, "load"
    )
    successors = {name: Observed() for name in ("sink", "stream", "notifier", "scheduler")}
    drained_seconds = {}
    for name, observed in successors.items():
        drained_seconds[name] = seconds_to_stop(cluster, name)
        if name == "sink":
            assert "drained" in cluster.worker(name).log_path.read_text()  # what it had read is in the ledger
        cluster.start(name, **observed.setting(name))
    stream = successors["stream"]
    wait_until(lambda: stream.figures().get(f"{STREAM_EVENTS.name}_total", 0) >= 500, 60, "the successor streams")
    began = time.monotonic()
    stats = load.stop()
    drained_seconds["service"] = time.monotonic() - began
    findings = cluster.check()
    assert max(drained_seconds.values()) <= DRAINED_SECONDS_MAX, drained_seconds
    assert stats["queued"] == stats["dropped"] == 0
    assert stream.figures()[f"{STREAM_REPLAYED.name}_total"] == 0
    assert successors["notifier"].figures()[f"{NOTIFIER_REPEATED.name}_total"] == 0
    assert findings.figures["alerts_repeated_on_topic"] == 0
    refused = cluster.value("SELECT sum(duplicates) FROM ledger.sink_offsets")
    assert refused == sum(1 for one in load.record.attempts() if one.kind == "repeat")
    assert cluster.value("SELECT bool_and(consumed = next_offset - first_offset) FROM ledger.sink_offsets")


def seconds_to_stop(cluster: Cluster, name: str) -> float:
    """SIGTERM; how long the worker took to end in good order."""
    began = time.monotonic()
    assert cluster.worker(name).stop() == 0, cluster.describe_workers()
    return time.monotonic() - began
