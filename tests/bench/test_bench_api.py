"""The moment that the benchmark of the API reads at, and the server that is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.bench.bench_api import PROGRAMS, address_of, full_periods
from tests.bench.processes import running
from tests.fixtures.fix_api import API_KEY, NO_KAFKA, bearer

from costledger.schemas.times import parse_time


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


def test_the_server_answers_as_of_the_moment(api_database: str, redis_url: str, tmp_path: Path) -> None:
    """The process that is measured, and not the clock of the machine."""
    moment = datetime(2024, 2, 23, 20, tzinfo=UTC)
    settings = {
        "COSTLEDGER_BOOTSTRAP_SERVERS": NO_KAFKA,
        "COSTLEDGER_DATABASE_URL": api_database,
        "COSTLEDGER_REDIS_URL": redis_url,
        "COSTLEDGER_API_PORT": "0",
        "COSTLEDGER_API_TOKEN_KEY": API_KEY,
    }
    with running("api", [str(PROGRAMS / "api_server.py"), moment.isoformat()], tmp_path, settings) as api:
        address = address_of(api.log_path, api.check)
        answer = httpx.get(f"{address}/api/analytics/costs", headers=bearer("ann"), timeout=10).json()
        api.stop()
    assert parse_time(answer["generated_at"]) == moment
