"""Exports: every entry of the period once, exact, in each format, from one snapshot."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow.parquet as pq
import pytest
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Topic, make_event
from tests.sinks.export.exporting import BILL, cells, exported, insert_many, month, store

from costledger.producers.importers import read_focus
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import Category
from costledger.schemas.money import from_nanounits, to_usd
from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.export import Export, ExportFailed, ExportFormat, export_entries, stream_output

YEAR = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))


@pytest.fixture
def bill(ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable) -> list[dict[str, str]]:
    """The rows of the real bill, which the ledger has got through the sink."""
    if not BILL.exists():
        pytest.skip(f"no real data in {BILL.parent}: set COSTLEDGER_REAL_DATA")
    topic.send(read_focus(BILL).events())
    start_sink(settings)
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.entries") == 500, 30, "the bill is in the ledger")
    with BILL.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_real_bill_comes_out_to_the_picodollar(ledger: Ledger, bill: list[dict[str, str]]) -> None:
    """By user and service every format has the bill's own sums; the sums said are those of the rows, and of the bill."""
    expected: dict[tuple[str, str], Decimal] = {}
    for row in bill:
        key = row["SubAccountId"], row["ServiceName"]
        expected[key] = expected.get(key, Decimal(0)) + Decimal(row["BilledCost"])
    for kind, user, service, amount in (
        (ExportFormat.CSV, "user_id", "service", "amount"),
        (ExportFormat.FOCUS, "SubAccountId", "ServiceName", "BilledCost"),
        (ExportFormat.PARQUET, "user_id", "service", "amount"),
    ):
        data, summary = exported(ledger.url, Export(kind, *YEAR))
        rows = pq.read_table(io.BytesIO(data)).to_pylist() if kind is ExportFormat.PARQUET else cells(data)
        found: dict[tuple[str, str], Decimal] = {}
        for row in rows:
            key = row[user], row[service]
            found[key] = found.get(key, Decimal(0)) + Decimal(row[amount])
        assert found == expected, kind
        assert summary.rows == len(rows) == 500
        assert summary.amount == sum(expected.values()) == Decimal("5.98839374320")
        assert summary.hours == (500, summary.amount)
        assert summary.sha256 == hashlib.sha256(data).hexdigest()
        assert summary.bytes == len(data)
        assert sum(next_offset for _topic, _partition, next_offset in summary.watermark) == 500


def test_a_focus_export_says_what_the_bill_said(ledger: Ledger, bill: list[dict[str, str]]) -> None:
    """Costs, categories, SKUs, units, times and tags of each row are the bill's; NULL is no value."""
    data, _ = exported(ledger.url, Export(ExportFormat.FOCUS, *YEAR, marked=False))
    same = (
        *("ChargeCategory", "ChargeClass", "ServiceName", "SkuId", "SubAccountId", "SubAccountName", "ProviderName"),
        *("ConsumedUnit", "PricingUnit", "ServiceCategory", "ResourceId", "RegionId", "BillingCurrency"),
    )
    numbers = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "PricingQuantity")
    times = ("ChargePeriodStart", "ChargePeriodEnd")

    def plain(row: dict[str, str]) -> tuple[object, ...]:
        value = {name: None if text in ("", "NULL") else text for name, text in row.items()}
        tags = value["Tags"]
        return (
            *(value[name] or "" for name in same),
            *(str(Decimal(value[name] or 0).normalize()) for name in numbers),
            *(datetime.fromisoformat(value[name] or "").replace(tzinfo=UTC).isoformat() for name in times),
            json.dumps(json.loads(tags), sort_keys=True) if tags else "",
        )

    taxes = [row for row in bill if row["ChargeCategory"] == "Tax"]
    # Where the bill has no tags, the export has what else is known of the charge.
    told = sorted(plain(row) for row in bill if row["Tags"] != "NULL" and row not in taxes)
    found = {plain(row) for row in cells(data)}
    assert len(told) > 100
    assert [row for row in told if row not in found] == []


def test_csv_rows_are_the_entries(ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable) -> None:
    """Every field comes back as it was sent; nulls are empty and unquoted, times RFC 3339 in UTC to the microsecond."""
    noon = datetime(2026, 3, 5, 12, 0, 0, 123456, tzinfo=UTC)
    events = [
        make_event('ann, "the 1st"; x', amount=1, occurred_at=noon, quantity=1, metadata={"ü": "ß;"}),
        make_event("bob", amount=-(9 * 10**18), occurred_at=noon + timedelta(hours=1), category=Category.CREDIT),
        make_event("bob", amount=None, unit_price=None, price_version=None, occurred_at=noon + timedelta(hours=2)),
    ]
    store(ledger, topic, settings, start_sink, events)
    data, summary = exported(ledger.url, month(ExportFormat.CSV))
    rows = cells(data)
    assert [row["event_id"] for row in rows] == [str(event.event_id) for event in events]
    for row, event in zip(rows, events, strict=True):
        assert (row["user_id"], row["service"], row["operation"]) == (event.user_id, event.service, event.operation)
        assert (Decimal(row["amount"]) if row["amount"] else None) == (
            None if event.amount is None else to_usd(event.amount)
        )
        assert Decimal(row["quantity"]) == from_nanounits(event.quantity)
        assert row["unit_price"] == (event.unit_price or "")
        assert datetime.fromisoformat(row["occurred_at"]) == event.occurred_at
        assert row["occurred_at"].endswith("Z")
        assert json.loads(row["metadata"]) == dict(event.metadata)
        assert row["category"] == event.category.value
    assert (summary.rows, summary.unpriced) == (3, 1)
    assert summary.amount == Decimal(1 - 9 * 10**18) / 10**12
    assert data.splitlines()[-1].count(b",,") >= 1


