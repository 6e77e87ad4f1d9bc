"""LiteLLM's price map becomes a price file: exact, repeatable, with nothing dropped in silence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.prices import PriceBook, check_prices, litellm_names, price_file_schema
from costledger.producers.prices.litellm import ImportedPrices, PriceMapOptions, read_litellm
from costledger.producers.prices.litellm_names import FIELDS, is_price, model_of, service_of
from costledger.producers.prices.rates import decimal_text
from costledger.producers.prices.writing import price_file_text
from costledger.schemas.errors import PriceError

EXCERPT = (Path(__file__).parents[1] / "data" / "litellm_excerpt.json").read_bytes()
DAY = date(2026, 11, 1)
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
OPTIONS = PriceMapOptions(effective_from=DAY)
CHAT = {"litellm_provider": "openai", "mode": "chat"}


def imported(models: Mapping[str, Mapping[str, Any]], **options: Any) -> ImportedPrices:
    """What is imported of a map of these models."""
    return read_litellm(json.dumps(models).encode(), PriceMapOptions(effective_from=DAY, **options))


def prices_of(result: ImportedPrices) -> dict[tuple[str, str, str | None], Fraction]:
    """USD per token by service, operation and model, exactly as the rows say."""
    found = {}
    for row in result.rows:
        (operation,) = row["operations"]  # type: ignore[misc]  # a list of one
        model = row.get("model")
        found[str(row["service"]), str(operation), None if model is None else str(model)] = Fraction(
            str(row["price"])
        ) / int(str(row["per"]))
    return found


def written(directory: Path, result: ImportedPrices, name: str = "litellm.toml") -> Path:
    """The price file of an import."""
    path = directory / name
    path.write_text(price_file_text(name, result.version, result.rows, ["a comment"]), encoding="utf-8")
    return path


def reasons(result: ImportedPrices) -> dict[tuple[str, str], str]:
    """Why, by model and field."""
    return {(each.model, each.field): each.reason for each in result.left_out}


def test_every_kind_of_token_and_embeddings_are_imported() -> None:
    """Each under its operation, a million tokens for what providers print."""
    assert prices_of(read_litellm(EXCERPT, OPTIONS)) == {
        (service, operation, model): Fraction(usd_per_million) / 10**6
        for service, model, operation, usd_per_million in (
            ("anthropic", "claude-haiku-4-5-20251001", "input-tokens", "1"),
            ("anthropic", "claude-haiku-4-5-20251001", "output-tokens", "5"),
            ("anthropic", "claude-haiku-4-5-20251001", "cached-input-tokens", "0.1"),
            ("anthropic", "claude-haiku-4-5-20251001", "cache-write-tokens", "1.25"),
            ("anthropic", "claude-haiku-4-5-20251001", "cache-write-1h-tokens", "2"),
            ("aws", "anthropic.claude-3-5-haiku-20241022-v1:0", "input-tokens", "0.8"),
            ("aws", "anthropic.claude-3-5-haiku-20241022-v1:0", "output-tokens", "4"),
            ("aws", "anthropic.claude-3-5-haiku-20241022-v1:0", "cached-input-tokens", "0.08"),
            ("aws", "anthropic.claude-3-5-haiku-20241022-v1:0", "cache-write-tokens", "1"),
            ("databricks", None, "embedding-databricks-bge-large-en", "0.10003"),
            ("deepseek", "deepseek-chat", "input-tokens", "0.28"),
            ("deepseek", "deepseek-chat", "output-tokens", "0.42"),
            ("deepseek", "deepseek-chat", "cached-input-tokens", "0.028"),
            ("mistral", "mistral-large-latest", "input-tokens", "0.5"),
            ("mistral", "mistral-large-latest", "output-tokens", "1.5"),
            ("mistral", "mistral-large-latest", "cached-input-tokens", "0.05"),
            ("openai", "gpt-4o", "input-tokens", "2.5"),
            ("openai", "gpt-4o", "output-tokens", "10"),
            ("openai", "gpt-4o", "cached-input-tokens", "1.25"),
            ("openai", "gpt-4o", "input-tokens-priority", "4.25"),
            ("openai", "gpt-4o", "output-tokens-priority", "17"),
            ("openai", "gpt-4o", "cached-input-tokens-priority", "2.125"),
            ("openai", "gpt-4o-audio-preview-2024-12-17", "input-tokens", "2.5"),
            ("openai", "gpt-4o-audio-preview-2024-12-17", "output-tokens", "10"),
            ("openai", "gpt-4o-audio-preview-2024-12-17", "audio-input-tokens", "40"),
            ("openai", "gpt-4o-audio-preview-2024-12-17", "audio-output-tokens", "80"),
            ("openai", None, "embedding-text-embedding-3-small", "0.02"),
            ("perplexity", "sonar-deep-research", "input-tokens", "2"),
            ("perplexity", "sonar-deep-research", "output-tokens", "8"),
            ("perplexity", "sonar-deep-research", "reasoning-tokens", "3"),
            ("perplexity", "pplx-70b-online", "output-tokens", "2.8"),
        )
    }


@pytest.mark.parametrize(
    ("model", "field", "reason"),
    [
        (
            "gpt-4o",
            "input_cost_per_token_batches",
            "another price for a service tier that no event names",
        ),
        ("gpt-4o", "fedramp_uplift_multiplier", "a factor on other prices, by region or mode"),
        ("text-embedding-3-small", "output_cost_per_token", "an embedding is charged by its input"),
        ("deepseek-flash", "cache_creation_input_token_cost", "the price depends on the hour of the day"),
        ("gemini/gemini-2.5-pro", "input_cost_per_token_priority", "the price depends on the length of the input"),
        ("gemini/gemini-2.5-pro", "input_cost_per_token", "the price depends on the length of the input"),
        ("gemini/gemini-2.5-pro", "input_cost_per_token_above_200k_tokens", "a price by length of the input"),
        ("gemini/gemini-2.5-pro", "google_maps_grounding_cost_per_query", "queries"),
        ("dashscope/qwen-flash", "tiered_pricing", "a price by length of the input"),
        ("deepseek-flash", "output_cost_per_token", "the price depends on the hour of the day"),
        ("deepseek-flash", "off_peak_pricing", "a price by hour of the day"),
        ("perplexity/sonar-deep-research", "citation_cost_per_token", "citations"),
        ("perplexity/pplx-70b-online", "input_cost_per_request", "a fee for each request"),
        ("perplexity/pplx-70b-online", "input_cost_per_token", "a price of 0 may be free or unknown"),
        ("databricks/databricks-bge-large-en", "input_dbu_cost_per_token", "a price in another currency than USD"),
        ("deepseek/deepseek-chat", "input_cost_per_token_cache_hit", "an older name of cache_read_input_token_cost"),
        ("whisper-1", "", "mode audio_transcription: not text tokens alone"),
        ("tts-1", "", "mode audio_speech: not text tokens alone"),
        ("rerank-v3.5", "", "mode rerank: not text tokens alone"),
        ("bedrock/claude-opus-latest", "", "an alias: events name the model itself"),
        ("ollama/llama2", "output_cost_per_token", "a price of 0 may be free or unknown"),
    ],
)
def test_what_has_no_place_is_listed_with_the_reason(model: str, field: str, reason: str) -> None:
    """A field or a whole model, never dropped and never guessed."""
    assert reasons(read_litellm(EXCERPT, OPTIONS))[model, field] == reason


def test_every_price_of_the_map_is_imported_or_listed() -> None:
    """Field by field; a model left out as a whole stands for its fields."""
    result = read_litellm(EXCERPT, OPTIONS)
    listed = reasons(result)
    fields_of = {operation: field for field, operation in FIELDS.items()}
    taken = set()
    for row in result.rows:
        (operation,) = row["operations"]  # type: ignore[misc]  # a list of one
        key = json.loads(str(row["source"]).rpartition(", ")[2])
        base, priority, _ = str(operation).partition("-priority")
        field = fields_of.get(base, "input_cost_per_token")
        taken.add((key, f"{field}_priority" if priority else field))
    everything = {
        (model, field)
        for model, fields in json.loads(EXCERPT).items()
        for field in fields
        if is_price(field) and (model, "") not in listed
    }
    same = {("deepseek/deepseek-chat", field) for _, field in taken}  # the key without the prefix says the same
    assert everything - taken - set(listed) - same == set()
    assert taken & set(listed) == set()


@pytest.mark.parametrize("name", ["litellm.toml", "litellm.json"])
def test_the_file_loads_and_only_real_jumps_are_held(tmp_path: Path, name: str) -> None:
    """In both forms. Mistral's cached tokens cost a fortieth of what genai-prices charges for them."""
    path = written(tmp_path, read_litellm(EXCERPT, OPTIONS), name)
    findings = check_prices([path])
    assert [(each.severity, each.field) for each in findings] == [("review", "price")]
    assert "mistral/cached-input-tokens of mistral-large-latest" in findings[0].message
    book = PriceBook.read(path)
    priced = book.price("openai", "output-tokens", 1000, NOW, metadata={"model": "gpt-4o"})
    assert priced.amount_picodollars == 1000 * 10 * 10**6
    assert priced.price_version == f"litellm-{hashlib.sha256(EXCERPT).hexdigest()[:12]}@2026-11-01"
    assert book.price("openai", "embedding-text-embedding-3-small", 1, NOW).price_version == priced.price_version
    before = book.price("openai", "output-tokens", 1, datetime(2026, 10, 31, tzinfo=UTC), metadata={"model": "gpt-4o"})
    assert before.price_version is not None
    assert before.price_version.startswith("genai-prices-")


