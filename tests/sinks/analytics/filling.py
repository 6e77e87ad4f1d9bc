"""Events straight into a ledger's tables, by the parts that the sink does it with; no Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg

from costledger.schemas.event_reading import of_record
from costledger.schemas.events import CostEvent, check_event
from costledger.schemas.times import to_microseconds
from costledger.sinks.packing import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER, pack_event
from costledger.sinks.queries import query
from costledger.sinks.totals import as_arrays, daily, hourly

_offsets = count()


def write_events(connection: psycopg.Connection[Any], events: Sequence[CostEvent]) -> None:
    """Insert entries and add them to the roll-ups, in one transaction."""
    records = [event.to_record() for event in events]
    for record in records:
        check_event(record)
    rows = (
        pack_event("events", 0, next(_offsets), to_microseconds(event.occurred_at), record)
        for event, record in zip(events, records, strict=True)
    )
    days = sorted(event.occurred_at.date() for event in events)
    connection.execute("SELECT ledger.ensure_partitions(%s, %s)", (days[0], days[-1]))
    with connection.transaction(), connection.cursor() as cursor:
        statement = f"COPY ledger.entries ({', '.join(COPY_COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
        with cursor.copy(statement) as copy:
            copy.write(b"".join((COPY_HEADER, *rows, COPY_TRAILER)))
        by_hour = hourly(map(of_record, records))
        connection.execute(query("upsert_hourly"), as_arrays(by_hour))
        connection.execute(query("upsert_daily"), as_arrays(daily(by_hour)))
