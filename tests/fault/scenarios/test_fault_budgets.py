"""F20: budgets that are raised, lowered and deleted while events come in."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_alert
from costledger.schemas.money import to_usd
from costledger.sinks.budgets import delete_budget, save_budget

pytestmark = pytest.mark.fault
USD: Final = 10**12
USERS: Final = 20
CHANGES: Final = 120
RATE: Final = 300
EVENTS_A_CHANGE: Final = 40
#: What was told so long before a death is in the state, which is written right after it.
UNSTORED_SECONDS_MAX: Final = 5.0
#: Percentages that a budget takes its thresholds from.
PERCENTS: Final = tuple(map(Decimal, (1, 5, 10, 25, 50, 75, 90, 100)))
#: What applies where no budget is set, in USD and percent; from the documentation.
DEFAULT_MONTHLY: Final = Decimal(10)
DEFAULT_PERCENTS: Final = (Decimal(75), Decimal(90), Decimal(100))


class Told(NamedTuple):
    """One alert of a threshold. Amounts in USD."""

    user_id: str
    version: int
    month: str
    percent: Decimal
    limit: Decimal
    actual: Decimal
    #: When Kafka took it (Unix seconds).
    told_at: float
    #: After a worker was killed.
    after_death: bool


class Death(NamedTuple):
    """Of a worker that was killed: when (Unix seconds), and where the partitions of the alerts topic then ended."""

    at: float
    ends: dict[int, int]

    def was_not_stored(self, told: Told) -> bool:
        """Whether an alert was told so shortly before that its state may not have been written."""
        return not told.after_death and told.told_at >= self.at - UNSTORED_SECONDS_MAX


class Limits(NamedTuple):
    """What a version of a budget says, with the defaults filled in."""

    monthly: Decimal
    percents: tuple[Decimal, ...]

    def reached(self, spent: Decimal) -> list[Decimal]:
        """The percentages that an amount reaches."""
        return [percent for percent in self.percents if spent > 0 and spent * 100 >= self.monthly * percent]


def change_some_budget(cluster: Cluster, chance: random.Random) -> None:
    """Raise, lower or delete the budget of one user."""
    user_id = f"user-{chance.randrange(USERS):03d}"
    if chance.random() < 0.2:
        delete_budget(cluster.connection, user_id)
        return
    thresholds = tuple(sorted(chance.sample(PERCENTS, chance.randrange(1, 5))))
    monthly = chance.randrange(1, 60) * USD
    save_budget(cluster.connection, Budget(user_id=user_id, monthly_budget=monthly, alert_thresholds=thresholds))


def told_in_order(cluster: Cluster, death: Death | None) -> list[Told]:
    """All alerts of thresholds on the topic, those of one user in the order in which they were decided."""
    told: dict[object, Told] = {}
    for message in cluster.reader.read(cluster.settings().topics.alerts):
        alert = decode_alert(message.value() or b"")
        if alert["kind"] == "BUDGET_THRESHOLD":
            month = alert["period_start"].strftime("%Y-%m")
            facts = (alert["user_id"], alert["budget_version"], month, alert["threshold_percent"])
            after = death is not None and message.offset() >= death.ends[message.partition()]
            amounts = to_usd(alert["limit"]), to_usd(alert["actual"])
            told.setdefault(alert["alert_id"], Told(*facts, *amounts, message.timestamp()[1] / 1000, after))
    return list(told.values())


def versions(cluster: Cluster) -> dict[str, dict[int, Limits]]:
    """Every version of every user's budget; 0 is the default, and what a deletion puts in force."""
    found: dict[str, dict[int, Limits]] = defaultdict(lambda: {0: Limits(DEFAULT_MONTHLY, DEFAULT_PERCENTS)})
    rows = cluster.connection.execute(
        "SELECT user_id, version, deleted, monthly_budget, alert_thresholds FROM ledger.budgets"
    )
    for user_id, version, deleted, monthly, percents in rows.fetchall():
        limits = found[user_id][0] if deleted else Limits(monthly, tuple(percents))
        found[user_id][version] = limits
    return found


