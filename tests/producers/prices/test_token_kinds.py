"""Kinds of tokens: disjoint, each priced at its own price, and together what the genai-prices library says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import genai_prices
import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelPrice
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.producers.collecting import CollectingTracker

from costledger.producers import EventDropped, PriceBook
from costledger.producers.prices.book import Charge
from costledger.producers.prices.rates import divided_half_even
from costledger.producers.prices.tokens import TokenUsage
from costledger.schemas.errors import InvalidValue
from costledger.schemas.times import to_microseconds

BOOK = PriceBook([])
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
AT_US = to_microseconds(AT)
TOKENS = st.integers(0, 200_000)
#: Kinds that the library prices as text where the model has no price for them, and we leave unpriced.
DEARER = {
    "audio-input-tokens": "input_audio_mtok",
    "cached-audio-input-tokens": "input_audio_mtok",
    "audio-output-tokens": "output_audio_mtok",
    "cache-write-tokens": "cache_write_mtok",
    "cache-write-1h-tokens": "cache_write_1h_mtok",
}


def prices_of(provider: str, model: str) -> ModelPrice:
    """The library's prices of a model at the time of these tests."""
    (owner,) = [one for one in providers if one.id == provider]
    info = owner.find_model(model, all_providers=providers)
    assert info is not None
    return info.get_prices(AT)


def models_with(*keys: str) -> list[tuple[str, str]]:
    """All models of the library that have a price for each of these."""
    found = []
    for owner in providers:
        for info in owner.models:
            prices = info.get_prices(AT)
            same = owner.find_model(info.id, all_providers=providers)
            if same is info and all(getattr(prices, key) is not None for key in keys):
                found.append((owner.id, info.id))
    return found


TEXT_MODELS = models_with("input_mtok", "output_mtok")
AUDIO_MODELS = models_with("input_mtok", "output_mtok", "input_audio_mtok")
WRITE_MODELS = models_with("input_mtok", "output_mtok", "cache_write_mtok")
HOUR_MODELS = models_with("input_mtok", "output_mtok", "cache_write_1h_mtok")
REASONING_MODELS = models_with("output_reasoning_mtok")


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    """A possible report: text, audio, reads of and writes to the cache, reasoning."""
    fresh_text, cached_text, fresh_audio, cached_audio, writes_5m, writes_1h = (
        draw(TOKENS | st.just(0)) for _ in range(6)
    )
    text_out, reasoning, audio_out = (draw(TOKENS | st.just(0)) for _ in range(3))
    writes = writes_5m + writes_1h
    return TokenUsage(
        input_tokens=fresh_text + cached_text + fresh_audio + cached_audio + writes,
        output_tokens=text_out + reasoning + audio_out,
        cached_input_tokens=cached_text + cached_audio,
        cache_write_tokens=writes,
        cache_write_1h_tokens=writes_1h,
        audio_input_tokens=fresh_audio + cached_audio,
        cached_audio_input_tokens=cached_audio,
        audio_output_tokens=audio_out,
        reasoning_tokens=reasoning,
    )


def library_price(provider: str, model: str, usage: TokenUsage) -> Decimal:
    """What the library says that this costs, in USD."""
    given = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.audio_input_tokens,
        cache_audio_read_tokens=usage.cached_audio_input_tokens or 0,
        output_audio_tokens=usage.audio_output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_audio_reasoning_tokens=0,
        cache_audio_write_tokens=0,
        cache_audio_write_1h_tokens=0,
    )
    return genai_prices.calc_price(given, model_ref=model, provider_id=provider, genai_request_timestamp=AT).total_price


def picodollars(usd: Decimal) -> int:
    """USD rounded once, half to even."""
    exact = Fraction(usd) * 10**12
    return divided_half_even(exact.numerator, exact.denominator)


def by_operation(charges: list[Charge]) -> dict[str, tuple[int, int | None]]:
    """Tokens and amount of each charge."""
    return {charge.operation: (charge.quantity, charge.priced.amount_picodollars) for charge in charges}


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(*(st.sampled_from(models) for models in (TEXT_MODELS, AUDIO_MODELS, WRITE_MODELS, HOUR_MODELS))),
    usages(),
)
def test_the_sum_of_all_kinds_is_what_the_library_says(model: tuple[str, str], usage: TokenUsage) -> None:
    """To the picodollar, and without an amount only where the library has no price for that very kind."""
    charges = BOOK.price_usage(*model, usage, AT_US)
    unpriced = {charge.operation for charge in charges if charge.priced.amount_picodollars is None}
    prices = prices_of(*model)
    assert {operation for operation in unpriced if getattr(prices, DEARER[operation]) is not None} == set()
    tokens = sum(charge.quantity for charge in charges if charge.operation.endswith("tokens"))
    assert tokens == usage.input_tokens + usage.output_tokens
    assume(not unpriced)
    assert sum(charge.priced.amount_picodollars or 0 for charge in charges) == picodollars(library_price(*model, usage))


