"""Ledgers to export: many entries at once, and the real bill through the sink."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Topic

from costledger.schemas.events import CostEvent
from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.export import Destination, Export, ExportFormat, ExportSummary, export_entries, stream_output

DATA = Path(os.environ.get("COSTLEDGER_REAL_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
BILL = DATA / "focus_1_0_sample.csv"
MONTH = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


def insert_many(connection: psycopg.Connection[Any], rows: int) -> None:
    """So many entries in March 2026, of 97 users, with their totals: amounts of up to 12 decimals, some without a price."""
    connection.execute(
        """
        INSERT INTO ledger.entries (event_id, occurred_at, received_at, kafka_offset, kafka_partition, quantity, amount,
            unit_price, user_id, service, operation, category, unit, currency, source, kafka_topic, metadata)
        SELECT (left(ledger.uuid7_floor(at)::text, 14) || '7' || substr(md5(i::text), 1, 3) || '-8'
                || substr(md5(i::text), 4, 3) || '-' || substr(md5(i::text), 7, 12))::uuid,
               at, at, i, 0, i %% 1000 + 0.000000001, CASE WHEN i %% 50 > 0 THEN i * 0.000000000001 END, 0.25,
               'user-' || i %% 97, 'openai', 'tokens-' || i %% 3, 'USAGE', 'token', 'USD', 'tests', 'cost.events',
               jsonb_strip_nulls(jsonb_build_object('model', 'm', 'note', repeat('x', i %% 40),
                   'ChargePeriodEnd', CASE WHEN i %% 100 = 1 THEN '2026-04-01 00:00:00' END))
        FROM generate_series(1, %(rows)s) AS i
        CROSS JOIN LATERAL (SELECT timestamptz '2026-03-01 00:00:00+00' + (i %% 2678400) * interval '1 second') AS t (at)
        """,
        {"rows": rows},
    )
    connection.execute(
        """
        INSERT INTO ledger.hourly_totals (user_id, hour, service, operation, events, unpriced, quantity, amount)
        SELECT user_id, date_trunc('hour', occurred_at), service, operation, count(*),
               count(*) FILTER (WHERE amount IS NULL), sum(quantity), coalesce(sum(amount), 0)
        FROM ledger.entries GROUP BY 1, 2, 3, 4
        """
    )


def store(ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable, events: list[CostEvent]) -> None:
    """Put events into the ledger through the sink."""
    topic.send(events)
    start_sink(settings)
    count = len(events)
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.entries") == count, 30, "the events are in the ledger")


def exported(database_url: str, export: Export) -> tuple[bytes, ExportSummary]:
    """What an export writes, and what it says of it."""
    stream = io.BytesIO()
    with connect(database_url, "tests", 10) as connection, stream_output(stream) as destination:
        summary = export_entries(connection, export, destination)
    return stream.getvalue(), summary


def month(kind: ExportFormat, **other: Any) -> Export:
    """An export of March 2026."""
    return Export(kind, *MONTH, **other)


def cells(data: bytes) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))


class Discarding(Destination):
    """Counts and hashes, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull).open("wb"))  # noqa: SIM115 - closed with the process