def test_parquet_has_types(ledger: Ledger) -> None:
    """Amounts are decimal128(38, 12), times have a zone, and no row group is larger than it may be."""
    insert_many(ledger.connection, 25_000)
    data, summary = exported(ledger.url, month(ExportFormat.PARQUET))
    file = pq.ParquetFile(io.BytesIO(data))
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types["amount"] == "decimal128(38, 12)"
    assert types["quantity"] == "decimal128(38, 9)"
    assert types["occurred_at"] == "timestamp[us, tz=UTC]"
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sizes == [10_000, 10_000, 5_000]
    amounts = file.read(["amount"])["amount"].to_pylist()
    assert sum(amount for amount in amounts if amount is not None) == summary.amount
    assert summary.amount == ledger.one("SELECT sum(amount) FROM ledger.hourly_totals")
    assert amounts.count(None) == summary.unpriced == 500


def test_the_period_is_half_open(ledger: Ledger) -> None:
    """What occurred at the start is in it, what occurred at the end is not; a user's export has that user's only."""
    insert_many(ledger.connection, 5_000)
    start, end = datetime(2026, 3, 1, 0, 10, 0, tzinfo=UTC), datetime(2026, 3, 1, 1, 0, 1, tzinfo=UTC)
    data, summary = exported(ledger.url, Export(ExportFormat.CSV, start, end))
    times = [row["occurred_at"] for row in cells(data)]
    assert times[0] == "2026-03-01T00:10:00.000000Z"
    assert times[-1] == "2026-03-01T01:00:00.000000Z"
    assert summary.rows == 3001
    # From ten past to one past, no whole hour is in it.
    assert summary.hours == (0, Decimal(0))
    data, summary = exported(ledger.url, month(ExportFormat.CSV, user_id="user-7"))
    assert {row["user_id"] for row in cells(data)} == {"user-7"}
    assert summary.hours == (summary.rows, summary.amount)
    with pytest.raises(InvalidValue, match="to is"):
        Export(ExportFormat.CSV, end, end)


def test_what_a_spreadsheet_would_run_is_marked(
    ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable
) -> None:
    """Each such text gets one apostrophe, which can be taken away again; other texts, and numbers, none. Or none at all."""
    at = datetime(2026, 3, 5, tzinfo=UTC)
    texts = ["=1+1", "+1", "-1", "@x", "'=1", "''-1", "＝1", "'quoted'", "plain", "a=b", "1-1"]
    events = [make_event(text, amount=-5, occurred_at=at + timedelta(seconds=n)) for n, text in enumerate(texts)]
    store(ledger, topic, settings, start_sink, events)
    for kind, column, amount in (
        (ExportFormat.CSV, "user_id", "amount"),
        (ExportFormat.FOCUS, "SubAccountId", "BilledCost"),
    ):
        marked = cells(exported(ledger.url, month(kind))[0])
        assert [row[column] for row in marked] == [f"'{text}" for text in texts[:7]] + texts[7:]
        assert {row[amount] for row in marked} == {"-0.000000000005"}
        kept = cells(exported(ledger.url, month(kind, marked=False))[0])
        assert [row[column] for row in kept] == texts


def test_focus_leaves_out_what_has_no_price(
    ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable
) -> None:
    """A charge without a cost is no row of a FOCUS file, and is counted; a second is the shortest charge period."""
    at = datetime(2026, 3, 5, 10, 0, 0, 999_999, tzinfo=UTC)
    events = [make_event("ann", occurred_at=at), make_event("ann", amount=None, occurred_at=at)]
    store(ledger, topic, settings, start_sink, events)
    data, summary = exported(ledger.url, month(ExportFormat.FOCUS))
    (row,) = cells(data)
    assert (summary.rows, summary.unpriced, summary.amount) == (1, 1, Decimal("0.001"))
    assert row["BilledCost"] == "0.001000000000"
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-03-05T10:00:00Z", "2026-03-05T10:00:01Z")
    assert row["x_OccurredAt"] == "2026-03-05T10:00:00.999999Z"
    assert row["CommitmentDiscountId"] == ""
    assert json.loads(row["Tags"]) == {"request": "r-1"}


