"""Prices that jump: held until someone has reviewed them, and unpriced meanwhile."""

from __future__ import annotations

import logging
import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.producers.prices.pricing import noon, price_file, storage

from costledger.producers.prices import PriceBook, PriceFileError, check_prices, list_prices, show_price
from costledger.producers.prices.jumps import JUMP_FACTOR_MAX
from costledger.producers.records import Draft, build_record

YEAR_2024 = noon("2024-06-01")
YEAR_2026 = noon("2026-06-01")
GPT_4: dict[str, Any] = {
    "service": "openai",
    "operations": ["input-tokens"],
    "model": "gpt-4",
    "unit": "token",
    "per": 10**6,
}


def held(book: PriceBook) -> list[tuple[int, str]]:
    """Number and field of every entry that is held."""
    return [(entry.number, entry.held.field) for entry in book.held if entry.held is not None]


@pytest.mark.parametrize(
    ("price", "is_held"),
    [
        ("0.23", False),  # ten times
        ("0.2300001", True),
        ("0.0023", False),  # a tenth
        ("0.0022999", True),
        ("23", True),
        ("0", True),
        ("0.023", False),
    ],
)
def test_a_price_more_than_ten_times_the_shipped_one_is_held(tmp_path: Path, price: str, is_held: bool) -> None:
    """A factor of ten either way passes; beyond it, or to 0, an entry waits. 0.023 is what lies below."""
    book = PriceBook.load(price_file(tmp_path, storage(price=price)))
    assert held(book) == ([(1, "price")] if is_held else [])
    priced = book.price("aws-s3", "storage", 3, YEAR_2026)
    if is_held:
        assert priced == (None, None, None, "GB-month", 3 * 10**9)
    else:
        assert priced.amount_picodollars == Decimal(price) * 3 * 10**12


def test_a_held_price_falls_back_to_nothing(tmp_path: Path) -> None:
    """Neither the price below nor a more general one of the same file stands in for it; other days are priced."""
    general = storage(operations="*", price="0.03")
    path = price_file(tmp_path, general, storage(price="2", effective_to="2025-01-01"))
    book = PriceBook.load(path)
    assert held(book) == [(2, "price")]
    assert book.price("aws-s3", "storage", 1, YEAR_2024).amount_picodollars is None
    assert book.price("aws-s3", "storage", 1, noon("2023-12-31")).unit_price == "0.023"
    assert book.price("aws-s3", "storage", 1, noon("2025-01-01")).unit_price == "0.03"


def test_a_reviewed_price_is_applied(tmp_path: Path) -> None:
    """With a reason beside it the same entry prices events, and nothing is found."""
    path = price_file(tmp_path, storage(price="2", reviewed="per TB, as agreed"))
    assert held(PriceBook.load(path)) == []
    assert PriceBook.load(path).price("aws-s3", "storage", 1, YEAR_2026).unit_price == "2"
    assert check_prices([path]) == []


def test_what_is_counted_stays_as_it_was_counted(tmp_path: Path) -> None:
    """A held price that rounds up rounds nothing: whatever the review decides can rate the event."""
    comprehend = storage(
        service="aws-comprehend",
        operations=["detectSentiment"],
        unit="100 characters",
        counted_in={"character": 100},
        rounded_up=True,
        price="0.1",
    )
    book = PriceBook.load(price_file(tmp_path, comprehend))
    priced = book.price("aws-comprehend", "detectSentiment", 250, YEAR_2026, unit="character")
    assert (priced.amount_picodollars, priced.unit, priced.quantity_nanounits) == (None, "character", 250 * 10**9)


def test_an_event_under_a_held_price_is_recorded_as_unpriced(tmp_path: Path) -> None:
    """With its quantity and unit, without amount, unit price or version; once reviewed it can be rated from these."""
    held_price = storage(price="2")
    draft = Draft(user_id="u", service="aws-s3", operation="storage", quantity=3, occurred_at=YEAR_2026)
    _, record = build_record(draft, PriceBook.load(price_file(tmp_path, held_price)), "tests")
    assert (record["amount"], record["unit_price"], record["price_version"]) == (None, None, None)
    assert (record["quantity"], record["unit"]) == (3 * 10**9, "GB-month")
    reviewed = PriceBook.load(price_file(tmp_path, {**held_price, "reviewed": "per TB"}))
    again = reviewed.price_nanounits("aws-s3", "storage", record["quantity"], record["occurred_at"], record["unit"])
    assert again.amount_picodollars == 6 * 10**12


def test_the_entry_before_in_the_same_file_is_the_one_that_counts(tmp_path: Path) -> None:
    """Small steps lead anywhere; the file below is only looked at by the first one."""
    steps = [
        storage(price="0.2", effective_to="2025-01-01"),
        storage(price="1.9", effective_from="2025-01-01", effective_to="2026-01-01"),
        storage(price="19.1", effective_from="2026-01-01"),
    ]
    assert held(PriceBook.load(price_file(tmp_path, *reversed(steps)))) == [(1, "price")]


