"""F12 and F16: clocks that are wrong or jump, months that end at other instants, and events that come weeks late."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.oracle import REFUSED, Record

from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_event

pytestmark = pytest.mark.fault
USD: Final = 10**12
DAY_SECONDS: Final = 86_400
USERS: Final = 40
#: All that months and hours can be: from 14 hours ahead to 11 behind, half hours, both directions of daylight saving.
ZONES: Final = (
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kolkata",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/New_York",
    "Europe/Berlin",
    "UTC",
)
#: Of all these zones together some clock was set forward and some was set back by then, whatever the day.
LOOK_BACK_DAYS: Final = 350
#: The most that can be set; as shipped, real-time totals are kept for 40 days.
HORIZON_DAYS: Final = 366


def set_budgets_in_zones(cluster: Cluster) -> None:
    """A budget that the loads of this file reach for every user, in turn in all zones."""
    thresholds = (Decimal(1), Decimal(10), Decimal(100))
    cluster.set_budgets(
        *(
            Budget(
                user_id=f"user-{number:03d}",
                monthly_budget=USD // 200,
                alert_thresholds=thresholds,
                time_zone=ZONES[number % len(ZONES)],
            )
            for number in range(USERS)
        )
    )


def month_beginnings(now: datetime) -> set[int]:
    """Where this month began in each zone; Unix seconds."""
    days = (now.astimezone(ZoneInfo(name)).replace(day=1, hour=0, minute=0, second=0, microsecond=0) for name in ZONES)
    return {int(day.timestamp()) for day in days}


def clock_changes(now: datetime) -> dict[int, timedelta]:
    """Where clocks were changed within so many days, in whatever zone (Unix seconds), and by how much."""
    changes = {}
    for name in ZONES:
        zone = ZoneInfo(name)
        hour = now.replace(minute=0, second=0, microsecond=0)
        offset = hour.astimezone(zone).utcoffset() or timedelta()
        for _ in range(24 * LOOK_BACK_DAYS):
            earlier = hour - timedelta(hours=1)
            earlier_offset = earlier.astimezone(zone).utcoffset() or timedelta()
            if earlier_offset != offset:
                changes[int(hour.timestamp())] = offset - earlier_offset
            hour, offset = earlier, earlier_offset
    return changes


def check_late_marks(cluster: Cluster) -> int:
    """Every alert about a period that was over when its event came is marked late, and no other; how many are."""
    wrong = cluster.connection.execute(
        """
        SELECT kind, user_id, period_start, period_end, raised_at, late FROM ledger.alerts
        WHERE state = 'ALARM' AND late <> (raised_at >= period_end)
        """
    ).fetchall()
    assert not wrong, f"{len(wrong)} alerts are marked wrongly: {wrong[:5]}"
    return int(cluster.value("SELECT count(*) FROM ledger.alerts WHERE late AND kind = 'BUDGET_THRESHOLD'"))


def check_month_alerts(cluster: Cluster) -> None:
    """Every month of every user that reached a threshold was told once, in the zone of the user's budget: plain SQL."""
    differing = cluster.connection.execute(
        """
        WITH months AS (
            SELECT e.user_id, date_trunc('month', e.occurred_at AT TIME ZONE b.time_zone) AS month, b.time_zone,
                   b.monthly_budget, b.alert_thresholds, sum(e.amount) AS spent
            FROM ledger.entries AS e JOIN ledger.budgets AS b USING (user_id)
            WHERE e.amount IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5
        ), expected AS (
            SELECT user_id, month AT TIME ZONE time_zone AS period_start,
                   (month + interval '1 month') AT TIME ZONE time_zone AS period_end, percent
            FROM months, unnest(alert_thresholds) AS percent
            WHERE spent * 100 >= monthly_budget * percent
        ), told AS (
            SELECT user_id, period_start, period_end, threshold_percent AS percent, count(*) AS times
            FROM ledger.alerts WHERE kind = 'BUDGET_THRESHOLD' GROUP BY 1, 2, 3, 4
        )
        SELECT * FROM expected FULL JOIN told USING (user_id, period_start, period_end, percent)
        WHERE times IS DISTINCT FROM 1 OR expected IS NULL
        """
    ).fetchall()
    assert not differing, f"{len(differing)} thresholds of months: {differing[:5]}"


def refused_ids(record: Record) -> set[str]:
    """The ids of what the oracle says must be put aside."""
    return {attempt.fields[0] for attempt in record.attempts() if attempt.kind == REFUSED}


@pytest.mark.long
def test_a_producers_clock_that_is_a_day_wrong_and_jumps(cluster: Cluster) -> None:
    """What is dated more than ten minutes ahead of the broker is put aside by name; everything else is in its bucket."""
    cluster.start("notifier")
    set_budgets_in_zones(cluster)
    cluster.start("stream", "sink")
    shifts = (0, DAY_SECONDS, -DAY_SECONDS, 300, -3_600, 0)
    load = cluster.load(events=6_000, rate=1_000, clock_shifts_seconds=shifts)
    load.finish()
    cluster.check()
    ahead = cluster.connection.execute("SELECT reason, error, payload FROM ledger.quarantine").fetchall()
    refused = refused_ids(load.record)
    assert {decode_event(payload)["event_id"] for _, _, payload in ahead} == refused
    assert len(refused) >= 500
    assert all("10 minutes ahead of the broker's clock" in error for _, error, _ in ahead)
    check_late_marks(cluster)
    check_month_alerts(cluster)


@pytest.mark.long
def test_month_ends_in_a_budgets_own_zone_while_the_stream_worker_dies(cluster: Cluster) -> None:
    """Events on both sides of each zone's month end and clock changes; each month is told by itself, late ones as late."""
    cluster.configure(horizon_days=str(HORIZON_DAYS))
    cluster.start("notifier")
    set_budgets_in_zones(cluster)
    cluster.start("stream", "sink")
    now = datetime.now(UTC)
    changes = clock_changes(now)
    assert {change > timedelta() for change in changes.values()} == {True, False}
    around = tuple(sorted(month_beginnings(now) | changes.keys()))
    load = cluster.load(rate=600, around=around, around_share=0.6, around_seconds=1_800)
    for _ in range(2):
        load.await_more(2_000)
        cluster.worker("stream").kill()
        cluster.start("stream")
    load.await_more(2_000)
    load.stop()
    cluster.check()
    assert check_late_marks(cluster) >= USERS
    check_month_alerts(cluster)


@pytest.mark.long
def test_events_that_come_up_to_five_weeks_late_and_shuffled(cluster: Cluster) -> None:
    """Each is in its hour, day and month; alerts about months that are over say that they are late."""
    cluster.start("notifier")
    set_budgets_in_zones(cluster)
    cluster.start("stream", "sink")
    load = cluster.load(rate=800, late_share=1.0, late_days_max=35, repeat_share=0.05)
    load.await_more(2_000)
    for name in ("sink", "stream"):
        cluster.worker(name).kill()
        cluster.start(name)
    load.await_more(2_000)
    load.stop()
    cluster.check()
    oldest = cluster.value("SELECT extract(epoch FROM min(occurred_at))::bigint FROM ledger.entries")
    assert oldest < time.time() - 34 * DAY_SECONDS
    assert check_late_marks(cluster) >= USERS
    check_month_alerts(cluster)
