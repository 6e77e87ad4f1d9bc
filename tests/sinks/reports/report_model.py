"""A ledger filled with events by SQL, and a naive model of what a report must say of them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb
from tests.sinks.conftest import Ledger, make_event

from costledger.schemas.events import CostEvent
from costledger.schemas.money import from_nanounits, to_usd
from costledger.schemas.times import to_microseconds
from costledger.sinks.reports.content import FileUser, Line, Watermark, divided
from costledger.sinks.reports.periods import ReportPeriod

COMPLETE = Watermark(complete=True, missing=0, positions=((0, 7), (1, 3)))
KINDS = (
    ("openai", "input-tokens"),
    ("openai", "output-tokens"),
    ("aws-s3", "put"),
    ("aws-rekognition", "detectLabels"),
    ("internal", "processing"),
)
_COLUMNS = (
    "event_id, reverses_event_id, occurred_at, kafka_offset, kafka_partition, quantity, amount, unit_price, user_id, "
    "service, operation, category, unit, price_version, currency, source, kafka_topic, metadata"
)
_COUNT = "CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END"
_SUMS = (
    f"sum({_COUNT}), coalesce(sum({_COUNT}) FILTER (WHERE amount IS NULL), 0), sum(quantity), coalesce(sum(amount), 0)"
)


def fill(ledger: Ledger, events: Iterable[CostEvent]) -> None:
    """Put events into the ledger as the sink would: entries, and roll-ups that are their GROUP BY."""
    rows = [
        (
            event.event_id,
            event.reverses_event_id,
            event.occurred_at,
            number,
            0,
            from_nanounits(event.quantity),
            None if event.amount is None else to_usd(event.amount),
            event.unit_price,
            event.user_id,
            event.service,
            event.operation,
            str(event.category),
            event.unit,
            event.price_version,
            event.currency,
            event.source,
            "filled",
            Jsonb(dict(event.metadata)),
        )
        for number, event in enumerate(events)
    ]
    with ledger.connection.cursor() as cursor, ledger.connection.transaction():
        cursor.executemany(f"INSERT INTO ledger.entries ({_COLUMNS}) VALUES ({', '.join(['%s'] * 18)})", rows)
        for table, period in (
            ("hourly_totals", "date_trunc('hour', occurred_at, 'UTC')"),
            ("daily_totals", "(occurred_at AT TIME ZONE 'UTC')::date"),
        ):
            cursor.execute(f"DELETE FROM ledger.{table}")
            cursor.execute(
                f"INSERT INTO ledger.{table} SELECT user_id, {period}, service, operation, {_SUMS} "
                "FROM ledger.entries GROUP BY 1, 2, 3, 4"
            )


def begin(ledger: Ledger, since: datetime, topic: str = "none", partitions: int = 0) -> None:
    """Let the ledger and the job queue have begun at a time; with positions of so many empty partitions."""
    for partition in range(max(1, partitions)):
        ledger.connection.execute(
            "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, since) "
            "VALUES (%s, %s, 0, 1, 0, %s)",
            (topic, partition, since),
        )
    ledger.connection.execute("UPDATE jobs.schema_migrations SET applied_at = %s", (since,))


def usage(seed: int, start: datetime, end: datetime, count: int, users: int = 15) -> list[CostEvent]:
    """Events of many kinds: credits, unpriced ones, reversals, some with a file, some of savings."""
    rng = random.Random(seed)
    seconds = int((end - start).total_seconds())
    events: list[CostEvent] = []
    for _ in range(count):
        occurred_at = start + timedelta(seconds=rng.randrange(seconds), microseconds=rng.randrange(10**6))
        user = f"user-{min(rng.randrange(users), rng.randrange(users)):02d}"
        service, operation = rng.choice(KINDS)
        amount: int | None = rng.randrange(1, 4 * 10**12)
        kind = rng.random()
        other: dict[str, Any] = {}
        if kind < 0.05:
            amount = None
        elif kind < 0.08:
            amount, other = -rng.randrange(1, 10**12), {"category": "CREDIT"}
        elif kind < 0.12:
            service, operation, amount = "costledger", "cache-hit:embedding", 0
        metadata = {"request": "r"}
        if user < "user-08" and rng.random() < 0.7:
            metadata["file_id"] = f"file-{rng.randrange(6)}"
        elif rng.random() < 0.1:
            metadata["file_id"] = ""
        event = make_event(
            user,
            amount=amount,
            service=service,
            operation=operation,
            occurred_at=occurred_at,
            metadata=metadata,
            **other,
        )
        events.append(event)
        if rng.random() < 0.06:
            events.append(taken_back(event))
    return events


def taken_back(event: CostEvent) -> CostEvent:
    """The entry that takes an event back, at the same time."""
    return make_event(
        event.user_id,
        amount=None if event.amount is None else -event.amount,
        quantity=-event.quantity,
        service=event.service,
        operation=event.operation,
        occurred_at=event.occurred_at,
        category=event.category,
        metadata=dict(event.metadata),
        reverses_event_id=event.event_id,
    )


@dataclass
class Sums:
    """Of some key: events less those taken back, the same of unpriced ones, amount, by user."""

    events: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unpriced: int = 0
    amount: int = 0

    def add(self, event: CostEvent) -> None:
        count = 1 if event.reverses_event_id is None else -1
        self.events[event.user_id] += count
        self.unpriced += count * (event.amount is None)
        self.amount += event.amount or 0

    def line(self, name: str, service: str | None = None, users: int | None = None) -> Line:
        active = sum(count > 0 for count in self.events.values())
        return Line(
            name=name,
            service=service,
            users=active if users is None else users,
            events=sum(self.events.values()),
            unpriced=self.unpriced,
            amount=self.amount,
        )


class Model:
    """Sums up events the slow way, one by one."""

    def __init__(self, events: Sequence[CostEvent]) -> None:
        self._events = [event for event in events if event.service != "costledger"]

    def within(self, period: ReportPeriod) -> list[CostEvent]:
        return [one for one in self._events if period.start_us <= to_microseconds(one.occurred_at) < period.end_us]

    def amount(self, period: ReportPeriod) -> int:
        return sum(event.amount or 0 for event in self.within(period))

    def by(self, period: ReportPeriod, *names: str) -> dict[tuple[str, ...], Sums]:
        found: dict[tuple[str, ...], Sums] = defaultdict(Sums)
        for event in self.within(period):
            found[tuple(getattr(event, name) for name in names)].add(event)
        return found

    def services(self, period: ReportPeriod) -> list[Line]:
        lines = [sums.line(service) for (service,), sums in self.by(period, "service").items()]
        return sorted(lines, key=lambda line: (-line.amount, line.name))

    def operations(self, period: ReportPeriod) -> list[Line]:
        found = self.by(period, "service", "operation").items()
        lines = [sums.line(operation, service) for (service, operation), sums in found]
        return sorted(lines, key=lambda line: (-line.amount, line.service or "", line.name))

    def users(self, period: ReportPeriod) -> list[Line]:
        lines = [sums.line(user, users=1) for (user,), sums in self.by(period, "user_id").items()]
        kept = [line for line in lines if line.events > 0 or line.amount]
        return sorted(kept, key=lambda line: (-line.amount, line.name))

    def files(self, period: ReportPeriod) -> tuple[list[FileUser], list[Line]]:
        """Users with files, the dearest file first; and those without."""
        named: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for event in self.within(period):
            if file := event.metadata.get("file_id"):
                named[event.user_id][file] += 1 if event.reverses_event_id is None else -1
        counts = {user: sum(left > 0 for left in files.values()) for user, files in named.items()}
        lines = self.users(period)
        with_files = [
            FileUser(user_id=line.name, amount=line.amount, files=counts[line.name])
            for line in lines
            if counts.get(line.name)
        ]
        with_files.sort(key=lambda one: (-one.amount / one.files, one.user_id))
        return with_files, [line for line in lines if not counts.get(line.name)]


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """A time in UTC."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def microseconds(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """The same as Unix microseconds."""
    return to_microseconds(utc(year, month, day, hour, minute))


__all__ = ["COMPLETE", "Model", "begin", "divided", "fill", "microseconds", "taken_back", "usage", "utc"]
