"""The price book: what is shipped, exact arithmetic, what is unpriced, and the list of prices in force."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.producers.collecting import BOOK
from tests.producers.prices.pricing import NOW, NOW_US, PICO, TRACE_DAY, entry, overlay

from costledger.producers.prices import PriceBook, check_prices, list_prices, show_price
from costledger.producers.prices.rates import decimal_text, divided_half_even
from costledger.schemas.errors import InvalidValue

SPECIFIED = [
    *(
        ("aws-rekognition", operation, "image", "0.001")
        for operation in (
            "detectLabels",
            "detectFaces",
            "detectText",
            "detectModerationLabels",
            "recognizeCelebrities",
        )
    ),
    ("aws-rekognition", "videoAnalysis", "minute", "0.10"),
    ("aws-transcribe", "transcription", "minute", "0.024"),
    *(
        ("aws-comprehend", operation, "100 characters", "0.0001")
        for operation in ("detectEntities", "detectSentiment", "detectKeyPhrases")
    ),
    ("aws-s3", "storage", "GB-month", "0.023"),
    ("aws-s3", "get", "request", "0.0000004"),
    ("aws-s3", "put", "request", "0.000005"),
    ("aws-s3", "transfer", "GB", "0.09"),
    ("openai", "embedding-text-embedding-3-small", "token", "0.00000002"),
    ("openai", "embedding-text-embedding-3-large", "token", "0.00000013"),
    ("internal", "processing", "CPU hour", "0.10"),
    ("internal", "processing", "GB hour", "0.01"),
]


@pytest.mark.parametrize(("service", "operation", "unit", "usd_per_unit"), SPECIFIED)
def test_every_specified_price_is_right_to_the_picodollar(
    service: str, operation: str, unit: str, usd_per_unit: str
) -> None:
    """A thousand units cost a thousand times the specified price, exactly."""
    priced = BOOK.price(service, operation, 1000, NOW, unit=unit)
    assert priced.amount_picodollars == Decimal(usd_per_unit) * 1000 * PICO
    assert priced.unit == unit
    assert priced.price_version == "costledger-2026.11@2000-01-01"


def test_the_first_unit_of_an_operation_is_meant_when_none_is_named() -> None:
    """Processing without a unit counts CPU hours."""
    assert BOOK.price("internal", "processing", 2, NOW).unit == "CPU hour"


def test_a_stripe_charge_costs_a_share_and_a_fixed_fee() -> None:
    """100 USD cost 2.9 % and 0.30; without the charge's amount nothing is known, and nothing is guessed."""
    assert BOOK.price("stripe", "charge", 1, NOW, metadata={"charge_usd": "100"}).amount_picodollars == 32 * PICO // 10
    assert (
        BOOK.price("stripe", "charge", 1, NOW, metadata={"charge_usd": "1000"}).amount_picodollars == 293 * PICO // 10
    )
    assert BOOK.price("stripe", "charge", 1, NOW).amount_picodollars is None
    assert BOOK.price("stripe", "charge", 1, NOW, metadata={"charge_usd": "much"}).amount_picodollars is None


def test_processing_charges_cpu_and_memory() -> None:
    """2 CPU hours and 3 GB hours cost 0.23; a memory that is no number is unpriced, not free."""
    metadata = {"memory_gb_hours": "3"}
    assert BOOK.price("internal", "processing", 2, NOW, metadata=metadata).amount_picodollars == 230_000_000_000
    assert BOOK.price("internal", "processing", 2, NOW, metadata={"memory_gb_hours": "x"}).amount_picodollars is None


@pytest.mark.parametrize(("characters", "blocks"), [(0, 0), (1, 1), (100, 1), (101, 2), (250, 3), (-101, -2)])
def test_a_begun_hundred_characters_is_charged_whole(characters: int, blocks: int) -> None:
    """Characters are counted in begun hundreds, and unit price times quantity is the amount."""
    priced = BOOK.price("aws-comprehend", "detectSentiment", characters, NOW, unit="character")
    assert priced.quantity_nanounits == blocks * 10**9
    assert priced.amount_picodollars == blocks * 100_000_000
    assert (priced.unit, priced.unit_price) == ("100 characters", "0.0001")


