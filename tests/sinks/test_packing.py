"""Rows packed by hand are read by PostgreSQL as what they were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.twins import WAYS, twin_in, using
from tests.schemas.samples import event_records
from tests.sinks.conftest import Ledger, make_event

from costledger.schemas.event_reading import of_record
from costledger.schemas.events import check_event
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX
from costledger.sinks import packing
from costledger.sinks.packing import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER, pack_event
from costledger.sinks.packing_fields import pack_amount, pack_decimal, pack_numeric


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection with a temporary table of numbers."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE numbers (id serial, value numeric)")
        yield connection


def read_back(connection: psycopg.Connection[tuple[object, ...]], fields: list[bytes]) -> list[object]:
    """What PostgreSQL makes of packed numeric fields."""
    connection.execute("TRUNCATE numbers")
    with connection.cursor() as cursor, cursor.copy("COPY numbers (value) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(COPY_HEADER + b"".join(b"\x00\x01" + field for field in fields) + COPY_TRAILER)
    return [value for (value,) in connection.execute("SELECT value::text FROM numbers ORDER BY id")]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX), min_size=1, max_size=50))
def test_amounts_are_read_exactly(connection: psycopg.Connection[tuple[object, ...]], amounts: list[int]) -> None:
    """Any amount within bounds is the same number of 1e-12 USD in the database, with 12 decimals shown."""
    found = read_back(connection, [pack_amount(amount) for amount in amounts])
    assert found == [f"{Decimal(amount).scaleb(-12):.12f}" for amount in amounts]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-QUANTITY_NANOUNITS_MAX, QUANTITY_NANOUNITS_MAX), min_size=1, max_size=50))
def test_quantities_are_read_exactly(connection: psycopg.Connection[tuple[object, ...]], nano: list[int]) -> None:
    """Any quantity within bounds is the same number of 1e-9 units, with 9 decimals shown."""
    found = read_back(connection, [pack_numeric(one * 1000, 9) for one in nano])
    assert found == [f"{Decimal(one).scaleb(-9):.9f}" for one in nano]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**29), max_value=10**29), min_size=1))
def test_unit_prices_are_read_exactly(
    connection: psycopg.Connection[tuple[object, ...]], prices: list[Decimal]
) -> None:
    """Any decimal text is the same number, digits and decimals alike."""
    found = read_back(connection, [pack_decimal(price) for price in prices])
    assert [Decimal(str(one)) for one in found] == prices


@pytest.mark.parametrize("way", WAYS)
def test_a_row_is_read_as_the_event_it_was(ledger: Ledger, way: str) -> None:
    """Every column of the ledger has its field's value, times to the microsecond, text in any script."""
    event = make_event(
        "Zoë-用户",
        occurred_at=datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
        unit_price="0.000000150",
        amount=-123_456_789_012_345,
        quantity=1,
        metadata={"clé": 'a "quoted" \\ \n value', "emoji": "💶"},
        reverses_event_id=make_event("x").event_id,
    )
    record = event.to_record()
    check_event(record)
    received = event.occurred_at + timedelta(seconds=3)
    with using(packing, way):
        packed = pack_event("t", 3, 77, int(received.timestamp() * 1_000_000), record)
    statement = f"COPY ledger.entries ({', '.join(COPY_COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
    with ledger.connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER + packed + COPY_TRAILER)
    columns = (
        "event_id, user_id, service, operation, category, quantity, unit, unit_price, price_version, amount, currency, "
        "occurred_at, source, reverses_event_id, metadata, kafka_topic, kafka_partition, kafka_offset, received_at"
    )
    assert ledger.all(f"SELECT {columns} FROM ledger.entries") == [
        (
            event.event_id,
            event.user_id,
            event.service,
            event.operation,
            "USAGE",
            Decimal("0.000000001"),
            event.unit,
            Decimal("0.000000150"),
            event.price_version,
            Decimal("-123.456789012345"),
            "USD",
            event.occurred_at,
            event.source,
            event.reverses_event_id,
            dict(event.metadata),
            "t",
            3,
            77,
            received,
        )
    ]


@settings(deadline=None, max_examples=400)
@given(event_records(), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.none() | st.integers(0, 2**52))
def test_the_twin_packs_the_same_bytes(
    record: dict[str, Any], partition: int, offset: int, received_us: int | None
) -> None:
    """Whatever event within bounds, at whatever place."""
    rows = []
    for way in WAYS:
        with using(packing, way):
            rows.append(pack_event("cost.events", partition, offset, received_us, record))
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "number", [0, 1, 9_999, 10_000, 10**8, 10**9, 10**12, 10**16 - 1, 10**16, 10**16 + 1, 2**63 - 1]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_twin_packs_the_same_numbers(number: int, sign: int) -> None:
    """At every edge of their digits in base 10,000, as an amount and as a quantity."""
    record = make_event("ann").to_record()
    record["amount"] = record["quantity"] = sign * number
    rows = []
    for way in WAYS:
        with using(packing, way):
            rows.append(pack_event("cost.events", 0, 0, None, record))
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 36,
        "0" * 35,
        "0" * 37,
        "",
        "ü" * 18,
        "018BCFE5-6800-7000-8000-000000000000",
        "018bcfe5-6800-7000-8000-00000000000-",
    ],
)
def test_the_twin_packs_no_id_that_is_none(text: str) -> None:
    """More than its 16 bytes would be written beyond the row."""
    pack_read = twin_in(packing)
    *parts, tail = of_record(make_event("ann").to_record())
    _, *others = parts
    for event in ((text, *others, tail), (*parts, tail._replace(reverses_event_id=text))):
        with pytest.raises(ValueError, match="no UUID in canonical form"):
            pack_read("cost.events", 0, 0, None, event)
