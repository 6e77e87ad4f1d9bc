"""Ledger entries in a form that can be compared with records from the topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg

from costledger.schemas.events import EventRecord
from costledger.schemas.money import NANOUNITS_PER_UNIT, PICODOLLARS_PER_USD, exact_decimal
from costledger.sinks.database import Connection
from costledger.sinks.queries import query

_ROWS_AT_ONCE = 5_000


class Entry(NamedTuple):
    """A row of the ledger: its place on the topic and its content as a record."""

    partition: int
    offset: int
    record: EventRecord


def entries_in_order(
    connection: Connection, topic: str, ranges: Sequence[tuple[int, int, int]], name: str
) -> Iterator[Entry]:
    """The entries in these ranges (partition, first offset, end offset), by partition and offset.

    Inside a transaction; `name` is the server-side cursor's. Entries from before a partition's position was
    first kept are left out: they came from an earlier topic of the same name.
    """
    parameters = {
        "topic": topic,
        "partitions": [one[0] for one in ranges],
        "lows": [one[1] for one in ranges],
        "highs": [one[2] for one in ranges],
    }
    with psycopg.ServerCursor(connection, name) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query("entries_in_order"), parameters)
        for row in cursor:
            yield entry_of_row(row)


def entries_of_ids(connection: Connection, event_ids: Sequence[str]) -> dict[str, EventRecord]:
    """The content of the entries with these ids."""
    rows = connection.execute(query("entries_of_ids"), {"event_ids": list(event_ids)})
    return {entry.record["event_id"]: entry.record for entry in map(entry_of_row, rows)}


def differing_fields(entry: EventRecord, record: EventRecord) -> list[str]:
    """In which fields an entry and a record of the topic say different things.

    Unit prices are compared as numbers (0.10 is 0.1): that of an entry is a Decimal.
    """
    price = record["unit_price"]
    same_price = entry["unit_price"] == (None if price is None else exact_decimal(price, "unit_price"))
    return [name for name in entry if (not same_price if name == "unit_price" else entry[name] != record[name])]


def entry_of_row(row: tuple[Any, ...]) -> Entry:
    """The entry in a row with the columns of `entries_in_order.sql`; its unit price stays a Decimal."""
    (
        partition,
        offset,
        event_id,
        user_id,
        service,
        operation,
        category,
        quantity,
        unit,
        unit_price,
        price_version,
        amount,
        currency,
        occurred_at,
        source,
        reverses_event_id,
        metadata,
    ) = row
    record = {
        "event_id": event_id,
        "user_id": user_id,
        "service": service,
        "operation": operation,
        "category": category,
        "quantity": int(quantity * NANOUNITS_PER_UNIT),
        "unit": unit,
        "unit_price": unit_price,
        "price_version": price_version,
        "amount": None if amount is None else int(amount * PICODOLLARS_PER_USD),
        "currency": currency,
        "occurred_at": occurred_at,
        "source": source,
        "reverses_event_id": reverses_event_id,
        "metadata": metadata,
    }
    return Entry(partition, offset, record)
