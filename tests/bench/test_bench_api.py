"""The moment that the benchmark of the API reads at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.bench.bench_api import full_periods


@pytest.mark.parametrize(
    ("today", "moment"),
    [
        ("2026-12-01T00:00:00+00:00", "2026-11-27T20:00:00+00:00"),
        ("2026-11-30T23:59:59+00:00", "2026-10-30T20:00:00+00:00"),
        ("2024-03-15T12:00:00+00:00", "2024-02-23T20:00:00+00:00"),
        ("2026-12-01T01:00:00+14:00", "2026-10-30T20:00:00+00:00"),
    ],
)
def test_the_moment_is_the_last_friday_of_the_last_full_month(today: str, moment: str) -> None:
    """In UTC, where the day of the machine's own zone is another one."""
    assert full_periods(datetime.fromisoformat(today)) == datetime.fromisoformat(moment)


def test_every_day_has_a_moment_in_the_month_before() -> None:
    """With 21 days and more of its month, five of its week and 20 hours of its day behind it."""
    for day in range(800):
        today = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        moment = full_periods(today)
        assert (moment.year * 12 + moment.month) == today.year * 12 + today.month - 1
        assert moment.day > 21
        assert (moment.isoweekday(), moment.hour) == (5, 20)