def test_the_json_form_satisfies_the_schema(tmp_path: Path) -> None:
    """As every price file does."""
    document = json.loads(written(tmp_path, read_litellm(EXCERPT, OPTIONS), "litellm.json").read_text())
    jsonschema.Draft202012Validator(price_file_schema()).validate(document)


def test_an_import_is_repeatable_whatever_the_order_of_the_map() -> None:
    """The same models in another order give the same rows; another map has another hash."""
    models = json.loads(EXCERPT)
    backwards = {name: dict(reversed(fields.items())) for name, fields in reversed(models.items())}
    one, other = read_litellm(EXCERPT, OPTIONS), read_litellm(EXCERPT, OPTIONS)
    assert price_file_text("a.toml", one.version, one.rows) == price_file_text("a.toml", other.version, other.rows)
    turned = imported(backwards)
    assert prices_of(turned) == prices_of(one)
    assert [row["operations"] for row in turned.rows] == [row["operations"] for row in one.rows]
    assert turned.left_out == one.left_out
    assert turned.sha256 != one.sha256


def test_the_source_names_the_map_and_the_key() -> None:
    """Whoever audits a price finds the number it came from."""
    sha256 = hashlib.sha256(EXCERPT).hexdigest()
    sources = {str(row["source"]) for row in read_litellm(EXCERPT, OPTIONS).rows}
    assert f'LiteLLM model prices, SHA-256 {sha256}, "gpt-4o"' in sources
    assert all(sha256 in source for source in sources)


