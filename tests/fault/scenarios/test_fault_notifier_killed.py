"""F3: what tells people is killed before and after it has told them: the notifier, and the schedulers that deliver."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.fail_points import fail_at
from tests.fixtures.wait import wait_until
from tests.sinks.notifications.receivers import Receiver

from costledger.schemas.budgets import Budget
from costledger.sinks.notifications.routes import add_route, wanted_route

pytestmark = pytest.mark.fault

USD = 10**12
#: Of users with a route, who are to be told.
ALERTS = "SELECT count(*) FROM ledger.alerts JOIN ledger.alert_routes USING (user_id) WHERE state <> 'OK'"
ALERTS_MIN = 20
THRESHOLDS = tuple(Decimal(10 * one) for one in range(1, 11))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook's server, which takes everything."""
    made = Receiver()
    yield made
    made.close()


def prepare(cluster: Cluster, receiver: Receiver, users: int) -> None:
    """Users with budgets of many thresholds, all of whom are told of each at one webhook, a message an alert."""
    cluster.configure(
        delivery_allow_private_targets="true",
        delivery_digest_alerts="1000",
        delivery_timeout_http_seconds="2",
        delivery_retry_seconds_min="1",
        # One message at a time, so that a death is in the middle of one alone.
        jobs_concurrency="1",
    )
    cluster.start("notifier")
    names = [f"user-{number:03d}" for number in range(users)]
    cluster.set_budgets(*(Budget(user_id=name, monthly_budget=USD // 4, alert_thresholds=THRESHOLDS) for name in names))
    settings = cluster.settings()
    for name in names:
        wanted = wanted_route(settings, user_id=name, channel="webhook", target=f"{receiver.url}/{name}")
        add_route(cluster.connection, wanted)
    assert cluster.worker("notifier").stop() == 0


def check_deliveries(cluster: Cluster, receiver: Receiver, deaths_after_send: int) -> None:
    """Every alert has one row, one delivery, and a message; one that came again is the same, and there are few."""
    undelivered = "SELECT count(*) FROM ledger.alert_deliveries WHERE state <> 'delivered'"
    wait_until(lambda: cluster.value(undelivered) == 0, 120, "every alert is delivered")
    wanted = cluster.connection.execute(
        "SELECT alert_id::text FROM ledger.alerts JOIN ledger.alert_routes USING (user_id) WHERE state <> 'OK'"
    ).fetchall()
    kept = cluster.connection.execute("SELECT alert_id::text FROM ledger.alert_deliveries").fetchall()
    assert sorted(kept) == sorted(wanted)
    times = Counter(request.headers["webhook-id"] for request in receiver.requests)
    assert sorted(times) == sorted(alert_id for (alert_id,) in wanted)
    assert len(times) >= ALERTS_MIN
    bodies = defaultdict(set)
    for request in receiver.requests:
        bodies[request.headers["webhook-id"]].add((request.path, request.body))
    assert all(len(one) == 1 for one in bodies.values())
    assert sum(times.values()) - len(times) == deaths_after_send


@pytest.mark.long
def test_a_notifier_killed_before_and_after_it_stores_alerts_has_each_told_once(
    cluster: Cluster, receiver: Receiver
) -> None:
    """Alerts, their deliveries and the wake-up stand or fall together; what is read again is stored no second time."""
    prepare(cluster, receiver, users=4)
    cluster.start("stream", "sink", "scheduler")
    load = cluster.load(rate=300, users=8)
    for place in ("notifier.before_commit", "notifier.after_insert"):
        assert cluster.start("notifier", **fail_at(place)).died_by_itself() == -signal.SIGKILL
    cluster.start("notifier")
    wait_until(lambda: cluster.value(ALERTS) >= ALERTS_MIN, 60, "there is something to tell")
    load.stop()
    cluster.check()
    check_deliveries(cluster, receiver, deaths_after_send=0)


@pytest.mark.long
def test_schedulers_killed_before_and_after_they_send_tell_everybody(cluster: Cluster, receiver: Receiver) -> None:
    """What was sent and not kept comes a second time with the same id and body: once for each such death."""
    prepare(cluster, receiver, users=8)
    cluster.start_all()
    load = cluster.load(rate=300, users=8)
    wait_until(lambda: cluster.value(ALERTS) >= ALERTS_MIN, 60, "there is something to tell")
    # Both at once: a route that a dead one holds is free after half a minute.
    dying = [
        cluster.start("scheduler", **fail_at("delivery.before_send")),
        cluster.start("scheduler-2", **fail_at("delivery.after_send", 2)),
    ]
    assert [one.died_by_itself() for one in dying] == [-signal.SIGKILL] * 2
    cluster.start("scheduler")
    load.stop()
    cluster.check()
    check_deliveries(cluster, receiver, deaths_after_send=1)
