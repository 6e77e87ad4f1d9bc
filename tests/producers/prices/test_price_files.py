"""Price files over the shipped prices: which entry is meant, and what is wrong or doubtful in a file, by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tests.producers.collecting import BOOK, CollectingTracker
from tests.producers.prices.pricing import NOW, PICO, entry, overlay

from costledger.producers.prices import PriceBook, check_prices
from costledger.schemas.errors import PriceError
from costledger.schemas.times import to_microseconds


def test_a_later_file_wins_where_it_has_an_entry(tmp_path: Path) -> None:
    """From its first day on a contract's price replaces the shipped one, up to its last day."""
    path = overlay(tmp_path, entry(effective_to=date(2025, 1, 1)))
    book = PriceBook.load(path)
    days = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 12, 31), date(2025, 1, 1)]
    prices = [book.price("aws-s3", "storage", 1, datetime(d.year, d.month, d.day, tzinfo=UTC)) for d in days]
    assert [price.unit_price for price in prices] == ["0.023", "0.02", "0.02", "0.023"]
    assert prices[1].price_version == "own-1@2024-01-01"
    assert book.price("aws-s3", "get", 1, NOW).unit_price == "0.0000004"
    last = overlay(tmp_path, entry(price="0.01"), "last.toml")
    assert PriceBook.load(path, last).price("aws-s3", "storage", 1, NOW - timedelta(days=700)).unit_price == "0.01"


def test_a_file_can_price_a_model_a_service_and_a_unit_of_its_own(tmp_path: Path) -> None:
    """An entry for a model wins over the library, `*` covers a service's other operations."""
    entries = (
        entry(service="openai", operations=["input-tokens"], model="gpt-4", unit="token", price="25", per=10**6)
        + entry(service="ocr", operations="*", unit="page", price="0.5")
        + entry(service="ocr", operations=["draft"], unit="page", price="0")
    )
    book = PriceBook.load(overlay(tmp_path, entries, units='units = ["page"]'))
    assert book.price("openai", "input-tokens", 1, NOW, metadata={"model": "gpt-4"}).unit_price == "0.000025"
    assert book.price("openai", "input-tokens", 1, NOW, metadata={"model": "gpt-4o"}).unit_price == "0.0000025"
    assert book.price("ocr", "scan", 3, NOW).amount_picodollars == 3 * PICO // 2
    assert book.price("ocr", "draft", 3, NOW).amount_picodollars == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"price": "-1"}, r"entry 1: price is '-1'; it must be decimal text from 0"),
        ({"price": "dear"}, r"entry 1: price is 'dear'"),
        ({"price": 0.5}, r"price is 0\.5; it must be decimal text .* in quotes"),
        ({"price": "1E-999999"}, r"price is '1E-999999'"),
        ({"price": "1", "per": 3}, r"price is '1 per 3'; it must be USD per unit with an end as a decimal"),
        ({"per": 0}, r"per is 0; it must be a whole number"),
        ({"unit": "furlong"}, r"unit is 'furlong'; it must be one of .*GB-month"),
        ({"effective_from": None}, r"effective_from is None; it must be a day"),
        ({"effective_to": date(2024, 1, 1)}, r"effective_to is .*; it must be after effective_from \(2024-01-01\)"),
        ({"service": ""}, r"service is ''"),
        ({"operations": []}, r"operations is \[\]; it must be a list of texts"),
        ({"discount": "1"}, r"a field is 'discount'; it must be one of "),
        ({"rounded_up": "yes"}, r"rounded_up is 'yes'; it must be of type bool"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    """The error names the file, the entry, the field, the value and the limit."""
    path = overlay(tmp_path, entry(**fields))
    with pytest.raises(PriceError, match=rf"^own\.toml, {message}" if "entry" in message else message):
        PriceBook.load(path)
    assert [finding.severity for finding in check_prices([path])] == ["error"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1", "version is 1; it must be text"),
        ('version = "x"\ncurrency = "EUR"', "currency is 'EUR'; it must be USD"),
        ("= = =", "own.toml: cannot be read as a price book"),
        ('version = "x"\nprice = [1]', "entry 1: 1 must be a table"),
        ('version = "x"\nprices = []', "a field is 'prices'"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """The error says what is wrong with the file as a whole."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(PriceError, match=message):
        PriceBook.load(path)


def test_a_missing_file_is_a_price_error(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(PriceError, match=r"none\.toml: cannot be read"):
        PriceBook.load(tmp_path / "none.toml")


def test_two_prices_for_one_day_are_an_error(tmp_path: Path) -> None:
    """Overlapping entries of one file are refused: which one is meant cannot be known."""
    path = overlay(tmp_path, entry() + entry(effective_from=date(2024, 6, 1)))
    with pytest.raises(
        PriceError, match="aws-s3/storage per GB-month from 2024-01-01 overlaps the one from 2024-06-01"
    ):
        PriceBook.load(path)


def test_a_gap_and_a_hidden_entry_are_findings(tmp_path: Path) -> None:
    """Doubtful things are told, and the book can be used."""
    gap = overlay(tmp_path, entry(effective_to=date(2024, 6, 1)) + entry(effective_from=date(2024, 7, 1)))
    over = overlay(tmp_path, entry(effective_from=date(2000, 1, 1)), "over.toml")
    messages = [str(finding) for finding in PriceBook.load(gap, over).check()]
    assert any("ends on 2024-06-01, and the next price begins on 2024-07-01" in message for message in messages)
    assert any(
        message.startswith("shipped.toml: aws-s3/storage") and "never applies" in message for message in messages
    )


def test_a_price_for_another_unit_is_no_price_of_what_a_method_counts(tmp_path: Path) -> None:
    """Millions of tokens, gigabytes for requests, GB hours for CPU hours: not multiplied, but passed over or converted."""
    entries = (
        entry(service="openai", operations=["input-tokens", "output-tokens"], unit="1M tokens", price="2.50")
        + entry(service="aws-s3", operations="*", unit="GB", price="0.02")
        + entry(service="internal", operations=["processing"], unit="GB hour", price="0.02")
    )
    book = PriceBook.load(overlay(tmp_path, entries, units='units = ["1M tokens"]'))
    usual = BOOK.price_chat("openai", "gpt-4o", 1_000, 10, 0, to_microseconds(NOW))
    assert book.price_chat("openai", "gpt-4o", 1_000, 10, 0, to_microseconds(NOW)) == usual
    tracker = CollectingTracker(book)
    tracker.track_s3("u", "get", 1)
    tracker.track_s3("u", "transfer", 1)
    tracker.track_processing("u", 2, 8)
    priced = tracker.records
    assert [record["unit_price"] for record in priced] == ["0.0000004", "0.02", None]
    assert [record["unit"] for record in priced] == ["request", "GB", "CPU hour"]
    assert priced[2]["amount"] == 28 * PICO // 100
    counted = entry(service="openai", operations=["input-tokens"], unit="1M tokens", price="3.00")
    counted += "counted_in = { token = 1_000_000 }\n"
    own = PriceBook.load(overlay(tmp_path, counted, "counted.toml", 'units = ["1M tokens"]'))
    (charge, *_) = own.price_chat("openai", "gpt-4o", 1_000, 10, 0, to_microseconds(NOW))
    assert charge.priced.amount_picodollars == 3 * PICO // 1_000