def test_providers_are_chosen_by_litellms_names() -> None:
    """The others are neither imported nor listed; a name that the map lacks is an error."""
    result = read_litellm(EXCERPT, PriceMapOptions(effective_from=DAY, providers=frozenset({"openai"})))
    assert {service for service, _, _ in prices_of(result)} == {"openai"}
    assert {each.model for each in result.left_out} <= {
        *("gpt-4o", "gpt-4o-audio-preview-2024-12-17", "text-embedding-3-small", "whisper-1", "tts-1")
    }
    with pytest.raises(PriceError, match="provider is 'opena1'; it must be one of the map's: anthropic, "):
        read_litellm(EXCERPT, PriceMapOptions(effective_from=DAY, providers=frozenset({"opena1"})))
    with pytest.raises(PriceError, match="provider is 'opena1'"):
        read_litellm(EXCERPT, PriceMapOptions(effective_from=DAY, services={"opena1": "openai"}))


@pytest.mark.parametrize(
    ("key", "provider", "service", "model"),
    [
        ("gpt-4o", "openai", "openai", "gpt-4o"),
        ("openai/gpt-4o", "openai", "openai", "gpt-4o"),
        ("azure/eu/gpt-4o", "azure", "azure", "eu/gpt-4o"),
        ("gemini/gemini-2.5-pro", "gemini", "google", "gemini-2.5-pro"),
        ("vertex_ai/claude-3", "vertex_ai-anthropic_models", "vertex_ai", "claude-3"),
        ("fireworks_ai/nomic", "fireworks_ai-embedding-models", "fireworks", "nomic"),
        ("bedrock/us-east-1/anthropic.claude-v2", "bedrock", "aws", "us-east-1/anthropic.claude-v2"),
        ("bedrock/nova", "bedrock_converse", "aws", "nova"),
        ("groq/meta-llama/llama-4", "groq", "groq", "meta-llama/llama-4"),
        ("meta-llama/llama-4", "groq", "groq", "meta-llama/llama-4"),
        ("xai/grok", "xai", "x-ai", "grok"),
        ("amazon-nova/pro", "amazon_nova", "amazon_nova", "pro"),
        ("azure_ai/grok", "azure_ai", "azure_ai", "grok"),
        ("openai/", "openai", "openai", "openai/"),
    ],
)
def test_names_become_those_of_events(key: str, provider: str, service: str, model: str) -> None:
    """The provider's own name of the model, and the service that genai-prices and this book know it by."""
    assert (service_of(provider), model_of(key, provider)) == (service, model)