@pytest.mark.parametrize(("first", "last"), [(1900, 2100), (1970, 2999), (1, 9999)])
def test_a_period_may_begin_before_all_events_and_end_after_them(ledger: Ledger, first: int, last: int) -> None:
    """No UUIDv7 is of a time before 1970 or beyond 48 bits of milliseconds: every entry is between such times."""
    insert_many(ledger.connection, 10)
    whole = Export(ExportFormat.CSV, datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC))
    _, summary = exported(ledger.url, whole)
    assert summary.rows == 10


def test_an_empty_period_has_a_header(ledger: Ledger) -> None:
    """Without entries there is still a file of that format."""
    for kind in ExportFormat:
        data, summary = exported(ledger.url, month(kind))
        rows = pq.read_table(io.BytesIO(data)).num_rows if kind is ExportFormat.PARQUET else len(cells(data))
        assert rows == summary.rows == 0
        assert data


def test_it_is_one_snapshot(ledger: Ledger) -> None:
    """What is recorded while an export is under way, here between two of its statements, is neither in it nor in its way."""
    insert_many(ledger.connection, 2_000)
    before = ledger.one("SELECT sum(amount) FROM ledger.entries")
    with psycopg.connect(ledger.url) as recorder, ThreadPoolExecutor(1) as pool:
        recorder.execute("LOCK TABLE ledger.hourly_totals IN ACCESS EXCLUSIVE MODE")
        running = pool.submit(exported, ledger.url, month(ExportFormat.CSV))
        waiting = "SELECT count(*) FROM pg_locks JOIN pg_database ON datname = current_database() AND database = "
        waiting += "pg_database.oid WHERE NOT granted AND relation = 'ledger.hourly_totals'::regclass"
        wait_until(lambda: ledger.one(waiting) == 1, 30, "the export has read the entries' sums")
        recorder.execute("UPDATE ledger.hourly_totals SET amount = amount + 1, events = events + 1")
        recorder.execute(
            "INSERT INTO ledger.entries SELECT (left(event_id::text, 35) || 'f')::uuid, reverses_event_id, "
            "occurred_at, received_at, recorded_at, kafka_offset, kafka_partition, quantity, amount, unit_price, "
            "user_id, service, operation, category, unit, price_version, currency, source, kafka_topic, metadata "
            "FROM ledger.entries WHERE right(event_id::text, 1) = '0'"
        )
        recorder.commit()
        data, summary = running.result(30)
    assert summary.rows == len(cells(data)) == 2_000
    assert summary.amount == before
    assert ledger.one("SELECT count(*) FROM ledger.entries") > 2_000


def test_the_focus_view_can_be_read_in_parallel(ledger: Ledger) -> None:
    """PostgreSQL may plan what it will: the functions that catch errors are kept out of parallel plans."""
    insert_many(ledger.connection, 2_000)
    for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        ledger.connection.execute(f"SET {name} = 0")
    ends = ledger.all('SELECT "ChargePeriodEnd", count(*) FROM analyst.focus GROUP BY 1 ORDER BY 2 DESC LIMIT 1')
    assert ends == [(datetime(2026, 4, 1, tzinfo=UTC), 20)]


def test_roll_ups_that_differ_stop_it(ledger: Ledger) -> None:
    """A ledger that contradicts itself by a picodollar is not exported."""
    insert_many(ledger.connection, 1_000)
    ledger.connection.execute(
        "UPDATE ledger.hourly_totals SET amount = amount + 1e-12 WHERE user_id = 'user-1' AND operation = 'tokens-1'"
    )
    with pytest.raises(ExportFailed, match="roll-ups"):
        exported(ledger.url, month(ExportFormat.CSV))
    exported(ledger.url, month(ExportFormat.CSV, user_id="user-2"))


def test_a_statement_timeout_does_not_end_it(ledger: Ledger) -> None:
    """An export may take longer than any other statement; afterwards the limit is in force again."""
    insert_many(ledger.connection, 1_000)
    waits = "SELECT now() - query_start > '2 s' FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    with (
        psycopg.connect(ledger.url) as other,
        connect(ledger.url, "tests", 10) as connection,
        stream_output(io.BytesIO()) as destination,
        ThreadPoolExecutor(1) as pool,
    ):
        connection.execute("SET statement_timeout = '1s'")
        other.execute("LOCK TABLE ledger.entries, ledger.hourly_totals, ledger.daily_totals")
        exporting = pool.submit(export_entries, connection, month(ExportFormat.CSV), destination)
        wait_until(
            lambda: exporting.done() or ledger.all(waits, connection.info.backend_pid) == [(True,)],
            30,
            "the export waits for longer than its limit",
        )
        other.rollback()
        assert exporting.result().rows == 1_000
        assert connection.execute("SHOW statement_timeout").fetchone() == ("1s",)