@pytest.mark.parametrize("model", AUDIO_MODELS)
def test_every_audio_model_agrees_with_the_library(model: tuple[str, str]) -> None:
    """One usage with every kind, for each model that has a price for audio; without audio output where it has none."""
    usage = TokenUsage(
        input_tokens=10_007,
        output_tokens=2_003,
        cached_input_tokens=4_001,
        audio_input_tokens=3_001,
        cached_audio_input_tokens=1_009,
        audio_output_tokens=501,
        reasoning_tokens=77,
    )
    if prices_of(*model).output_audio_mtok is None:
        assert by_operation(BOOK.price_usage(*model, usage, AT_US))["audio-output-tokens"] == (501, None)
        usage = replace(usage, audio_output_tokens=0)
    amounts = [amount for _, amount in by_operation(BOOK.price_usage(*model, usage, AT_US)).values()]
    assert None not in amounts
    assert sum(amount or 0 for amount in amounts) == picodollars(library_price(*model, usage))


def test_the_lists_of_models_are_not_empty() -> None:
    """The tests above have something to compare."""
    assert min(len(AUDIO_MODELS), len(HOUR_MODELS)) >= 10
    assert min(len(WRITE_MODELS), len(TEXT_MODELS)) >= 100
    assert REASONING_MODELS


def test_audio_and_cached_audio_by_hand() -> None:
    """gpt-realtime: text 4, cached 0.4, audio 32, cached audio 0.4, output 16 and 64 USD per million tokens."""
    usage = TokenUsage(
        input_tokens=1000,
        output_tokens=300,
        cached_input_tokens=400,
        audio_input_tokens=500,
        cached_audio_input_tokens=150,
        audio_output_tokens=200,
    )
    assert by_operation(BOOK.price_usage("openai", "gpt-realtime", usage, AT_US)) == {
        "input-tokens": (250, 250 * 4_000_000),
        "cached-input-tokens": (250, 250 * 400_000),
        "audio-input-tokens": (350, 350 * 32_000_000),
        "cached-audio-input-tokens": (150, 150 * 400_000),
        "output-tokens": (100, 100 * 16_000_000),
        "audio-output-tokens": (200, 200 * 64_000_000),
    }


def test_writes_to_the_cache_by_hand() -> None:
    """claude-sonnet-4: input 3, read 0.3, written 3.75, written for an hour 6, output 15 USD per million tokens."""
    usage = TokenUsage(
        input_tokens=1000, output_tokens=10, cached_input_tokens=200, cache_write_tokens=500, cache_write_1h_tokens=100
    )
    assert by_operation(BOOK.price_usage("anthropic", "claude-sonnet-4-0", usage, AT_US)) == {
        "input-tokens": (300, 300 * 3_000_000),
        "cached-input-tokens": (200, 200 * 300_000),
        "cache-write-tokens": (400, 400 * 3_750_000),
        "cache-write-1h-tokens": (100, 100 * 6_000_000),
        "output-tokens": (10, 10 * 15_000_000),
    }


def test_reasoning_is_output_and_no_charge_of_its_own() -> None:
    """o3-mini's reasoning tokens are among its output tokens, at the same price."""
    usage = TokenUsage(input_tokens=0, output_tokens=100, reasoning_tokens=64)
    charges = by_operation(BOOK.price_usage("openai", "o3-mini", usage, AT_US))
    assert charges == {"input-tokens": (0, 0), "output-tokens": (100, 100 * 4_400_000)}


@pytest.mark.parametrize("model", REASONING_MODELS)
def test_reasoning_is_apart_where_the_model_prices_it_apart(model: tuple[str, str]) -> None:
    """Then it is taken out of the output, and the sum is the library's."""
    usage = TokenUsage(input_tokens=10, output_tokens=100, reasoning_tokens=64)
    charges = by_operation(BOOK.price_usage(*model, usage, AT_US))
    assert (charges["output-tokens"][0], charges["reasoning-tokens"][0]) == (36, 64)
    assert sum(amount or 0 for _, amount in charges.values()) == picodollars(library_price(*model, usage))


