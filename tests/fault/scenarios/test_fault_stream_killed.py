"""F2: a stream worker is killed in the middle of a batch; one of two is killed; one is restarted in good order."""

from __future__ import annotations

import signal
from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.fail_points import fail_at
from tests.fault.harness.figures import Observed
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.metrics import STREAM_REPLAYED

pytestmark = pytest.mark.fault
USD = 10**12
DRAINED_SECONDS_MAX = 10.0


def set_budgets(cluster: Cluster) -> None:
    """Budgets that the load reaches step by step, so that alerts fall everywhere in it."""
    cluster.start("notifier")
    thresholds = tuple(Decimal(one) for one in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100))
    cluster.set_budgets(
        *(
            Budget(user_id=f"user-{number:03d}", monthly_budget=USD // 100, alert_thresholds=thresholds)
            for number in range(20)
        ),
        Budget(user_id="user-020", hourly_spike_limit=USD // 100, time_zone="Asia/Kathmandu"),
    )


def await_stream(cluster: Cluster, more: int = 300) -> None:
    """Wait until the stream has gone on."""
    before = cluster.streamed()
    wait_until(lambda: cluster.streamed() >= before + more, 60, "the stream goes on")


@pytest.mark.long
def test_a_stream_worker_killed_in_the_middle_of_a_batch_counts_every_event_once(cluster: Cluster) -> None:
    """Applied and not written, told and not written, written and not committed: the next one puts all of it right."""
    set_budgets(cluster)
    cluster.start("sink")
    load = cluster.load(rate=400, conflict_share=0.005)
    for place, visit in (("stream.after_process", 5), ("stream.after_outputs", 2), ("stream.before_commit", 4)):
        assert cluster.start("stream", **fail_at(place, visit)).died_by_itself() == -signal.SIGKILL
    cluster.start("stream")
    await_stream(cluster)
    load.stop()
    findings = cluster.check()
    assert findings.figures["alerts"] >= 20
    # The death after the alerts were told and before that was written: they were told again, under the same ids.
    assert findings.figures["alerts_repeated_on_topic"] >= 1


@pytest.mark.long
def test_one_of_two_stream_workers_is_killed_and_the_other_restarted(cluster: Cluster) -> None:
    """The other takes over; later it drains within 10 s of SIGTERM, and its successor is given no event twice."""
    set_budgets(cluster)
    cluster.start("sink", "stream", "stream-2")
    load = cluster.load(rate=400)
    await_stream(cluster)
    cluster.worker("stream").kill()
    await_stream(cluster, 1_000)
    assert cluster.worker("stream-2").stop(DRAINED_SECONDS_MAX) == 0
    observed = Observed()
    cluster.start("stream", **observed.setting("stream"))
    await_stream(cluster)
    load.stop()
    findings = cluster.check()
    assert observed.figures()[f"{STREAM_REPLAYED.name}_total"] == 0
    assert findings.figures["alerts"] >= 20
