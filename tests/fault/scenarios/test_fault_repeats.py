"""F13 and F14: what is sent again, read again, or sent under an id that is taken, adds nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.topics import produce_again, rewind

from costledger.schemas.budgets import Budget

pytestmark = pytest.mark.fault
USD: Final = 10**12
EVENTS: Final = 2_000
TIMES: Final = 5


def set_small_budgets(cluster: Cluster) -> None:
    """Budgets that the loads of this file reach."""
    thresholds = (Decimal(10), Decimal(50), Decimal(100))
    cluster.set_budgets(
        *(
            Budget(user_id=f"user-{number:03d}", monthly_budget=USD // 200, alert_thresholds=thresholds)
            for number in range(10)
        )
    )


@pytest.mark.long
def test_a_batch_sent_five_times_and_read_again_from_the_start_adds_nothing(cluster: Cluster) -> None:
    """Ledger and stream are at the same totals, though the sink's and the stream's offsets were set back to 0."""
    cluster.start("notifier")
    set_small_budgets(cluster)
    cluster.start("stream", "sink")
    cluster.load(events=EVENTS).finish()
    cluster.await_quiet()
    alerts = cluster.value("SELECT count(*) FROM ledger.alerts")
    assert alerts >= 10

    settings = cluster.settings()
    servers, topic = cluster.services.kafka.bootstrap_servers, settings.topics.events
    batch = list(cluster.reader.read(topic))
    for _ in range(TIMES - 1):
        assert produce_again(servers, topic, batch) == len(batch) == EVENTS
    findings = cluster.check()
    assert findings.figures["alerts"] == alerts
    consumed = cluster.consumed()
    assert consumed == TIMES * EVENTS

    assert cluster.worker("sink").stop() == 0
    assert cluster.worker("stream").stop() == 0
    cluster.connection.execute("UPDATE ledger.sink_offsets SET next_offset = first_offset")
    rewind(servers, settings.stream_app_id, topic, cluster.partitions)
    rewind(servers, settings.stream_app_id, settings.topics.budgets, cluster.partitions)
    cluster.start("stream", "sink")
    findings = cluster.check()
    assert findings.figures["alerts"] == alerts
    assert findings.figures["alerts_repeated_on_topic"] == 0
    assert cluster.consumed() == 2 * consumed


@pytest.mark.long
def test_another_payload_under_an_id_that_is_taken_is_put_aside(cluster: Cluster) -> None:
    """The first of an id stays, in ledger and stream, over a kill of both; every other one is counted and put aside."""
    cluster.start("notifier")
    set_small_budgets(cluster)
    cluster.start("stream", "sink")
    load = cluster.load(rate=1_000, conflict_share=0.2)
    for name in ("sink", "stream"):
        load.await_more(1_500)
        cluster.worker(name).kill()
        cluster.start(name)
    load.await_more(1_500)
    load.stop()
    findings = cluster.check()
    conflicts = sum(1 for attempt in load.record.attempts() if attempt.kind == "conflict")
    assert conflicts >= 500
    by_reason: dict[str, int] = dict(
        cluster.connection.execute("SELECT reason, count(*) FROM ledger.quarantine GROUP BY 1").fetchall()
    )
    assert by_reason == {"id_conflict": conflicts}
    assert findings.figures["alerts"] >= 10
    assert findings.figures["dead_letters"] == conflicts
