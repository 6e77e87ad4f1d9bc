"""F8: every pair of client and service in turn: cut, half-open, slow, and connections that died without a word."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.harm import await_attempts, await_under_way, lasting
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget

pytestmark = [pytest.mark.fault, pytest.mark.long]

PAIRS = (
    ("producer", "kafka"),
    ("stream", "kafka"),
    ("stream", "redis"),
    ("sink", "kafka"),
    ("sink", "postgres"),
    ("notifier", "kafka"),
    ("notifier", "postgres"),
)
IDS = [f"{client}-{service}" for client, service in PAIRS]
#: Longer than the sessions of the stream (6 s) and of the others (10 s).
PAST_SESSIONS_SECONDS = 14


def start_with_budgets(cluster: Cluster) -> None:
    """All workers, and budgets that are reached again and again, so that alerts are under way all the time."""
    cluster.start("notifier")
    thresholds = tuple(Decimal(one) for one in range(10, 101, 10))
    cluster.set_budgets(
        *(
            Budget(user_id=f"user-{one:03d}", monthly_budget=2 * 10**10, alert_thresholds=thresholds)
            for one in range(20)
        )
    )
    cluster.start("stream", "sink")


@pytest.mark.parametrize(("client", "service"), PAIRS, ids=IDS)
def test_a_bad_network_between_two_heals(cluster: Cluster, client: str, service: str) -> None:
    """Cut for 4 s, half-open for 4 s, slow for 6 s; everything arrives once."""
    start_with_budgets(cluster)
    link = cluster.services.link(client, service)
    load = cluster.load(rate=400)
    await_under_way(cluster)
    link.cut()
    lasting(4)
    link.heal()
    await_attempts(load, 200)
    link.freeze()
    lasting(4)
    link.heal()
    await_attempts(load, 200)
    link.slow(0.2, bytes_per_second=200_000)
    lasting(6)
    link.heal()
    load.stop()
    findings = cluster.check()
    assert findings.figures["alerts"] > 20


@pytest.mark.parametrize(("client", "service"), PAIRS, ids=IDS)
def test_connections_that_died_without_a_word_are_replaced(cluster: Cluster, client: str, service: str) -> None:
    """Half-open for good, while new connections work: within a minute everything is at its end, and nothing was healed."""
    start_with_budgets(cluster)
    link = cluster.services.link(client, service)
    load = cluster.load(rate=300)
    await_under_way(cluster)
    link.freeze_connections()
    await_attempts(load, 1_500)
    load.stop()
    cluster.check()


def test_a_network_that_is_silent_for_longer_than_sessions_heals(cluster: Cluster) -> None:
    """All pairs at once; what was under way arrives late."""
    start_with_budgets(cluster)
    load = cluster.load(rate=400)
    await_under_way(cluster)
    links = [cluster.services.link(client, service) for client, service in PAIRS]
    for link in links:
        link.freeze()
    lasting(PAST_SESSIONS_SECONDS)
    assert load.alive()
    for link in links:
        link.heal()
    load.stop()
    cluster.check()


def test_a_worker_that_joins_while_another_recovers_disturbs_nothing(cluster: Cluster) -> None:
    """The state of 3,000 users is being read when the group is balanced anew, again and again."""
    cluster.start_all()
    cluster.load(events=12_000, rate=3_000, users=3_000).finish()
    cluster.await_quiet()
    for _ in range(2):
        cluster.worker("stream").kill()
        load = cluster.load(f"load-{len(cluster.generators)}", events=2_000, rate=1_000, users=3_000)
        cluster.start("stream")
        stream, assigned = cluster.worker("stream"), cluster.worker("stream").logged("Assigned partitions [")
        wait_until(lambda: stream.logged("Assigned partitions [") > assigned, 60, "recovery begins")  # noqa: B023
        cluster.start("stream-2")
        load.finish()
        cluster.await_quiet()
        cluster.worker("stream-2").kill()
    cluster.check()