def test_a_wrong_price_neither_excuses_nor_accuses_the_next_one(tmp_path: Path) -> None:
    """After one that is held, the next is compared with the last that was right."""
    wrong = storage(price="2", effective_to="2025-01-01")
    same = storage(price="2", effective_from="2025-01-01", effective_to="2026-01-01")
    right = storage(price="0.025", effective_from="2026-01-01")
    assert held(PriceBook.load(price_file(tmp_path, wrong, same, right))) == [(1, "price"), (2, "price")]
    reviewed = {**wrong, "reviewed": "yes"}
    assert held(PriceBook.load(price_file(tmp_path, reviewed, same, right))) == [(3, "price")]


def test_a_price_over_a_held_one_is_compared_with_what_that_one_follows(tmp_path: Path) -> None:
    """A file that puts a wrong price of a lower file right is not held for it."""
    wrong = price_file(tmp_path, storage(price="2"), name="wrong.json")
    right = price_file(tmp_path, storage(price="0.024", effective_from="2025-01-01"), name="right.json")
    book = PriceBook.load(wrong, right)
    assert [(entry.file, entry.number) for entry in book.held] == [("wrong.json", 1)]
    assert book.price("aws-s3", "storage", 1, YEAR_2026).unit_price == "0.024"


def test_a_price_begins_where_nothing_was(tmp_path: Path) -> None:
    """The first price of an operation follows none, whatever it is; 0 may be right from the start."""
    path = price_file(tmp_path, storage(service="ocr", price="900000"), storage(service="free", price="0"))
    assert held(PriceBook.load(path)) == []


def test_what_begins_in_a_lower_file_on_the_same_day_is_followed(tmp_path: Path) -> None:
    """Where the day before has no price, the day itself counts."""
    lower = price_file(tmp_path, storage(service="ocr", price="1"), name="lower.json")
    upper = price_file(tmp_path, storage(service="ocr", price="100"), name="upper.json")
    assert [(entry.file, entry.number) for entry in PriceBook.load(lower, upper).held] == [("upper.json", 1)]


@pytest.mark.parametrize(
    ("fields", "is_held"),
    [
        ({"price": "60"}, False),
        ({"price": "3"}, False),
        ({"price": "0.00003", "per": 1}, False),
        ({"price": "30", "per": 1}, True),  # a price for a million, said to be for one
        ({"price": "0.03", "per": 10**6}, True),  # a price for a thousand, said to be for a million
        ({"price": "0"}, True),
        ({"price": "30", "per": 1, "model": "nobody-knows-this-model"}, False),
    ],
)
def test_a_model_is_compared_with_the_library(tmp_path: Path, fields: dict[str, Any], is_held: bool) -> None:
    """gpt-4 costs 30 USD per million input tokens; the reason names the library's snapshot."""
    book = PriceBook.load(price_file(tmp_path, storage(**{**GPT_4, **fields})))
    assert held(book) == ([(1, "price")] if is_held else [])
    for entry in book.held:
        assert entry.held is not None
        assert book.llm.version in entry.held.reason


def test_the_price_of_a_model_by_length_is_compared_at_its_base(tmp_path: Path) -> None:
    """claude-opus-4-6 costs 25 USD per million output tokens up to 200,000 tokens of input."""
    opus = {**GPT_4, "service": "anthropic", "operations": ["output-tokens"], "model": "claude-opus-4-6"}
    fits, jumps = storage(**{**opus, "price": "250"}), storage(**{**opus, "price": "251"})
    assert held(PriceBook.load(price_file(tmp_path, fits))) == []
    assert held(PriceBook.load(price_file(tmp_path, jumps))) == [(1, "price")]


def test_other_units_are_compared_where_both_count_in_them(tmp_path: Path) -> None:
    """0.0001 per 100 characters is 0.000001 per character: 0.0001 per character is a slip."""
    character = storage(service="aws-comprehend", operations=["detectSentiment"], unit="character", price="0.000002")
    assert held(PriceBook.load(price_file(tmp_path, character))) == []
    slip = {**character, "price": "0.0001"}
    assert held(PriceBook.load(price_file(tmp_path, slip))) == [(1, "price")]
    thousands = {**character, "unit": "1000 characters", "counted_in": {"character": 1000}}
    lower = price_file(tmp_path, {**character, "price": "0.000001", "service": "own"}, name="lower.json")
    for price, found in (("0.01", []), ("0.0101", [(1, "price")])):
        entry = {**thousands, "service": "own", "price": price}
        assert held(PriceBook.load(lower, price_file(tmp_path, entry, units=["1000 characters"]))) == found
    other = {**character, "unit": "page", "price": "5"}
    assert held(PriceBook.load(price_file(tmp_path, other, units=["page"]))) == []


def test_an_entry_for_all_operations_is_compared_with_each(tmp_path: Path) -> None:
    """A price for everything that S3 counts in GB replaces the one of transfer, 0.09."""
    everything = storage(operations="*", unit="GB")
    assert held(PriceBook.load(price_file(tmp_path, {**everything, "price": "0.9"}))) == []
    assert held(PriceBook.load(price_file(tmp_path, {**everything, "price": "0.91"}))) == [(1, "price")]


