"""The price book: what the specification lists, exact arithmetic, language models, overlays and their errors."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.producers.collecting import CollectingTracker

from costledger.producers.prices import PriceBook, check_prices, installed_snapshot, list_prices, llm, show_price
from costledger.producers.prices.rates import decimal_text, divided_half_even
from costledger.schemas.errors import InvalidValue, PriceError
from costledger.schemas.times import to_microseconds

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
NOW_US = to_microseconds(NOW)
TRACE_DAY = datetime(2023, 11, 16, 18, 17, tzinfo=UTC)
BOOK = PriceBook.load()
PICO = 10**12

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


def overlay(directory: Path, entries: str, name: str = "own.toml", units: str = "") -> Path:
    """A price file with these entries."""
    path = directory / name
    path.write_text(f'version = "own-1"\n{units}\n{entries}')
    return path


def entry(**fields: object) -> str:
    """One entry in TOML; the defaults are a price for S3 storage."""
    table: dict[str, object] = {
        "service": "aws-s3",
        "operations": ["storage"],
        "unit": "GB-month",
        "price": "0.02",
        "effective_from": date(2024, 1, 1),
        "source": "a contract",
    } | fields
    lines = [f"{name} = {_toml(value)}" for name, value in table.items() if value is not None]
    return "[[price]]\n" + "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, (str, list, int, float)) else str(value)


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


def test_an_unknown_model_is_unpriced() -> None:
    """A chat with a model that nobody knows has events without amounts."""
    charges = BOOK.price_chat("openai", "no-such-model", 100, 10, 0, NOW_US)
    assert [charge.priced.amount_picodollars for charge in charges] == [None, None]


def test_any_embedding_model_that_the_library_knows_has_its_price() -> None:
    """text-embedding-ada-002, which no file prices, costs 0.10 USD a million tokens."""
    priced = BOOK.price("openai", "embedding-text-embedding-ada-002", 1000, NOW)
    assert (priced.amount_picodollars, priced.unit) == (100_000_000, "token")
    assert priced.price_version == f"{installed_snapshot().label}/openai/text-embedding-ada-002"


def test_a_kind_of_token_without_a_price_is_unpriced_and_never_free() -> None:
    """An embedding model has no price for output."""
    priced = BOOK.price("openai", "output-tokens", 10, NOW, metadata={"model": "text-embedding-ada-002"})
    assert priced.amount_picodollars is None


def test_gpt_4_in_2023_costs_30_and_60_dollars_a_million() -> None:
    """The price of the trace's day, with the library's version beside it."""
    prompt, completion = BOOK.price_chat("openai", "gpt-4", 4808, 10, 0, to_microseconds(TRACE_DAY))
    assert (prompt.operation, completion.operation) == ("input-tokens", "output-tokens")
    assert prompt.priced.amount_picodollars == 4808 * 30 * 10**6
    assert completion.priced.amount_picodollars == 10 * 60 * 10**6
    assert prompt.priced.price_version == f"{installed_snapshot().label}/openai/gpt-4"
    assert (prompt.priced.unit_price, completion.priced.unit_price) == ("0.00003", "0.00006")


def test_cached_tokens_are_charged_once() -> None:
    """Of 1000 input tokens of gpt-4o, 400 cached ones cost half, the others the whole price."""
    charges = {charge.operation: charge for charge in BOOK.price_chat("openai", "gpt-4o", 1000, 0, 400, NOW_US)}
    assert charges["input-tokens"].quantity == 600
    assert charges["input-tokens"].priced.amount_picodollars == 600 * 2_500_000
    assert charges["cached-input-tokens"].priced.amount_picodollars == 400 * 1_250_000


def test_cached_tokens_of_a_model_without_a_price_for_them_cost_as_much_as_others() -> None:
    """gpt-4 has one price for all input."""
    charges = {charge.operation: charge for charge in BOOK.price_chat("openai", "gpt-4", 1000, 0, 400, NOW_US)}
    assert charges["cached-input-tokens"].priced.amount_picodollars == 400 * 30 * 10**6


def test_a_fee_for_each_request_is_a_charge_of_its_own() -> None:
    """sonar charges 0.012 USD a request besides its tokens."""
    charges = {charge.operation: charge for charge in BOOK.price_chat("perplexity", "sonar", 10, 10, 0, NOW_US)}
    assert charges["requests"].quantity == 1
    assert charges["requests"].priced.amount_picodollars == 12 * 10**9
    assert charges["requests"].priced.unit == "request"


def test_more_cached_than_input_tokens_are_refused() -> None:
    """Cached tokens are part of the input."""
    with pytest.raises(InvalidValue, match="cached_input_tokens is 11; it must be from 0 to input_tokens"):
        BOOK.price_chat("openai", "gpt-4o", 10, 0, 11, NOW_US)


def test_a_price_that_changed_on_a_day_is_dated() -> None:
    """o3 became cheaper on 2025-06-10: each side of that day has its own price and version."""
    before = BOOK.price("openai", "input-tokens", 1, datetime(2025, 6, 9, 23, 59, tzinfo=UTC), metadata={"model": "o3"})
    after = BOOK.price("openai", "input-tokens", 1, datetime(2025, 6, 10, tzinfo=UTC), metadata={"model": "o3"})
    assert (before.unit_price, after.unit_price) == ("0.00001", "0.000002")
    assert after.price_version is not None
    assert after.price_version.endswith("/o3@2025-06-10")


def test_a_price_by_length_of_input_needs_that_length() -> None:
    """Beyond 200,000 input tokens every token of this model costs more; without the length it is unpriced."""
    model = {"model": "claude-opus-4-6"}
    day = datetime(2026, 3, 1, tzinfo=UTC)
    assert BOOK.price("anthropic", "output-tokens", 1, day, metadata=model).amount_picodollars is None
    short = BOOK.price("anthropic", "output-tokens", 1, day, metadata=model | {"request_input_tokens": "200000"})
    long = BOOK.price("anthropic", "output-tokens", 1, day, metadata=model | {"request_input_tokens": "200001"})
    assert (short.unit_price, long.unit_price) == ("0.000025", "0.0000375")
    assert BOOK.chat_metadata("anthropic", "claude-opus-4-6", 300, to_microseconds(day)) == model | {
        "request_input_tokens": "300"
    }
    assert BOOK.chat_metadata("openai", "gpt-4", 300, NOW_US) == {"model": "gpt-4"}


MODELS = sorted({(provider.id, model.id) for provider in providers for model in provider.models})
TOKENS = st.integers(0, 2_000_000)
#: Five years of them.
MINUTES = st.integers(0, 5 * 365 * 24 * 60)


#: Its price has more than 12 decimals a token, so that each charge is rounded.
UNEVEN = ("huggingface_together", "meta-llama/Llama-3.3-70B-Instruct")


@example(UNEVEN, 1, 0, 1, 0)
@example(UNEVEN, 3, 2, 5, 0)
@given(st.sampled_from(MODELS), TOKENS, TOKENS, TOKENS, MINUTES)
def test_the_charges_of_a_chat_add_up_to_what_the_library_says(
    model: tuple[str, str], fresh: int, cached: int, output: int, minute: int
) -> None:
    """For every model: the sum of the amounts is the library's price of the whole request, rounded once."""
    at = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    charges = BOOK.price_chat(*model, fresh + cached, output, cached, to_microseconds(at))
    amounts = [charge.priced.amount_picodollars for charge in charges]
    assume(None not in amounts)
    usage = genai_prices.Usage(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=output)
    with localcontext() as context:
        context.prec = 60
        whole = genai_prices.calc_price(usage, model[1], provider_id=model[0], genai_request_timestamp=at).total_price
    assert sum(amount for amount in amounts if amount is not None) == divided_half_even(
        *(Fraction(whole) * PICO).as_integer_ratio()
    )


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


@pytest.mark.parametrize("provider", ["openai-compatible", "vllm-openai", "my-google", "multimodal-lab", ""])
def test_a_provider_of_its_own_has_no_prices_of_another(provider: str) -> None:
    """Whatever else is in its name: what it costs is not known."""
    assert BOOK.llm.rate(provider, "gpt-4o", "input", to_microseconds(NOW)) is None
    assert BOOK.llm.rate(provider, "claude-3-5-sonnet", "input", to_microseconds(NOW)) is None


def test_other_names_of_a_provider_are_known() -> None:
    """In any case of letters; each leads to a provider that the library has."""
    now_us = to_microseconds(NOW)
    assert BOOK.llm.rate(" OpenAI", "gpt-4o", "input", now_us) == BOOK.llm.rate("openai", "gpt-4o", "input", now_us)
    assert BOOK.llm.rate("gemini", "gemini-2.5-flash", "input", now_us) is not None
    assert set(llm._OTHER_NAMES.values()) <= llm._OWNERS.keys()
    assert not llm._OTHER_NAMES.keys() & llm._OWNERS.keys()


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