def spent_in_open_months(cluster: Cluster) -> dict[tuple[str, str], Decimal]:
    """What each user has spent in the months (UTC) that are not over at the last event of all."""
    rows = cluster.connection.execute(
        """
        SELECT user_id, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, sum(amount)
        FROM ledger.entries
        GROUP BY 1, 2
        HAVING to_char(max(occurred_at) AT TIME ZONE 'UTC', 'YYYY-MM')
               = (SELECT to_char(max(received_at) AT TIME ZONE 'UTC', 'YYYY-MM') FROM ledger.entries)
        """
    )
    return {(user, month): spent for user, month, spent in rows.fetchall() if spent is not None}


def check_thresholds(cluster: Cluster, death: Death | None) -> None:
    """The promises about thresholds that hold in whatever order budgets and events meet.

    What was told and not yet in the state when a worker was killed is decided again, by the budget of then: the one thing that
    may be told under both versions.
    """
    told, known, spent = told_in_order(cluster, death), versions(cluster), spent_in_open_months(cluster)
    once = [(one.user_id, one.version, one.month, one.percent) for one in told]
    assert len(once) == len(set(once)), "a threshold of one version was told twice"
    highest: dict[tuple[str, str, Decimal], Told] = {}
    for one in told:
        limits = known[one.user_id][one.version]
        assert one.percent in limits.percents, f"no such threshold: {one}"
        # The least 1e-12 USD that reach the share.
        wanted = Fraction(limits.monthly) * Fraction(one.percent) / 100
        assert 0 <= Fraction(one.limit) - wanted < Fraction(1, USD), f"another limit than {wanted}: {one}"
        assert one.actual >= one.limit, f"not reached: {one}"
        assert one.actual <= spent.get((one.user_id, one.month), one.actual), f"more than was ever spent: {one}"
        before = highest.get((one.user_id, one.month, one.percent))
        again = before is not None and death is not None and death.was_not_stored(before) and one.after_death
        assert before is None or one.limit > before.limit or again, f"told before at {before.limit}: {one}"
        highest[one.user_id, one.month, one.percent] = one
    for (user_id, month), amount in spent.items():
        limits = known[user_id][max(known[user_id])]
        for percent in limits.reached(amount):
            at = highest.get((user_id, month, percent))
            assert at is not None, f"{user_id} reached {percent} % of {limits} with {amount}: not told"
            wanted = Fraction(limits.monthly) * Fraction(percent) / 100
            assert Fraction(at.limit) >= wanted, f"{user_id}: told only at {at.limit}"


@pytest.mark.long
@pytest.mark.parametrize("ends", ["stopped", "killed"])
def test_budgets_that_change_under_traffic_are_told_once_and_in_full(cluster: Cluster, ends: str) -> None:
    """Each threshold of a version once, none again at a lower amount, and in the end everything that is reached."""
    chance, death = random.Random(cluster.seed), None
    cluster.start("notifier", "stream", "stream-2", "sink")
    load = cluster.load(rate=RATE, users=USERS, amount_max=USD // 2, late_share=0.0)
    for change in range(CHANGES):
        load.await_more(EVENTS_A_CHANGE)
        change_some_budget(cluster, chance)
        if change == CHANGES // 2:
            wait_until(lambda: cluster.value("SELECT count(*) FROM ledger.alerts") > 0, 120, "the stream is at work")
            if ends == "killed":
                killed_at = time.time()
                cluster.worker("stream").kill()
                death = Death(killed_at, cluster.reader.ends(cluster.settings().topics.alerts))
            else:
                assert cluster.worker("stream").stop() == 0
            cluster.start("stream")
    load.stop()
    wait_until(lambda: cluster.value("SELECT count(*) FROM ledger.budget_outbox") == 0, 30, "Kafka has the budgets")
    findings = cluster.check(replay_alerts=False)
    assert findings.figures["alerts"] >= USERS
    check_thresholds(cluster, death)
