"""F7: whether a COMMIT took place is not known, for its reply is lost. `sink_offsets` tells."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.figures import Observed
from tests.fault.harness.harm import await_consumed, await_under_way
from tests.fault.harness.proxy import Link
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.metrics import NOTIFIER_REPEATED

pytestmark = pytest.mark.fault
#: As it is on the wire; temporary tables have an ON COMMIT, too.
COMMIT = b"COMMIT\0"
SETTLED = "the reply to a commit was lost, but it took place"


def batches_of_the_sink(cluster: Cluster) -> Link:
    """The sink's way to PostgreSQL; what is done to a COMMIT is done to that of a batch, not to its relay's."""
    link = cluster.services.link("sink", "postgres")
    link.only_connections_with(b"sink_offsets")
    return link


def test_a_commit_whose_reply_is_lost_is_settled_through_the_offsets(cluster: Cluster) -> None:
    """Again and again: COMMIT reaches PostgreSQL, the connection is reset before the reply."""
    link = batches_of_the_sink(cluster)
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    for times in (1, 3, 3):
        link.lose_reply_to(COMMIT, times=times)
        wait_until(link.reply_lost, 60, "the replies are lost")
    load.stop()
    cluster.check()
    assert cluster.worker("sink").logged(SETTLED) >= 3
    assert cluster.value("SELECT sum(quarantined) FROM ledger.sink_offsets") == 0


@pytest.mark.long
def test_a_connection_that_is_half_open_at_commit_is_given_up(cluster: Cluster) -> None:
    """The reply never comes, and no reset either: the sink takes another connection by itself, and does not hang."""
    link = batches_of_the_sink(cluster)
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    link.freeze_after(COMMIT)
    wait_until(link.reply_lost, 60, "COMMIT has passed, its reply has not")
    # Never healed: only a new connection leads on.
    await_consumed(cluster, 1_000)
    load.stop()
    cluster.check()
    assert cluster.worker("sink").alive()
    assert cluster.revived == 0
    assert cluster.worker("sink").logged(SETTLED) >= 1


@pytest.mark.long
def test_a_commit_that_arrives_late_changes_nothing(cluster: Cluster) -> None:
    """The network holds a COMMIT until the sink has written its batch over another connection; then it passes it on.

    PostgreSQL has ended the transaction by then: it waits for less long than the sink does.
    """
    cluster.configure(database_timeout_seconds="4")
    link = batches_of_the_sink(cluster)
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    link.hold(COMMIT)
    wait_until(link.held, 60, "COMMIT is under way")
    await_consumed(cluster, 1_000)
    assert not link.passed_late()
    link.heal()
    wait_until(link.passed_late, 60, "COMMIT has arrived")
    await_consumed(cluster, 500)
    load.stop()
    cluster.check()
    assert cluster.worker("sink").logged(SETTLED) == 0
    assert cluster.revived == 0


@pytest.mark.long
def test_an_alert_whose_commit_is_in_doubt_is_stored_once(cluster: Cluster) -> None:
    """The same for the notifier, whose repeats the alert's id tells."""
    observed = Observed()
    cluster.start("notifier", **observed.setting("notifier"))
    thresholds = tuple(Decimal(one) for one in range(5, 76, 5))
    cluster.set_budgets(
        *(
            Budget(user_id=f"user-{one:03d}", monthly_budget=2 * 10**10, alert_thresholds=thresholds)
            for one in range(20)
        )
    )
    cluster.start("stream", "sink")
    link = cluster.services.link("notifier", "postgres")
    # Not its relay's.
    link.only_connections_with(b"ledger.alerts")
    load = cluster.load(rate=400, users=20)
    for times in (1, 2):
        link.lose_reply_to(COMMIT, times=times)
        wait_until(link.reply_lost, 60, "the replies are lost")
    link.freeze_after(COMMIT)
    wait_until(link.reply_lost, 60, "COMMIT has passed, its reply has not")
    load.stop()
    findings = cluster.check()
    assert findings.figures["alerts"] > 20
    assert observed.figures()[f"{NOTIFIER_REPEATED.name}_total"] > 0
