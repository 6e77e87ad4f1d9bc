"""F5: the broker is away: stopped, killed, and for longer than the producer waits for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.harm import (
    assert_accounted,
    await_attempts,
    await_consumed,
    await_under_way,
    lasting,
    suspended,
)

pytestmark = pytest.mark.fault


@pytest.mark.long
def test_a_broker_that_is_stopped_for_half_a_minute_costs_nothing(cluster: Cluster) -> None:
    """The service goes on at its rate and drops nothing; every worker comes back by itself."""
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    cluster.services.kafka.stop()
    before = load.attempted()
    lasting(30)
    assert load.attempted() - before > 10_000, "the service was slowed down by a broker that is away"
    cluster.services.kafka.start()
    stats = load.stop()
    assert (stats["dropped"], stats["unspooled"]) == (0, 0)
    assert_accounted(stats)
    cluster.check()


def test_a_broker_that_is_killed_under_load_costs_nothing(cluster: Cluster) -> None:
    """kill -9, twice; it comes back with what it has acknowledged."""
    cluster.start_all()
    load = cluster.load(rate=500)
    for _ in range(2):
        await_consumed(cluster, 500)
        cluster.services.kafka.kill()
        await_attempts(load, 500)
        cluster.services.kafka.start()
    assert load.stop()["dropped"] == 0
    cluster.check()


@pytest.mark.long
def test_a_broker_that_stands_still_costs_nothing(cluster: Cluster) -> None:
    """SIGSTOP for longer than every session: it takes connections and does not answer; then it thinks that all are dead."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    with suspended(cluster.services.kafka):
        lasting(12)
    await_consumed(cluster, 500)
    stats = load.stop()
    assert (stats["dropped"], stats["unspooled"]) == (0, 0)
    assert_accounted(stats)
    cluster.check()


@pytest.mark.long
def test_a_broker_that_is_away_for_longer_than_messages_wait_costs_a_spool_nothing(cluster: Cluster) -> None:
    """librdkafka gives messages up after 5 s, the broker is away for 20: each goes back to the spool."""
    cluster.start_all()
    load = cluster.load(rate=400, delivery_timeout_seconds=5)
    await_under_way(cluster)
    cluster.services.kafka.kill()
    lasting(20)
    cluster.services.kafka.start()
    stats = load.stop()
    assert (stats["dropped"], stats["queued"]) == (0, 0)
    assert_accounted(stats)
    cluster.check()


@pytest.mark.long
def test_a_broker_that_is_away_for_a_minute_under_a_heavy_load_has_no_event_counted_twice(
    make_cluster: Callable[..., Cluster],
) -> None:
    """400 events/s in a partition, and more waiting than its client's queue holds: what was in doubt is not sent far behind."""
    cluster = make_cluster(partitions=2)
    cluster.start_all()
    load = cluster.load(rate=800, users=40, queue_events_max=20_000)
    await_under_way(cluster)
    cluster.services.kafka.kill()
    lasting(60)
    cluster.services.kafka.start()
    stats = load.stop()
    assert (stats["dropped"], stats["unspooled"]) == (0, 0)
    assert_accounted(stats)
    cluster.check()


@pytest.mark.long
def test_what_memory_loses_to_a_broker_that_is_away_is_counted(cluster: Cluster) -> None:
    """Without a spool messages are given up after 5 s: each is counted, and none that was acknowledged is lost."""
    cluster.start_all()
    load = cluster.load(rate=400, durability="memory", delivery_timeout_seconds=5)
    await_under_way(cluster)
    cluster.services.kafka.kill()
    lasting(12)
    cluster.services.kafka.start()
    stats = load.stop()
    assert_accounted(stats)
    assert stats["tracked"] == load.attempted()
    assert stats["dropped"] > 400, "the outage was longer than messages wait: some must have been given up"
    assert (stats["queued"], stats["spooled"]) == (0, 0)
    cluster.check()