@pytest.mark.parametrize(
    ("usage", "operation"),
    [
        (TokenUsage(input_tokens=10, output_tokens=0, audio_input_tokens=4), "audio-input-tokens"),
        (TokenUsage(input_tokens=0, output_tokens=10, audio_output_tokens=4), "audio-output-tokens"),
        (TokenUsage(input_tokens=10, output_tokens=0, cache_write_tokens=4), "cache-write-tokens"),
        (
            TokenUsage(input_tokens=10, output_tokens=0, cache_write_tokens=4, cache_write_1h_tokens=4),
            "cache-write-1h-tokens",
        ),
    ],
)
def test_a_dearer_kind_without_a_price_is_unpriced(usage: TokenUsage, operation: str) -> None:
    """gpt-4o has no price for audio nor for writes: they are neither free nor text."""
    charges = by_operation(BOOK.price_usage("openai", "gpt-4o", usage, AT_US))
    assert charges[operation] == (4, None)
    assert [amount for name, (_, amount) in charges.items() if amount is None and name != operation] == []


def test_cached_tokens_without_a_price_of_their_own_cost_what_uncached_ones_do() -> None:
    """gpt-audio has no price for the cache: cached text is text, cached audio is audio."""
    usage = TokenUsage(input_tokens=100, output_tokens=0, cached_input_tokens=60, audio_input_tokens=50)
    charges = by_operation(BOOK.price_usage("openai", "gpt-audio", usage, AT_US))
    assert sum(amount or 0 for _, amount in charges.values()) == picodollars(
        library_price("openai", "gpt-audio", replace(usage, cached_audio_input_tokens=10))
    )
    assert sum(tokens for tokens, _ in charges.values()) == 100


def test_input_that_cannot_be_split_is_unpriced_as_a_whole() -> None:
    """Cached and audio tokens that may overlap, at a model that prices them apart: nobody knows how much is what."""
    usage = TokenUsage(input_tokens=100, output_tokens=1, cached_input_tokens=60, audio_input_tokens=50)
    charges = by_operation(BOOK.price_usage("openai", "gpt-realtime", usage, AT_US))
    assert charges == {"unsplit-input-tokens": (100, None), "output-tokens": (1, 16_000_000)}


def test_what_must_overlap_is_not_asked_for() -> None:
    """All input cached: then all the audio is cached audio, though nobody said so."""
    usage = TokenUsage(input_tokens=100, output_tokens=0, cached_input_tokens=100, audio_input_tokens=40)
    charges = by_operation(BOOK.price_usage("openai", "gpt-realtime", usage, AT_US))
    assert (charges["cached-input-tokens"][0], charges["cached-audio-input-tokens"][0]) == (60, 40)


def test_images_are_apart_only_where_the_model_prices_them_apart() -> None:
    """gpt-realtime charges 5 USD per million image tokens, gpt-4o what text costs."""
    usage = TokenUsage(input_tokens=100, output_tokens=0, image_input_tokens=30)
    apart = by_operation(BOOK.price_usage("openai", "gpt-realtime", usage, AT_US))
    assert (apart["input-tokens"], apart["image-input-tokens"]) == ((70, 70 * 4_000_000), (30, 30 * 5_000_000))
    assert by_operation(BOOK.price_usage("openai", "gpt-4o", usage, AT_US))["input-tokens"] == (100, 100 * 2_500_000)
    both = by_operation(BOOK.price_usage("openai", "gpt-realtime", replace(usage, cached_input_tokens=10), AT_US))
    assert both["unsplit-input-tokens"] == (100, None)


