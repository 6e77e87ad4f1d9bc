"""The importers against the files themselves: exact sums, repeatable ids, and errors that name the cell."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from costledger.producers.importers import ImportRowError, read_focus, read_trace, sample_trace
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import METADATA_BYTES_MAX, METADATA_KEYS_MAX, Category, check_event
from costledger.schemas.money import from_nanounits

PROJECT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
REAL_DATA = Path(os.environ.get("COSTLEDGER_REAL_DATA", PROJECT.parent / "shared" / "data"))
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def real_or_excerpt(real: str, excerpt: str) -> list[object]:
    """The excerpt always, the whole file where it is at hand."""
    path = REAL_DATA / real
    missing = pytest.mark.skipif(not path.is_file(), reason=f"{real} is not in {REAL_DATA}")
    return [pytest.param(DATA / excerpt, id="excerpt"), pytest.param(path, id="real", marks=missing)]


TRACES = real_or_excerpt("azure_llm_trace_code_2023.csv", "trace_excerpt.csv")
BILLS = real_or_excerpt("focus_1_0_sample.csv", "focus_excerpt.csv")


def cells(path: Path) -> list[dict[str, str]]:
    """The rows as Python's own reader sees them."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", TRACES)
def test_a_trace_costs_what_its_tokens_cost(path: Path) -> None:
    """Two events a row, gpt-4 at 30 and 60 USD a million, users in turn, times cut to microseconds."""
    rows = cells(path)
    trace = read_trace(path, "gpt-4", users=7)
    events = list(trace.events())
    assert (trace.rows, len(events), trace.unpriced) == (len(rows), 2 * len(rows), 0)
    assert len({event.event_id for event in events}) == len(events)
    for index, row in enumerate(rows):
        for event, operation, tokens, usd in zip(
            events[2 * index : 2 * index + 2],
            ("input-tokens", "output-tokens"),
            (int(row["ContextTokens"]), int(row["GeneratedTokens"])),
            (Decimal("0.00003"), Decimal("0.00006")),
            strict=True,
        ):
            assert (event.user_id, event.service, event.operation) == (f"user-{index % 7:04d}", "openai", operation)
            assert (event.quantity, event.unit) == (tokens * 10**9, "token")
            assert event.amount == tokens * usd * 10**12
            assert event.occurred_at == datetime.fromisoformat(row["TIMESTAMP"][:-1] + "+00:00")
            assert event.metadata == {"model": "gpt-4"}
            check_event(event.to_record())


def test_the_shipped_sample_is_a_trace() -> None:
    """600 rows of a production service, all priced."""
    with sample_trace() as path:
        trace = read_trace(path, "gpt-4")
        assert (trace.rows, trace.unpriced) == (600, 0)
        assert sum(1 for _ in trace.events()) == 1200
        assert (path.parent / "ATTRIBUTION.md").is_file()


@pytest.mark.parametrize("path", BILLS)
def test_a_bill_costs_what_it_says(path: Path) -> None:
    """One event a row with the amount, user, service, operation, time, quantity and category of its columns."""
    rows = cells(path)
    bill = read_focus(path)
    events = list(bill.events())
    assert len(events) == bill.report.rows == len(rows)
    assert len({event.event_id for event in events}) == len(events)
    changed = 0
    for event, row in zip(events, rows, strict=True):
        assert event.amount == Decimal(row["BilledCost"]) * 10**12
        assert event.user_id == row["SubAccountId"]
        assert (event.service, event.operation) == (row["ServiceName"], row["SkuId"])
        assert event.occurred_at == datetime.fromisoformat(row["ChargePeriodStart"] + "+00:00")
        assert event.category == row["ChargeCategory"].upper()
        column = "PricingQuantity" if row["ConsumedQuantity"] == "NULL" else "ConsumedQuantity"
        exact = Decimal(row[column])
        assert abs(from_nanounits(event.quantity) - exact) <= Decimal("0.5e-9")
        assert event.metadata.get(column) == (row[column] if from_nanounits(event.quantity) != exact else None)
        changed += from_nanounits(event.quantity) != exact
        check_event(event.to_record())
    assert bill.report.rounded_quantities == changed > 0
    assert any(event.category == Category.CREDIT and (event.amount or 0) < 0 for event in events)


@pytest.mark.parametrize("path", BILLS)
def test_metadata_keeps_the_bills_own_columns_and_counts_what_it_leaves_out(path: Path) -> None:
    """Within 32 keys and 4 KiB, values as in the file (times with their offset); NULL is no value."""
    bill = read_focus(path)
    left_out = 0
    for event, row in zip(bill.events(), cells(path), strict=True):
        assert len(event.metadata) <= METADATA_KEYS_MAX
        for name, value in event.metadata.items():
            is_time = name.endswith(("PeriodStart", "PeriodEnd"))
            assert value == (row[name].replace(" ", "T") + "Z" if is_time else row[name]) != "NULL"
        assert event.metadata["ChargeDescription"] == row["ChargeDescription"]
        elsewhere = {"BilledCost", "BillingCurrency", "ChargeCategory", "ChargePeriodStart", "ServiceName"}
        elsewhere |= {"SkuId", "SubAccountId", "ConsumedUnit", "ConsumedQuantity", "PricingQuantity"}
        given = {name for name, value in row.items() if value != "NULL"} - elsewhere
        left_out += len(given - set(event.metadata))
    assert sum(bill.report.left_out.values()) == left_out


