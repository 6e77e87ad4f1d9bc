"""A load without any harm: what all scenarios are measured by."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster

from costledger.schemas.budgets import Budget

pytestmark = pytest.mark.fault
USD = 10**12


def test_without_harm_every_promise_holds(cluster: Cluster) -> None:
    """Late, repeated, conflicting, unpriced and poisonous events among good ones; budgets that are reached."""
    cluster.start("notifier")
    cluster.set_budgets(
        Budget(user_id="user-000", monthly_budget=USD // 100, alert_thresholds=(Decimal(50), Decimal(100))),
        Budget(user_id="user-001", monthly_budget=USD // 10, time_zone="Pacific/Auckland"),
        Budget(user_id="user-002", hourly_spike_limit=USD // 100, time_zone="America/St_Johns"),
    )
    cluster.start("stream", "sink")
    load = cluster.load(events=4_000, rate=1_000, conflict_share=0.01, poison_share=0.01, repeat_share=0.03)
    load.finish()
    findings = cluster.check()
    assert findings.figures["alerts"] >= 5
    assert findings.figures["snapshots"] >= 1
    # What users are told is what the harness knows.
    told = json.loads(cluster.run("reconcile", "--json").stdout)
    kinds = Counter(attempt.kind for attempt in load.record.attempts())
    unpriced = sum(attempt.kind == "event" and attempt.fields[-1] == "-" for attempt in load.record.attempts())
    wanted = {
        "ok": True,
        "lag": 0,
        "consumed": kinds.total(),
        "inserted": kinds["event"],
        "duplicates": kinds["repeat"],
        "quarantined": kinds["poison"] + kinds["conflict"],
        "skipped": 0,
        "unpriced": unpriced,
        "missing": 0,
        "difference_picodollars": 0,
    }
    assert {name: told[name] for name in wanted} == wanted
    assert min(unpriced, *kinds.values()) > 0
    ends = cluster.reader.ends(cluster.settings().topics.events)
    assert told["watermark"] == {str(partition): end for partition, end in ends.items()}