def test_a_service_can_be_named_otherwise() -> None:
    """For events that call a provider by another name."""
    result = read_litellm(EXCERPT, PriceMapOptions(effective_from=DAY, services={"bedrock": "aws-bedrock"}))
    assert ("aws-bedrock", "input-tokens", "anthropic.claude-3-5-haiku-20241022-v1:0") in prices_of(result)


def test_free_models_are_imported_on_request() -> None:
    """A price of 0 is a price only where someone says so; where it was not 0 before, it is held all the same."""
    models = {"ollama/llama2": {**CHAT, "litellm_provider": "ollama", "input_cost_per_token": 0}}
    models["gpt-4"] = {**CHAT, "input_cost_per_token": 0}
    free = imported(models, zero_is_free=True)
    assert set(prices_of(free).values()) == {0}
    assert free.left_out == ()
    with pytest.raises(PriceError, match="0 prices can be imported; it must be from 1 to"):
        imported(models)


def test_a_free_price_where_there_was_one_is_held(tmp_path: Path) -> None:
    """gpt-4 for nothing needs a person to say so."""
    free = imported({"gpt-4": {**CHAT, "input_cost_per_token": 0.0}}, zero_is_free=True)
    (finding,) = check_prices([written(tmp_path, free)])
    assert finding.severity == "review"


