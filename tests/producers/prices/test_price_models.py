"""Prices of language models: by model, day, kind of token and length of input; unpriced where nobody knows one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import localcontext
from fractions import Fraction

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.producers.collecting import BOOK
from tests.producers.prices.pricing import NOW, NOW_US, PICO, TRACE_DAY

from costledger.producers.prices import installed_snapshot, llm
from costledger.producers.prices.rates import divided_half_even
from costledger.schemas.errors import InvalidValue
from costledger.schemas.times import to_microseconds


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


@pytest.mark.parametrize("providers_asked", [("azure", "openai"), ("openai", "azure")])
def test_a_version_names_the_provider_that_was_asked_for(providers_asked: tuple[str, str]) -> None:
    """Azure's gpt-4o has OpenAI's prices in the library; whichever is asked first, each event names its own."""
    rates = llm.LlmPrices()
    for provider in providers_asked:
        found = rates.rate(provider, "gpt-4o", llm.INPUT, NOW_US)
        assert found is not None
        assert found[1] == f"{installed_snapshot().label}/{provider}/gpt-4o"


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