@pytest.mark.parametrize(
    ("additions", "field"),
    [
        ([{"metadata": "charge_usd", "price": "0.019"}], None),
        ([{"metadata": "charge_usd", "price": "2.9"}], "additions.charge_usd"),
        ([], "additions.charge_usd"),
        ([{"metadata": "charge_usd", "price": "0.029"}, {"metadata": "disputes", "price": "15"}], "additions.disputes"),
    ],
)
def test_what_is_charged_besides_is_compared_too(
    tmp_path: Path, additions: list[dict[str, str]], field: str | None
) -> None:
    """2.9 % written as 2.9, a share that is forgotten or new: each waits for review."""
    entry = storage(service="stripe", operations=["charge"], unit="transaction", price="0.30", additions=additions)
    assert held(PriceBook.load(price_file(tmp_path, entry))) == ([] if field is None else [(1, field)])


def test_loading_warns_of_held_prices_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, which names the file, the entry and the operation, and no more than twenty of them."""
    entries = [storage(operations=[f"o{number}"], unit="GB", price="1") for number in range(30)]
    lower = price_file(tmp_path, storage(operations="*", unit="GB", price="0.01"), name="lower.json")
    with caplog.at_level(logging.WARNING):
        PriceBook.load(lower, price_file(tmp_path, *entries))
    (record,) = caplog.records
    assert record.getMessage().startswith("30 price entries are held for review")
    assert "own.json, entry 20: aws-s3/o19 per GB from 2024-01-01; and 10 more" in record.getMessage()


def test_a_book_without_held_prices_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The shipped prices load in silence."""
    with caplog.at_level(logging.WARNING):
        assert PriceBook.load().held == []
    assert caplog.records == []


def test_check_says_what_to_do(tmp_path: Path) -> None:
    """A finding of severity review names file, entry, field, value, limit and the price that it follows."""
    (finding,) = check_prices([price_file(tmp_path, storage(), storage(operations=["transfer"], unit="GB", price="9"))])
    assert (finding.severity, finding.file, finding.entry, finding.field) == ("review", "own.json", 2, "price")
    assert str(finding) == (
        "own.json, entry 2: aws-s3/transfer per GB from 2024-01-01 is held: price is 9 USD per GB; it must be from "
        "0.009 to 0.9, since it follows 0.09 (shipped.toml, entry 8 from 2000-01-01), or `reviewed` must say why it is "
        "right"
    )


def test_held_prices_are_listed_and_shown_as_such(tmp_path: Path) -> None:
    """They are not hidden: what would apply is shown, marked."""
    book = PriceBook.load(price_file(tmp_path, storage(price="2"), storage(operations=["put"], unit="request")))
    rows = {(row.operation, row.unit): row for row in list_prices(book, YEAR_2026) if row.service == "aws-s3"}
    assert rows["storage", "GB-month"].unit_price == "2"
    assert rows["storage", "GB-month"].held is not None
    assert rows["get", "request"].held is None
    shown = show_price(book, "aws-s3", "storage", YEAR_2026)
    assert shown is not None
    assert shown.held == rows["storage", "GB-month"].held
    assert book.entry_at("aws-s3", "storage", date(2026, 6, 1)) in book.held


def test_all_that_is_wrong_in_a_file_is_said_at_once(tmp_path: Path) -> None:
    """Each wrong entry is a finding of its own, and the error keeps them over a pickle."""
    path = price_file(tmp_path, storage(price="-1"), storage(), storage(unit="furlong"))
    findings = check_prices([path])
    assert [(each.severity, each.entry, each.field) for each in findings] == [
        ("error", 1, "price"),
        ("error", 3, "unit"),
    ]
    with pytest.raises(PriceFileError) as caught:
        PriceBook.load(path)
    assert str(caught.value).splitlines() == [str(finding) for finding in findings]
    assert pickle.loads(pickle.dumps(caught.value)).findings == tuple(findings)  # noqa: S301 - our own bytes


PRICES = st.decimals("0", "1000", places=4)


@example(Decimal(0), Decimal(0))
@example(Decimal("0.0001"), Decimal("0.001"))
@example(Decimal("0.001"), Decimal(0))
@given(PRICES, PRICES)
def test_held_is_symmetrical_and_exact(tmp_path_factory: pytest.TempPathFactory, one: Decimal, other: Decimal) -> None:
    """A step is held exactly when the larger price is above ten times the smaller, in either direction."""
    directory = tmp_path_factory.mktemp("prices")
    jumps = max(one, other) > JUMP_FACTOR_MAX * min(one, other)
    for before, after in ((one, other), (other, one)):
        path = price_file(
            directory,
            storage(service="ocr", price=f"{before:f}", effective_to="2025-01-01"),
            storage(service="ocr", price=f"{after:f}", effective_from="2025-01-01"),
        )
        assert held(PriceBook.read(path)) == ([(2, "price")] if jumps else [])