def test_another_service_tier_has_the_prices_of_a_book_alone(tmp_path: Path) -> None:
    """Flex and priority processing cost something else: never the usual price in silence."""
    usage = TokenUsage(input_tokens=10, output_tokens=2)
    charges = by_operation(BOOK.price_usage("openai", "gpt-4o", usage, AT_US, "flex"))
    assert charges == {"input-tokens-flex": (10, None), "output-tokens-flex": (2, None)}
    path = tmp_path / "flex.toml"
    path.write_text(
        """
version = "flex"
currency = "USD"
units = ["token"]
[[price]]
service = "openai"
operations = ["input-tokens-flex"]
model = "gpt-4o"
unit = "token"
price = "1.25"
per = 1_000_000
effective_from = 2026-01-01
source = "a contract"
"""
    )
    charges = by_operation(PriceBook.load(path).price_usage("openai", "gpt-4o", usage, AT_US, "flex"))
    assert charges["input-tokens-flex"] == (10, 10 * 1_250_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cached_input_tokens": 11}, "cached_input_tokens is 11; it must be from 0 to input_tokens"),
        ({"audio_input_tokens": 11}, "audio_input_tokens is 11"),
        ({"cached_input_tokens": 6, "cache_write_tokens": 5}, "cache_write_tokens is 5"),
        ({"cache_write_1h_tokens": 1}, "cache_write_1h_tokens is 1"),
        ({"cached_input_tokens": 3, "audio_input_tokens": 2, "cached_audio_input_tokens": 3}, "cached_audio_input_tok"),
        ({"cached_input_tokens": 10, "audio_input_tokens": 2, "cached_audio_input_tokens": 1}, "from 2 to 2"),
        ({"audio_output_tokens": 6}, "audio_output_tokens is 6"),
        ({"reasoning_tokens": 6}, "reasoning_tokens is 6"),
        ({"image_input_tokens": -1}, "image_input_tokens is -1"),
    ],
)
def test_parts_larger_than_their_wholes_are_refused(changes: dict[str, int], message: str) -> None:
    """Ten tokens in, five out: what is more than that was counted twice somewhere."""
    with pytest.raises(InvalidValue, match=message):
        replace(TokenUsage(input_tokens=10, output_tokens=5), **changes).check()


def test_tracking_a_chat_keeps_its_positional_arguments_and_takes_the_other_kinds_by_name() -> None:
    """Cached fifth, provider sixth; the same response id and time give the same event ids."""
    tracker = CollectingTracker()
    tracker.track_chat("u", "gpt-4o", 100, 10, 40, "openai", reasoning_tokens=3, occurred_at=AT)
    assert {record["operation"]: record["quantity"] // 10**9 for record in tracker.records} == {
        "input-tokens": 60,
        "cached-input-tokens": 40,
        "output-tokens": 10,
    }
    told = [record["operation"] for record in tracker.records if "reasoning_tokens" in record["metadata"]]
    assert told == ["output-tokens"]
    first, again, other = (
        tracker.track_chat("u", "gpt-realtime", 9, 1, audio_input_tokens=4, response_id=name, occurred_at=AT)
        for name in ("r1", "r1", "r2")
    )
    assert first == again
    assert len(first) == 3
    assert set(first) & set(other) == set()


def test_a_wrong_count_makes_one_dropped_event() -> None:
    """And says which."""
    tracker = CollectingTracker()
    tracker.track_chat("u", "gpt-4o", 100, 10, audio_input_tokens=101)
    tracker.track_chat("u", "gpt-4o", 100, 10, audio_output_tokens=None)  # type: ignore[arg-type]  # the point
    assert [str(error) for error in tracker.rejected] == [
        "audio_input_tokens is 101; it must be from 0 to input_tokens (100)",
        "audio_output_tokens is None; it must be a number",
    ]
    assert issubclass(EventDropped, Exception)


def test_a_service_tier_is_split_by_its_own_prices(tmp_path: Path) -> None:
    """What the usual tier prices apart is output like the rest in a tier that does not."""
    prices = {"reasoning-tokens": 60, "input-tokens-flex": 1, "output-tokens-flex": 5}
    path = tmp_path / "flex.toml"
    path.write_text(
        'version = "flex"\ncurrency = "USD"\nunits = ["token"]\n'
        + "".join(
            f"""
[[price]]
service = "openai"
operations = ["{operation}"]
model = "gpt-4o"
unit = "token"
price = "{price}"
per = 1_000_000
effective_from = 2026-01-01
source = "a contract"
"""
            for operation, price in prices.items()
        )
    )
    usage = TokenUsage(input_tokens=10, output_tokens=5, reasoning_tokens=3)
    book = PriceBook.load(path)
    charges = by_operation(book.price_usage("openai", "gpt-4o", usage, AT_US, "flex"))
    assert charges == {"input-tokens-flex": (10, 10 * 10**6), "output-tokens-flex": (5, 25 * 10**6)}
    assert by_operation(book.price_usage("openai", "gpt-4o", usage, AT_US))["reasoning-tokens"][0] == 3