@pytest.mark.parametrize(
    ("service", "operation", "unit"),
    [
        ("nobody", "storage", None),
        ("aws-s3", "delete", None),
        ("aws-s3", "storage", "GB"),
        ("openai", "input-tokens", None),
        ("openai", "embedding-no-such-model", None),
        ("openai", "embedding-text-embedding-3-small", "word"),
    ],
)
def test_what_no_entry_covers_is_unpriced_and_never_zero(service: str, operation: str, unit: str | None) -> None:
    """An unknown service, operation, model or unit has no amount."""
    priced = BOOK.price(service, operation, 5, NOW, unit=unit)
    assert (priced.amount_picodollars, priced.unit_price, priced.price_version) == (None, None, None)
    assert priced.quantity_nanounits == 5 * 10**9


@given(
    st.sampled_from([row for row in SPECIFIED if row[0] != "aws-comprehend"]),
    st.decimals(-(10**6), 10**6, places=9),
    st.integers(1, 50),
)
def test_an_amount_is_the_exact_product_rounded_once_in_any_decimal_context(
    row: tuple[str, str, str, str], quantity: Decimal, precision_digits: int
) -> None:
    """The host's decimal precision changes no amount."""
    service, operation, unit, usd_per_unit = row
    with localcontext() as context:
        context.prec = 60
        expected = (Decimal(usd_per_unit) * quantity * PICO).to_integral_value(ROUND_HALF_EVEN)
    with localcontext() as context:
        context.prec = precision_digits
        assert BOOK.price(service, operation, quantity, NOW, unit=unit).amount_picodollars == int(expected)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_division_rounds_half_to_even(numerator: int, denominator: int) -> None:
    """As Python rounds fractions."""
    assert divided_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.decimals(-(10**9), 10**9, places=20))
def test_a_fraction_that_ends_is_written_as_the_decimal_it_is(number: Decimal) -> None:
    """Text and fraction are the same number; a third has no end."""
    text = decimal_text(Fraction(number))
    assert text is not None
    assert Decimal(text) == number
    assert "E" not in text
    assert decimal_text(Fraction(1, 3)) is None


def test_charges_that_are_rounded_add_up_to_the_whole_rounded_once(tmp_path: Path) -> None:
    """0.4 picodollars for each of three kinds: 1.2 in all is 1, not 0."""
    operations = ["input-tokens", "output-tokens", "cached-input-tokens"]
    text = entry(service="lab", operations=operations, unit="token", price="0.0000000000004")
    charges = PriceBook.load(overlay(tmp_path, text)).price_chat("lab", "m", 2, 1, 1, NOW_US)
    assert sum(charge.priced.amount_picodollars or 0 for charge in charges) == 1


def test_half_a_picodollar_goes_to_the_even_neighbour() -> None:
    """4e-7 USD a request: 1.25e-6 and 3.75e-6 requests cost half a picodollar up and down to even ones."""
    amounts = [BOOK.price("aws-s3", "get", text, NOW).amount_picodollars for text in ("0.00000125", "0.00000375")]
    assert amounts == [0, 2]


def test_the_shipped_prices_have_no_findings() -> None:
    """Nothing in the shipped file is doubtful."""
    assert check_prices([]) == []


def test_the_list_shows_the_prices_in_force(tmp_path: Path) -> None:
    """A replaced price is not listed; the one that replaces it is."""
    book = PriceBook.load(overlay(tmp_path, entry()))
    rows = {(row.service, row.operation, row.unit): row for row in list_prices(book, NOW)}
    assert rows["aws-s3", "storage", "GB-month"].unit_price == "0.02"
    assert rows["stripe", "charge", "transaction"].additions == {"charge_usd": "0.029"}
    assert len(rows) == len(list_prices(book, NOW)) == len(SPECIFIED) + 1


def test_one_price_can_be_shown_also_of_a_model() -> None:
    """Entries, models, and None for what is unpriced."""
    shown = show_price(BOOK, "openai", "output-tokens", TRACE_DAY, model="gpt-4")
    assert shown is not None
    assert (shown.unit_price, shown.unit, shown.source) == ("0.00006", "token", "the genai-prices library")
    storage = show_price(BOOK, "aws-s3", "storage", NOW)
    assert storage is not None
    assert storage.unit_price == "0.023"
    assert show_price(BOOK, "openai", "output-tokens", NOW, model="no-such-model") is None


@pytest.mark.parametrize("quantity", [float("nan"), True, "many", Decimal("Infinity"), "1E+40"])
def test_a_quantity_that_is_no_number_is_an_error(quantity: object) -> None:
    """Unlike a missing price, a wrong quantity is a mistake of the caller."""
    with pytest.raises(InvalidValue, match=r"^quantity is "):
        BOOK.price("aws-s3", "get", quantity, NOW)  # type: ignore[arg-type]  # the point of the test