def bill_with(tmp_path: Path, name: str = "bill.csv", **changes: str) -> Path:
    """The excerpt with other values in its second row (line 3)."""
    rows = cells(DATA / "focus_excerpt.csv")
    rows[1] |= changes
    path = tmp_path / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[1].keys())
        writer.writeheader()
        writer.writerows({name: row.get(name, "NULL") for name in rows[1]} for row in rows)
    return path


def test_what_does_not_fit_is_left_out_and_reported(tmp_path: Path) -> None:
    """A value too long for what is left makes room for the shorter ones after it."""
    path = bill_with(tmp_path, ResourceId="r" * 4000, ChargeDescription="d" * 3000, Tags="t" * METADATA_BYTES_MAX)
    bill = read_focus(path)
    event = list(bill.events())[1]
    assert bill.report.left_out["Tags"] == bill.report.left_out["ResourceId"] == 1
    assert event.metadata["ChargeDescription"] == "d" * 3000
    assert "BillingAccountId" in event.metadata
    assert sum(len(key) + len(value) for key, value in event.metadata.items()) <= METADATA_BYTES_MAX


def test_more_than_32_columns_are_cut_in_a_fixed_order(tmp_path: Path) -> None:
    """The least useful columns go first, and the report names them."""
    extra = {f"x_{number:02d}": "1" for number in range(30)}
    bill = read_focus(bill_with(tmp_path, **extra))
    event = list(bill.events())[1]
    assert len(event.metadata) == METADATA_KEYS_MAX
    assert "ChargeDescription" in event.metadata
    assert bill.report.left_out["x_29"] == 1


def test_a_row_without_user_sku_or_quantity_is_still_a_cost(tmp_path: Path) -> None:
    """Its user is `unallocated`, its operation the charge category, its quantity one charge."""
    path = bill_with(
        tmp_path, SubAccountId="NULL", SkuId="NULL", ConsumedQuantity="", PricingQuantity="NULL", ChargeCategory="Tax"
    )
    bill = read_focus(path)
    event = list(bill.events())[1]
    assert (event.user_id, event.operation, event.category) == ("unallocated", "tax", Category.TAX)
    assert (event.quantity, event.unit) == (10**9, "charge")
    assert bill.report.unallocated == 1


def test_another_column_can_be_the_user(tmp_path: Path) -> None:
    """The sub-account is then metadata, and the ids are others."""
    path = bill_with(tmp_path)
    (first, *_), (other, *_) = read_focus(path).events(), read_focus(path, user_column="BillingAccountName").events()
    assert other.user_id == "SunBird"
    assert other.metadata["SubAccountId"] == first.user_id
    assert other.event_id != first.event_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"BilledCost": "0.0000000000001"},
            "BilledCost is '0.0000000000001'; it must be a number with at most 12 decimals",
        ),
        ({"BilledCost": "NULL"}, "BilledCost is 'NULL'; it must be given in every row"),
        ({"BilledCost": "dear"}, "BilledCost is 'dear'; it must be a decimal number"),
        ({"BillingCurrency": "EUR"}, "BillingCurrency is 'EUR'; it must be USD"),
        (
            {"ChargeCategory": "Gift"},
            "ChargeCategory is 'Gift'; it must be one of Usage, Purchase, Tax, Credit, Adjustment",
        ),
        ({"ChargePeriodStart": "yesterday"}, "ChargePeriodStart is 'yesterday'; it must be an RFC 3339 time"),
        ({"ChargePeriodEnd": "later"}, "ChargePeriodEnd is 'later'; it must be an RFC 3339 time"),
        ({"ServiceName": ""}, "ServiceName is ''; it must be given in every row"),
        ({"ConsumedQuantity": "some"}, "ConsumedQuantity is 'some'; it must be a decimal number"),
        ({"SubAccountId": "a" * 129}, "SubAccountId is .*; it must be text of 1 to 128 printable characters"),
        ({"SkuId": "tab\there"}, "SkuId is .*; it must be text of 1 to 128 printable characters"),
    ],
)
def test_a_wrong_cell_is_named_before_anything_is_emitted(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """The error has file, line, column, value and limit; reading the bill fails as a whole."""
    with pytest.raises(ImportRowError, match=rf"^bill\.csv, line 3: {message}"):
        read_focus(bill_with(tmp_path, **changes))


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    """The user column too."""
    with pytest.raises(ImportRowError, match=r"line 1: the header is .*; it must be one with the column Team"):
        read_focus(bill_with(tmp_path), user_column="Team")


HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
GOOD = "2023-11-16 18:17:03.9799600,4808,10\r\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (GOOD + "2023-11-16 18:17:04,-1,10\r\n", "line 3: ContextTokens is '-1'; it must be a whole number of tokens"),
        (GOOD + "2023-11-16 18:17:04,1,1.5\r\n", r"line 3: GeneratedTokens is '1\.5'"),
        (
            GOOD + "2023-11-16 18:17:04,1,99999999999\r\n",
            "line 3: GeneratedTokens is '99999999999'; it must be at most 9000000000",
        ),
        (GOOD + "soon,1,1\r\n", "line 3: TIMESTAMP is 'soon'; it must be an RFC 3339 time"),
        (GOOD + "1999-01-01 00:00:00,1,1\r\n", "line 3: TIMESTAMP is '1999-01-01.*; it must be from 2000-01-01"),
        (GOOD + "2023-11-16 18:17:04,1\r\n", "line 3: the row is '2 cells'; it must be 3 cells"),
        (GOOD + '"2023\r\n', "line 3: the row is 'unexpected end of data'; it must be CSV in UTF-8"),
    ],
)
def test_a_wrong_row_of_a_trace_is_named(tmp_path: Path, rows: str, message: str) -> None:
    """As of a bill; nothing is emitted of a file with a wrong row."""
    path = tmp_path / "trace.csv"
    path.write_bytes((HEADER + rows).encode())
    with pytest.raises(ImportRowError, match=rf"^trace\.csv, {message}"):
        read_trace(path, "gpt-4")


