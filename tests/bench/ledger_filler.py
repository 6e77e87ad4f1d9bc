"""Fills a ledger with months of events in one go: entries, roll-ups and the sink's position, as a sink would leave them.

By SQL in the server, on two connections: some hundred thousand events a second, where a sink writes some ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg

from costledger.schemas.topics import EVENTS

FOLDER = Path(__file__).parent / "sql"
USERS = 5_000
PARTITIONS = 12
CONNECTIONS = 2
#: Users with every operation in every hour, by the zone of their budget.
HEAVY = {"heavy-utc": "UTC", "heavy-vienna": "Europe/Vienna", "heavy-kathmandu": "Asia/Kathmandu"}
TIERS = ("default", "free", "premium", "ultimate")
#: Service, operation, unit, USD per unit.
OPERATIONS = (
    ("openai", "input-tokens", "token", "0.0000025"),
    ("openai", "output-tokens", "token", "0.00001"),
    ("openai", "embedding-text-embedding-3-small", "token", "0.00000002"),
    ("aws-rekognition", "detectLabels", "image", "0.001"),
    ("aws-rekognition", "detectFaces", "image", "0.001"),
    ("aws-rekognition", "detectText", "image", "0.001"),
    ("aws-transcribe", "transcription", "minute", "0.024"),
    ("aws-comprehend", "detectSentiment", "100 characters", "0.0001"),
    ("aws-comprehend", "detectEntities", "100 characters", "0.0001"),
    ("aws-comprehend", "detectKeyPhrases", "100 characters", "0.0001"),
    ("aws-s3", "get", "request", "0.0000004"),
    ("aws-s3", "put", "request", "0.000005"),
    ("aws-s3", "transfer", "GB", "0.09"),
    ("internal", "cpu", "CPU hour", "0.10"),
    ("internal", "memory", "GB hour", "0.01"),
)
#: At weekends a day has half as many events.
_WEEKDAY_WEIGHTS = (10, 10, 10, 10, 10, 5, 5)
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """The events of a UTC day: how many of the crowd, the number of the first one, and the seconds that have passed."""

    day: date
    first: int
    crowd: int
    seconds: float


def plan(events: int, now: datetime, days: int, number: int = 0) -> list[Day]:
    """So many events (a few less, by rounding) over the days up to now, busier on weekdays; the first has this number."""
    today = now.astimezone(UTC).date()
    midnight = datetime.combine(today, time(), UTC)
    seconds = {today - timedelta(days=back): float(_SECONDS_PER_DAY) for back in range(days - 1, 0, -1)}
    seconds[today] = max(1.0, (now - midnight).total_seconds())
    of_heavy = len(HEAVY) * len(OPERATIONS) * 24
    crowd = events - of_heavy * days
    if crowd < days:
        raise ValueError(f"events is {events}; it must be {of_heavy * days + days} or more for {days} days")
    weights = {day: _WEEKDAY_WEIGHTS[day.weekday()] * length for day, length in seconds.items()}
    whole, first, planned = sum(weights.values()), number, []
    for day, length in seconds.items():
        count = max(1, int(crowd * weights[day] / whole))
        planned.append(Day(day, first, count, length))
        first += count + of_heavy
    return planned


def fill(url: str, events: int, now: datetime, *, seed: int, days: int, say: Callable[[str], None]) -> int:
    """Add so many events to the migrated ledger at `url` (a superuser's); returns how many entries it has then.

    It is empty, or was filled by this before, with days up to the same `now`; sinks may have written other topics into the
    months of these days. Positions go on where they ended, roll-ups are made anew from all entries of these months.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        filled = _filled(connection)
        planned = plan(events, now, days, filled)
        end_day = planned[-1].day + timedelta(days=1)
        connection.execute("SELECT ledger.ensure_partitions(%s, %s)", (planned[0].day, end_day))
        _name_users(connection)
        for table in ("hourly_totals", "daily_totals"):
            # Made at the end: sorting once is several times faster than inserting in any order.
            connection.execute(f"ALTER TABLE ledger.{table} DROP CONSTRAINT {table}_pkey".encode())
            connection.execute(f"TRUNCATE ledger.{table}".encode())
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in pool.map(lambda part: _fill_part(url, part, seed + filled), parts(planned)):
            say(f"  filled {done}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        for table, period in (("hourly_totals", "hour"), ("daily_totals", "day")):
            key = f"ALTER TABLE ledger.{table} ADD PRIMARY KEY (user_id, {period}, service, operation)"
            connection.execute(key.encode())
        connection.execute((FOLDER / "fill_offsets.sql").read_bytes(), {"topic": EVENTS})
        connection.execute("VACUUM (ANALYZE) ledger.hourly_totals, ledger.daily_totals, ledger.entries, ledger.users")
        row = connection.execute("SELECT sum(inserted)::bigint FROM ledger.sink_offsets").fetchone()
    return 0 if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class Part:
    """What one connection fills: some days, and the days from `first` until before `end`, whose roll-ups it makes."""

    days: list[Day]
    first: date
    end: date


def parts(planned: list[Day]) -> list[Part]:
    """A part for each month, or two where else connections would be idle; the roll-ups of all parts are those of whole months."""
    months = [[day for day in planned if (day.day.year, day.day.month) == month] for month in _months(planned)]
    if len(months) < 2 * CONNECTIONS:
        months = [half for days in months for half in (days[: len(days) // 2], days[len(days) // 2 :]) if half]
    firsts = [days[0].day for days in months]
    firsts[0] = firsts[0].replace(day=1)
    end = (planned[-1].day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return [Part(*part) for part in zip(months, firsts, [*firsts[1:], end], strict=True)]


def _filled(connection: psycopg.Connection[Any]) -> int:
    """How many events this has filled the ledger with before: their positions have no gap."""
    query = "SELECT coalesce(sum(next_offset), 0) FROM ledger.sink_offsets WHERE topic = %s"
    ((offsets,),) = connection.execute(query, (EVENTS,)).fetchall()
    return int(offsets)


def _fill_part(url: str, part: Part, seed: int) -> str:
    services, operations, units, prices = zip(*OPERATIONS, strict=True)
    parameters: dict[str, Any] = {
        "services": list(services),
        "operations": list(operations),
        "units": list(units),
        "prices": list(prices),
        "count": len(OPERATIONS),
        "heavy": list(HEAVY),
        "users": USERS,
        "partitions": PARTITIONS,
        "topic": EVENTS,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '512MB'")
        for day in part.days:
            connection.execute("SELECT setseed(%s)", ((seed + day.day.toordinal()) % 1000 / 1000,))
            values = {"day": day.day, "first": day.first, "crowd": day.crowd, "seconds": day.seconds}
            connection.execute((FOLDER / "fill_entries.sql").read_bytes(), {**parameters, **values})
        span = {"first": part.first, "end": part.end}
        for name in ("fill_hourly", "fill_daily"):
            connection.execute((FOLDER / f"{name}.sql").read_bytes(), span)
    return f"{part.days[0].day} to {part.days[-1].day}"


def _name_users(connection: psycopg.Connection[Any]) -> None:
    """Tiers and zones: of the crowd every second user has a tier, and stays in UTC."""
    rows = [(f"user-{number:05d}", TIERS[number % len(TIERS)], "UTC") for number in range(0, USERS, 2)]
    rows += [(user, "ultimate", zone) for user, zone in HEAVY.items()]
    with connection.cursor() as cursor:
        query = "INSERT INTO ledger.users (user_id, tier, time_zone) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        cursor.executemany(query, rows)


def _months(planned: list[Day]) -> Iterator[tuple[int, int]]:
    seen = dict.fromkeys((day.day.year, day.day.month) for day in planned)
    return iter(seen)
