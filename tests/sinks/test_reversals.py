"""Entries that take another one back: totals are net, and what may be rated again is found."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, make_event, random_events

from costledger.schemas.errors import InvalidValue, Unavailable
from costledger.schemas.event_reading import of_record
from costledger.schemas.events import CostEvent
from costledger.schemas.ids import derived_event_id
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.candidates import Window, alone, candidates, ids_in_ledger, recorded_since
from costledger.sinks.database import connect
from costledger.sinks.lag import behind, wait_until_written
from costledger.sinks.migrations import migrate
from costledger.sinks.reconcile import reconcile
from costledger.sinks.totals import NO_MAXIMUM, daily, hourly

HOUR_US = 3_600_000_000


def reversal_of(event: CostEvent) -> CostEvent:
    """The entry that takes an event back."""
    occurred_at_us = to_microseconds(event.occurred_at)
    return replace(
        event,
        event_id=derived_event_id(occurred_at_us, "reversal", str(event.event_id)),
        quantity=-event.quantity,
        amount=None if event.amount is None else -event.amount,
        reverses_event_id=event.event_id,
    )


def corrections_of(events: list[CostEvent], rng: random.Random) -> list[CostEvent]:
    """About half of the events taken back, and of those about half said anew with a price."""
    made = []
    for event in events:
        if rng.random() < 0.5:
            made.append(reversal_of(event))
            if rng.random() < 0.5:
                again = derived_event_id(to_microseconds(event.occurred_at), "again", str(event.event_id))
                made.append(replace(event, event_id=again, amount=rng.randrange(10**12)))
    return made


@pytest.fixture
def write(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running]
) -> Callable[[list[CostEvent]], None]:
    """Events through the topic and a sink into the ledger."""

    def write(events: list[CostEvent]) -> None:
        topic.send(events)
        sink = start_sink(settings)
        wait_until(lambda: ledger.consumed() == topic.produced, 30, "all offsets are in the ledger")
        assert sink.stop() == 0

    return write


def test_the_sums_of_an_event_and_its_reversal_are_zero() -> None:
    """In every column, priced or not, hourly and daily; but what the largest amount was stays known."""
    for amount in (None, 5):
        event = make_event("ann", amount=amount)
        by_hour = hourly(of_record(one.to_record()) for one in (event, reversal_of(event)))
        assert (
            list(by_hour.values())
            == list(daily(by_hour).values())
            == [[0, 0, 0, 0, NO_MAXIMUM if amount is None else amount]]
        )


def test_the_roll_ups_are_net(
    settings: Settings, ledger: Ledger, seed: int, write: Callable[[list[CostEvent]], None]
) -> None:
    """Against a model: a call that was taken back is no event, and none without a price. Reconcile agrees."""
    rng = random.Random(seed)
    events = random_events(seed, 400, users=5)
    events += [replace(event, amount=None, event_id=UUID(int=event.event_id.int ^ 1)) for event in events[:50]]
    corrections = corrections_of(events, rng)
    taken_back = {event.reverses_event_id for event in corrections}
    # Some of them in the same batch as what they take back, and twice.
    write([*events, *corrections[:50]])
    write([*corrections, *corrections[:10]])
    ledger.assert_consistent()

    wanted: dict[tuple[str, int, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 4)
    for event in [*events, *corrections]:
        if event.event_id in taken_back or event.reverses_event_id is not None:
            continue
        key = (event.user_id, to_microseconds(event.occurred_at) // HOUR_US, event.service, event.operation)
        values = (1, event.amount is None, Decimal(event.quantity) / 10**9, Decimal(event.amount or 0) / 10**12)
        wanted[key] = [kept + value for kept, value in zip(wanted[key], values, strict=True)]
    rows = ledger.all(
        "SELECT user_id, (extract(epoch FROM hour) / 3600)::int, service, operation, events, unpriced, quantity, amount "
        "FROM ledger.hourly_totals WHERE events <> 0 OR unpriced <> 0 OR quantity <> 0 OR amount <> 0"
    )
    assert {tuple(row[:4]): list(row[4:]) for row in rows} == dict(wanted)

    report = reconcile(settings, with_redis=False)
    assert report.ok
    unpriced = sum(sums[1] for sums in wanted.values())
    assert unpriced > 0
    assert report.total("unpriced") == unpriced
    # The sink's own counter goes by rows.
    assert ledger.counters()["unpriced"] == ledger.one("SELECT count(*) FROM ledger.entries WHERE amount IS NULL")
    assert ledger.one("SELECT count(*) FROM analyst.costs WHERE unpriced") == unpriced
    assert ledger.one('SELECT count(*) FROM analyst.focus WHERE "x_Unpriced"') == unpriced
    assert ledger.one("SELECT sum(unpriced) FROM analyst.costs_daily") == unpriced
    assert ledger.one("SELECT sum(events) FROM analyst.costs_daily") == sum(sums[0] for sums in wanted.values())


def test_a_wrong_count_of_events_is_found(
    settings: Settings, ledger: Ledger, write: Callable[[list[CostEvent]], None]
) -> None:
    """Roll-ups that count a reversing entry as one event more do not reconcile."""
    event = make_event("ann", amount=None)
    write([event, reversal_of(event)])
    assert reconcile(settings, with_redis=False).ok
    ledger.connection.execute("UPDATE ledger.hourly_totals SET events = 2, unpriced = 2")
    ledger.connection.execute("UPDATE ledger.daily_totals SET events = 2, unpriced = 2")
    report = reconcile(settings, with_redis=False)
    assert [check.name for check in report.checks if check.differences] == ["ledger_hourly"]


def test_the_migration_adds_up_anew_what_was_counted_the_other_way(
    settings: Settings, ledger: Ledger, seed: int, write: Callable[[list[CostEvent]], None]
) -> None:
    """Roll-ups of an earlier release, which counted every entry as an event, are put right; others stay untouched."""
    events = random_events(seed, 200, users=5)
    # Where hours and days begin and end, and ids have a time a little off.
    edge = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
    for offset_us in (-1, 0, 1, HOUR_US - 1, HOUR_US):
        at = edge + timedelta(microseconds=offset_us)
        early = derived_event_id(to_microseconds(at) - 900_000, str(offset_us))
        events.append(make_event("ann", amount=None, occurred_at=at, event_id=early))
    write([*events, *corrections_of(events, random.Random(seed)), *map(reversal_of, events[-2:])])
    periods = {
        ("hourly_totals", "hour"): "date_trunc('hour', occurred_at, 'UTC')",
        ("daily_totals", "day"): "(occurred_at AT TIME ZONE 'UTC')::date",
    }
    for (table, column), period in periods.items():
        statement = (
            f"UPDATE ledger.{table} AS t SET events = n.events, unpriced = n.unpriced FROM (SELECT user_id, service, "
            f"operation, {period} AS period, count(*) AS events, count(*) FILTER (WHERE amount IS NULL) AS unpriced "
            f"FROM ledger.entries GROUP BY 1, 2, 3, 4) AS n WHERE (t.user_id, t.service, t.operation, t.{column}) = "
            "(n.user_id, n.service, n.operation, n.period)"
        )
        ledger.connection.execute(statement.encode())
    assert not reconcile(settings, with_redis=False).ok
    for _ in range(2):
        ledger.connection.execute("DELETE FROM public._yoyo_migration WHERE migration_id = '0008_reversals'")
        assert migrate(ledger.url) == ["0008_reversals"]
        ledger.assert_consistent()
        assert reconcile(settings, with_redis=False).ok


def test_what_takes_an_entry_back_is_found_by_an_index(ledger: Ledger) -> None:
    """Also in partitions that are made later."""
    ledger.connection.execute("SELECT ledger.ensure_partitions('2031-01-01', '2031-01-01')")
    assert ledger.one(
        "SELECT count(*) FROM pg_indexes WHERE tablename = 'entries_2031_01' AND indexdef ~ %s",
        r"\(reverses_event_id\)",
    )


def test_both_entries_of_a_correction_are_corrections_in_the_focus_view(
    ledger: Ledger, write: Callable[[list[CostEvent]], None]
) -> None:
    """The original is not: it was charged so."""
    event = make_event("ann", amount=None)
    again = replace(event, event_id=derived_event_id(to_microseconds(event.occurred_at), "n"), amount=7)
    again = replace(again, metadata={"rerated_from": str(event.event_id)})
    write([event, reversal_of(event), again])
    rows = ledger.all(
        'SELECT "ChargeClass", "x_Unpriced", count(*) FROM analyst.focus GROUP BY 1, 2 ORDER BY "ChargeClass"'
    )
    assert rows == [("Correction", False, 2), (None, False, 1)]


def test_candidates_are_what_a_price_book_may_be_asked_about(
    ledger: Ledger, write: Callable[[list[CostEvent]], None]
) -> None:
    """In the window, unpriced or priced by a book, no reversing entry; read in pages of any size, each once."""
    start = datetime(2026, 10, 31, 23, tzinfo=UTC)
    end = start + timedelta(hours=2)

    def at(seconds: float, **other: object) -> CostEvent:
        return make_event("ann", occurred_at=start + timedelta(seconds=seconds), **other)

    inside = [
        at(0),
        at(0, amount=None, price_version=None),
        *(at(seconds) for seconds in range(1, 7198, 600)),
        at(7199),
    ]
    # The time in an id may be a second off.
    late_id = derived_event_id(to_microseconds(start) - 900_000, "early")
    inside.append(at(0, event_id=late_id))
    taken_back = inside[3]
    outside = [
        at(-0.000001),
        at(7200),
        at(5, price_version=None),
        reversal_of(taken_back),
        at(9, reverses_event_id=UUID(int=9)),
    ]
    others = [replace(at(7), user_id="bob"), replace(at(8), service="maps")]
    write([*inside, *outside, *others])

    connection = connect(ledger.url, "test", 10)
    with connection:
        for page_entries in (1, 3, 5, 1000):
            pages = list(candidates(connection, Window(start, end), page_entries))
            assert all(len(page) == page_entries for page in pages[:-1])
            found = [candidate for page in pages for candidate in page]
            assert sorted(one.record["event_id"] for one in found) == sorted(
                str(event.event_id) for event in [*inside, *others]
            )
            assert {one.record["event_id"]: one.reversed_by for one in found if one.reversed_by} == {
                str(taken_back.event_id): (str(reversal_of(taken_back).event_id),)
            }
        records = {one.record["event_id"]: one.record for one in found}
        for event in inside:
            record = records[str(event.event_id)]
            assert record == {**event.to_record(), "unit_price": record["unit_price"]}
            assert Decimal(record["unit_price"]) == Decimal(event.unit_price or 0)

        def users(window: Window) -> set[tuple[str, str]]:
            return {(c.record["user_id"], c.record["service"]) for page in candidates(connection, window) for c in page}

        assert users(Window(start, end, user_id="bob")) == {("bob", "aws-rekognition")}
        assert users(Window(start, end, service="maps")) == {("ann", "maps")}
        ids = [str(inside[0].event_id), str(UUID(int=1))]
        assert ids_in_ledger(connection, ids) == set(ids[:1])
        assert ids_in_ledger(connection, []) == set()
        whole = Window(start - timedelta(days=1), end + timedelta(days=1))
        since = datetime.now(UTC) - timedelta(hours=1)
        assert recorded_since(connection, whole, since, "request") == len([*inside, *outside, *others])
        assert recorded_since(connection, whole, since, "rerated_from") == 0
        assert recorded_since(connection, whole, datetime.now(UTC) + timedelta(hours=1), "request") == 0


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    """By name."""
    now = datetime.now(UTC)
    with pytest.raises(InvalidValue, match="it must be after from"):
        Window(now, now)


def test_only_one_rates_again_at_a_time(ledger: Ledger) -> None:
    """A second one is told so at once; the end of the first, also of its connection, lets the next one in."""
    first, second = connect(ledger.url, "first", 10), connect(ledger.url, "second", 10)
    with second:
        with first:
            with alone(first), pytest.raises(Unavailable, match="another process"), alone(second):
                pass
            with alone(second):
                pass
            keeping = alone(first)
            keeping.__enter__()
            ((backend,),) = first.execute("SELECT pg_backend_pid()").fetchall()
        # The server lets go of a session's locks a moment after its connection has closed.
        wait_until(lambda: not ledger.all("SELECT FROM pg_stat_activity WHERE pid = %s", backend), 10, "its end")
        with alone(second):
            pass


def test_lag_is_what_the_sink_has_not_written(
    settings: Settings, ledger: Ledger, topic: Topic, write: Callable[[list[CostEvent]], None]
) -> None:
    """By offsets of the ranges given; waiting ends with none left, with the time, or when told so."""
    write([make_event("ann")] * 3)
    with connect(ledger.url, "test", 10) as connection:
        (partition, next_offset), *_ = ledger.all(
            "SELECT partition, next_offset FROM ledger.sink_offsets WHERE next_offset > 0"
        )
        assert behind(connection, topic.name, {partition: (0, next_offset)}) == 0
        assert behind(connection, topic.name, {partition: (0, next_offset + 2), 99: (3, 10)}) == 9
        asked: list[int] = []

        def ranges() -> dict[int, tuple[int, int]]:
            asked.append(1)
            return {partition: (0, next_offset + max(0, 3 - len(asked)))}

        assert wait_until_written(connection, topic.name, ranges, 10) == 0
        assert len(asked) == 3
        assert wait_until_written(connection, topic.name, lambda: {99: (0, 1)}, 0) == 1
        assert wait_until_written(connection, topic.name, lambda: {99: (0, 1)}, 60, lambda: True) == 1