def test_bytes_that_are_no_utf_8_are_named(tmp_path: Path) -> None:
    """A file in another encoding is refused, not guessed at."""
    path = tmp_path / "trace.csv"
    path.write_bytes((HEADER + GOOD).encode() + b"\xff,1,1\r\n")
    with pytest.raises(ImportRowError, match=r"it must be CSV in UTF-8"):
        read_trace(path, "gpt-4")


def test_a_file_without_rows_has_no_events(tmp_path: Path) -> None:
    """Also when it is to be shifted."""
    path = tmp_path / "trace.csv"
    path.write_text(HEADER)
    assert list(read_trace(path, "gpt-4", shift_to=AT).events()) == []


def test_an_unknown_model_makes_unpriced_events() -> None:
    """They are counted, never free."""
    trace = read_trace(DATA / "trace_excerpt.csv", "no-such-model")
    assert trace.unpriced == 24
    assert {event.amount for event in trace.events()} == {None}


def test_the_number_of_users_has_bounds() -> None:
    """No division by zero."""
    with pytest.raises(InvalidValue, match="users is 0; it must be from 1 to"):
        read_trace(DATA / "trace_excerpt.csv", "gpt-4", users=0)


IMPORTS: list[Callable[[datetime | None], list[object]]] = [
    lambda shift_to: list(read_trace(DATA / "trace_excerpt.csv", "gpt-4", shift_to=shift_to).events()),
    lambda shift_to: list(read_focus(DATA / "focus_excerpt.csv", shift_to=shift_to).events()),
]


@pytest.mark.parametrize("read", IMPORTS)
def test_a_second_import_with_the_same_arguments_has_the_same_events(
    read: Callable[[datetime | None], list[object]],
) -> None:
    """Ids are derived from content, row, time and arguments."""
    assert read(None) == read(None)
    assert read(AT) == read(AT)


@pytest.mark.parametrize("path", TRACES)
def test_shifting_moves_all_times_by_one_amount(path: Path) -> None:
    """The latest row comes to the time that was asked for; distances stay; ids are others."""
    plain = list(read_trace(path, "gpt-4").events())
    moved = list(read_trace(path, "gpt-4", shift_to=AT).events())
    assert max(event.occurred_at for event in moved) == AT
    assert len({after.occurred_at - before.occurred_at for before, after in zip(plain, moved, strict=True)}) == 1
    assert {event.event_id for event in plain}.isdisjoint({event.event_id for event in moved})


def test_shifting_a_bill_moves_its_periods_too() -> None:
    """The end of a charge's period stays after its start."""
    plain, moved = (list(read_focus(DATA / "focus_excerpt.csv", shift_to=at).events()) for at in (None, AT))
    assert max(event.occurred_at for event in moved) == AT
    for before, after in zip(plain, moved, strict=True):
        assert datetime.fromisoformat(after.metadata["ChargePeriodEnd"]) - after.occurred_at == timedelta(hours=1)
        start = datetime.fromisoformat(after.metadata["BillingPeriodStart"])
        assert start - datetime(2024, 9, 1, tzinfo=UTC) == after.occurred_at - before.occurred_at
        assert (
            replace(after, event_id=before.event_id, occurred_at=before.occurred_at, metadata=before.metadata) == before
        )


def test_other_arguments_make_other_events() -> None:
    """Model, provider and number of users are part of the id."""
    path = DATA / "trace_excerpt.csv"
    imports = [
        read_trace(path, "gpt-4"),
        read_trace(path, "gpt-4o"),
        read_trace(path, "gpt-4", users=3),
        read_trace(path, "gpt-4", provider="azure"),
    ]
    assert len({event.event_id for trace in imports for event in trace.events()}) == 4 * 24