def test_keys_of_one_model_that_disagree_are_left_out() -> None:
    """Which of two prices is right cannot be known; where they agree there is one."""
    models = {
        "gpt-x": {**CHAT, "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        "openai/gpt-x": {**CHAT, "input_cost_per_token": 1e-06, "output_cost_per_token": 3e-06},
    }
    result = imported(models)
    assert prices_of(result) == {("openai", "input-tokens", "gpt-x"): Fraction(1, 10**6)}
    assert [(each.model, each.field, each.reason) for each in result.left_out] == [
        ("gpt-x", "output-tokens", "keys of the same model disagree"),
        ("openai/gpt-x", "output-tokens", "keys of the same model disagree"),
    ]


def test_a_price_beside_tiers_is_not_taken_for_all_lengths() -> None:
    """Where a model has tiers, the flat price beside them holds for the first one alone."""
    flat = {**CHAT, "input_cost_per_token": 1e-06}
    result = imported({"tiered": {**flat, "tiered_pricing": [{"input_cost_per_token": 2e-06}]}, "flat": flat})
    assert set(prices_of(result)) == {("openai", "input-tokens", "flat")}
    assert reasons(result)["tiered", "input_cost_per_token"] == "the price depends on the length of the input"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("-1e-06", "-0.000001"),
        ('"1e-06"', "'1e-06'"),
        ("true", "True"),
        ("[1]", "[1]"),
        ("2.5", "2.5"),  # a price for a million
        ("0.0100001", "0.0100001"),
        ("1e-30", "1E-30"),
        ("1e999999999", "1E+999999999"),
        ("1e-999999999", "1E-999999999"),
    ],
)
def test_a_price_that_can_be_none_is_refused_by_name(value: str, shown: str) -> None:
    """Negative, no number, absurd: the error names model, field, value and limit, and nothing is imported."""
    text = f'{{"gpt-x": {{"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": {value}}}}}'
    with pytest.raises(PriceError) as caught:
        read_litellm(text.encode(), OPTIONS)
    assert str(caught.value) == (
        f"gpt-x: input_cost_per_token is {shown}; it must be a number from 0 to 0.01 USD per token with at most 24 "
        "decimals"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff{}", "cannot be read as JSON"),
        (b"[]", "of type list; it must be an object"),
        (b'{"gpt-x": 1}', "'gpt-x' is 1; it must be an object"),
        (b'{"a": {}, "a": {}}', "the field 'a' stands twice"),
        (b"{}", "0 prices can be imported"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"gpt-x": {"input_cost_per_token": NaN}}', "NaN is no number"),
    ],
    ids=["empty", "bytes", "list", "number", "twice", "nothing", "deep", "NaN"],
)
def test_a_map_that_is_none_is_refused(data: bytes, message: str) -> None:
    """The error says what is wrong with the file as a whole."""
    with pytest.raises(PriceError, match=message):
        read_litellm(data, OPTIONS)


@pytest.mark.parametrize("version", ["x" * 101, "a\nb"])
def test_a_version_that_no_file_may_have_is_refused(version: str) -> None:
    """Before anything is written."""
    with pytest.raises(PriceError, match="version is "):
        read_litellm(EXCERPT, PriceMapOptions(effective_from=DAY, version=version))


def test_names_that_an_event_cannot_have_are_left_out() -> None:
    """Too long, or not printable."""
    price = {**CHAT, "input_cost_per_token": 1e-06}
    result = imported({"x" * 129: price, "a\nb": price, "fits": price})
    assert [model for _, _, model in prices_of(result)] == ["fits"]
    assert set(reasons(result).values()) == {"names must be printable and have at most 128 characters"}


@given(st.decimals(0, Decimal("0.01"), places=18).filter(bool))
def test_a_price_is_the_number_in_the_map_exactly(usd_per_token: Decimal) -> None:
    """Whatever its digits, and however they are written; no float on the way."""
    for text in (f"{usd_per_token:f}", f"{usd_per_token:E}"):
        data = f'{{"m": {{"litellm_provider": "p", "mode": "chat", "input_cost_per_token": {text}}}}}'
        result = read_litellm(data.encode(), OPTIONS)
        assert prices_of(result) == {("p", "input-tokens", "m"): Fraction(usd_per_token)}
        (row,) = result.rows
        assert row["price"] == decimal_text(Fraction(usd_per_token) * 10**6)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=20))
def test_any_printable_name_survives_the_file(tmp_path_factory: pytest.TempPathFactory, model: str) -> None:
    """Quotes, backslashes, other scripts: what is written is what is read."""
    result = imported({f"p/{model}": {**CHAT, "litellm_provider": "p", "input_cost_per_token": 1e-06}})
    for name in ("a.toml", "a.json"):
        path = written(tmp_path_factory.mktemp("names"), result, name)
        (entry,) = PriceBook.read(path).files[1].entries
        assert entry.model == model


@pytest.mark.parametrize(
    ("field", "operation"),
    [
        ("cache_read_input_audio_token_cost", "cached-audio-input-tokens"),
        ("input_cost_per_image_token", "image-input-tokens"),
        ("cache_creation_input_audio_token_cost", None),
    ],
)
def test_kinds_of_tokens_that_events_count_apart_have_a_place(field: str, operation: str | None) -> None:
    """Cached audio and images in tokens are imported; audio written to a cache is not, with its own reason."""
    assert litellm_names.operation_of(field, "m", embedding=False) == operation
    assert operation is not None or litellm_names.reason_for(field, embedding=False).startswith("audio written")
