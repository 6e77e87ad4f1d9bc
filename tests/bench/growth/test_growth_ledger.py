"""How the ledgers of the curve `ledger` are filled, when the events of its loads are, and what is told of its runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from tests.bench.growth import ledger
from tests.bench.ledger_filler import HEAVY, OPERATIONS, fill, parts, plan
from tests.fixtures.fix_postgres import PostgresServer

from costledger.sinks.migrations import migrate
from costledger.sinks.queries import query

HEAVY_EVENTS = len(HEAVY) * len(OPERATIONS) * 24


@pytest.mark.parametrize(
    "day", [datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 12, 31, 23, 59, tzinfo=UTC)]
)
def test_loads_lie_in_the_last_full_month(day: datetime) -> None:
    """One after the other at its end, whatever day it is: the ledger is filled up to where they begin."""
    ends = ledger.load_ends(day, 24)
    assert ends[-1] == datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert {after - before for before, after in pairwise(ends)} == {timedelta(hours=2)}
    planned = plan(200_000, ends[0] - timedelta(hours=2), 30)
    in_month = sum(one.crowd for one in planned if (one.day.year, one.day.month) == (2026, 11))
    assert in_month > 0.9 * sum(one.crowd for one in planned)


def test_loads_that_would_fill_a_month_are_refused() -> None:
    """They would be most of what is in it."""
    with pytest.raises(ValueError, match="fewer runs or sizes"):
        ledger.load_ends(datetime(2026, 12, 1, tzinfo=UTC), 61)


def test_ratios_are_by_pairs_of_runs() -> None:
    """Median and range of the pairs' ratios, which are not those of the medians; medians beside them."""
    row = ledger.row_of(10, 30, 12, {"filled": [10.0, 90.0, 30.0], "empty": [20.0, 100.0, 30.0]})
    assert (row["rows"], row["days"], row["entries"]) == (10, 30, 12)
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == (0.9, 0.5, 1.0)
    assert (row["rate"], row["empty_rate"], row["runs"], row["empty_runs"]) == (30, 30, "10 90 30", "20 100 30")


def test_a_further_plan_goes_on_where_the_last_one_ended() -> None:
    """The same days, and numbers that none of its events had: positions and ids come from them."""
    now = datetime(2026, 10, 30, 6, tzinfo=UTC)
    first = plan(100_000, now, 30)
    end = first[-1].first + first[-1].crowd + HEAVY_EVENTS
    further = plan(50_000, now, 30, end)
    assert further[0].first == end
    assert [one.day for one in further] == [one.day for one in first]
    ends = [one.first + one.crowd + HEAVY_EVENTS for one in further]
    assert [one.first for one in further[1:]] == ends[:-1]


@pytest.mark.parametrize(("days", "count"), [(1, 1), (20, 2), (30, 4), (395, 14)])
def test_parts_have_each_day_once_and_roll_up_whole_months(days: int, count: int) -> None:
    """Nothing between two parts, nothing twice; what sinks wrote before the first day or after the last is rolled up, too."""
    planned = plan(HEAVY_EVENTS * days + 10_000, datetime(2026, 10, 20, 23, tzinfo=UTC), days)
    made = parts(planned)
    assert [day for part in made for day in part.days] == planned
    assert len(made) == count
    assert made[0].first == planned[0].day.replace(day=1)
    assert made[-1].end == date(2026, 11, 1)
    assert [part.end for part in made[:-1]] == [part.first for part in made[1:]]
    assert all(part.first <= part.days[0].day and part.days[-1].day < part.end for part in made)


def test_a_ledger_can_be_filled_further(postgres: PostgresServer) -> None:
    """Also when a sink has written another topic into it: roll-ups are the sums of all entries, positions have no gap."""
    url = postgres.create_database()
    migrate(url)
    now = datetime(2026, 10, 20, 6, tzinfo=UTC)
    once = fill(url, 5_000, now, seed=1, days=3, say=lambda _line: None)
    with psycopg.connect(url, autocommit=True) as connection:
        # A sink's entries, after the filler's last day.
        connection.execute(
            "INSERT INTO ledger.entries (event_id, occurred_at, kafka_topic, kafka_partition, kafka_offset, user_id, "
            "service, operation, unit, quantity, amount, category, currency, source, metadata) "
            "VALUES (ledger.uuid7_floor('2026-10-25 12:00Z'), '2026-10-25 12:00Z', 'other', 0, 0, 'user-00000', 'openai', "
            "'input-tokens', 'token', 1, 2, 'USAGE', 'USD', 'bench', '{}')"
        )
        connection.execute(
            "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, consumed, inserted) "
            "VALUES ('other', 0, 1, 7, 0, 1, 1)"
        )
    further = fill(url, 4_000, now, seed=1, days=3, say=lambda _line: None)
    assert once <= 5_000
    assert 3_900 < further - once - 1 <= 4_000
    with psycopg.connect(url) as connection:
        for name in ("compare_hourly", "compare_daily"):
            assert connection.execute(query(name)).fetchall() == []
        ((entries, places),) = connection.execute(
            "SELECT count(*), count(DISTINCT (kafka_topic, kafka_partition, kafka_offset)) FROM ledger.entries"
        ).fetchall()
        rows = connection.execute(
            "SELECT topic, partition, next_offset, consumed, inserted, (SELECT count(*) FROM ledger.entries AS e "
            "WHERE e.kafka_topic = o.topic AND e.kafka_partition = o.partition AND kafka_offset < next_offset), epoch "
            "FROM ledger.sink_offsets AS o"
        ).fetchall()
    assert entries == places == further
    assert len(rows) == 12 + 1
    assert all(len(set(row[2:6])) == 1 for row in rows)
    assert [row[6] for row in rows if row[0] == "other"] == [7]
