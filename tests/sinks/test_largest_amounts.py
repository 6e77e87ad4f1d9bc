"""The largest amount of one event in the roll-ups: kept by the sink, checked by reconcile, added by the migration."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.wait import wait_until
from tests.sinks.analytics.filling import write_events
from tests.sinks.analytics.modelling import reversal_of
from tests.sinks.conftest import Ledger, Running, Topic, make_event, random_events

from costledger.schemas.event_reading import of_record
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX
from costledger.schemas.settings import Settings
from costledger.sinks.migrations import migrate
from costledger.sinks.reconcile import reconcile
from costledger.sinks.totals import NO_MAXIMUM, as_arrays, daily, hourly

MIGRATION = "0012_largest_amount"
amounts = st.one_of(st.none(), st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX))


@given(st.lists(st.tuples(amounts, st.booleans(), st.integers(0, 30)), min_size=1, max_size=8))
def test_the_maximum_is_that_of_the_events_that_take_nothing_back(
    events: list[tuple[int | None, bool, int]],
) -> None:
    """Of an hour and of a day; none where no such event has a price. Also below zero, and up to what an amount can be."""
    records = []
    for amount, reverses, hour in events:
        at = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=hour)
        record = make_event("ann", amount=amount, occurred_at=at).to_record()
        record["reverses_event_id"] = record["event_id"] if reverses else None
        records.append((hour, amount, reverses, record))
    by_hour = hourly(of_record(record) for *_, record in records)
    for unit, totals in ((1, by_hour), (24, daily(by_hour))):
        wanted: dict[int, int] = {}
        for hour, amount, reverses, _ in records:
            known = wanted.setdefault(hour // unit, NO_MAXIMUM)
            if amount is not None and not reverses:
                wanted[hour // unit] = max(known, amount)
        first = min(number for _, number, _, _ in totals) - min(wanted)
        assert {number - first: sums[4] for (_, number, _, _), sums in totals.items()} == wanted
        texts = ["NULL" if wanted[key] == NO_MAXIMUM else str(wanted[key]) for key in sorted(wanted)]
        assert as_arrays(totals)["maxima"] == "{" + ", ".join(texts) + "}"


def test_a_maximum_grows_and_never_falls(ledger: Ledger) -> None:
    """Batch by batch; null until an event has a price; credits may be the largest there is."""
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)

    def largest() -> list[Decimal | None]:
        return [
            ledger.one("SELECT max_amount FROM ledger.hourly_totals"),
            ledger.one("SELECT max_amount FROM ledger.daily_totals"),
        ]

    high = make_event("ann", amount=7, occurred_at=at)
    for event, wanted in (
        (make_event("ann", amount=None, occurred_at=at), None),
        (make_event("ann", amount=-5, occurred_at=at), Decimal("-0.000000000005")),
        (high, Decimal("0.000000000007")),
        (make_event("ann", amount=3, occurred_at=at), Decimal("0.000000000007")),
        (reversal_of(high), Decimal("0.000000000007")),
    ):
        write_events(ledger.connection, [event])
        assert largest() == [wanted, wanted]
        ledger.assert_consistent()


def test_the_sink_keeps_maxima_and_reconcile_checks_them(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running], seed: int
) -> None:
    """A wrong or a missing one is a difference, though no sum differs."""
    topic.send(random_events(seed, 300, users=3))
    sink = start_sink(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "all offsets are in the ledger")
    assert sink.stop() == 0
    ledger.assert_consistent()
    assert reconcile(settings, with_redis=False).ok
    for table, value, checks in (
        ("daily_totals", "max_amount + 0.000000000001", {"hourly_daily"}),
        ("hourly_totals", "NULL", {"ledger_hourly", "hourly_daily"}),
    ):
        statement = (
            f"UPDATE ledger.{table} SET max_amount = {value} WHERE ctid = "
            f"(SELECT ctid FROM ledger.{table} WHERE max_amount > 0 ORDER BY max_amount DESC LIMIT 1)"
        )
        ledger.connection.execute(statement.encode())
        report = reconcile(settings, with_redis=False)
        assert {check.name for check in report.checks if check.differences} == checks
        assert report.difference_picodollars == 0
        assert any("the largest" in line for check in report.checks for line in check.examples)
        apply_again(ledger)
        assert reconcile(settings, with_redis=False).ok


def test_the_migration_finds_the_maxima_of_what_is_there(ledger: Ledger, seed: int) -> None:
    """Of a ledger that has none yet, and of one that has them already: it can be repeated."""
    events = random_events(seed, 400, users=4)
    write_events(ledger.connection, [*events, *map(reversal_of, random.Random(seed).sample(events, 100))])
    for _ in range(2):
        for table in ("hourly_totals", "daily_totals"):
            ledger.connection.execute(f"ALTER TABLE ledger.{table} DROP COLUMN max_amount".encode())
        for _ in range(2):
            apply_again(ledger)
            ledger.assert_consistent()


def apply_again(ledger: Ledger) -> None:
    """Run the migration, as after a crash before its mark."""
    ledger.connection.execute("DELETE FROM public._yoyo_migration WHERE migration_id = %s", (MIGRATION,))
    assert migrate(ledger.url) == [MIGRATION]
