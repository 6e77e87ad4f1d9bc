"""Names of LiteLLM's price map and what they are here: providers, models, fields, and why a field has no place.

A provider is the `service` of an event. Where genai-prices, and so this price book, calls a provider otherwise,
LiteLLM's name is translated, so that an imported price lies over the one of genai-prices; a name that LiteLLM gives
to one interface of a provider (`bedrock_converse`, `vertex_ai-mistral_models`) is that provider. A model loses the
provider's name before the first `/`, which only LiteLLM writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from costledger.producers.prices.book import EMBEDDING_PREFIX
from costledger.producers.prices.tokens import (
    AUDIO_INPUT_TOKENS,
    AUDIO_OUTPUT_TOKENS,
    CACHE_WRITE_1H_TOKENS,
    CACHE_WRITE_TOKENS,
    CACHED_AUDIO_INPUT_TOKENS,
    CACHED_INPUT_TOKENS,
    IMAGE_INPUT_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
)

EMBEDDING: Final = "embedding"
#: What a request of these modes consumes is tokens of text; others count images, seconds, pages or several kinds.
TEXT_MODES: Final = frozenset({"chat", "completion", "responses"})
#: LiteLLM's provider -> service.
SERVICES: Final[Mapping[str, str]] = {
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "moonshot": "moonshotai",
    "text-completion-codestral": "codestral",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
}
#: Providers whose names go on after a hyphen with the maker or kind of the model.
_FAMILIES: Final = ("vertex_ai", "fireworks_ai")
#: Field -> operation, for models that chat.
FIELDS: Final[Mapping[str, str]] = {
    "input_cost_per_token": INPUT_TOKENS,
    "output_cost_per_token": OUTPUT_TOKENS,
    "cache_read_input_token_cost": CACHED_INPUT_TOKENS,
    "cache_read_input_audio_token_cost": CACHED_AUDIO_INPUT_TOKENS,
    "cache_creation_input_token_cost": CACHE_WRITE_TOKENS,
    "cache_creation_input_token_cost_above_1hr": CACHE_WRITE_1H_TOKENS,
    "input_cost_per_audio_token": AUDIO_INPUT_TOKENS,
    "input_cost_per_image_token": IMAGE_INPUT_TOKENS,
    "output_cost_per_audio_token": AUDIO_OUTPUT_TOKENS,
    "output_cost_per_reasoning_token": REASONING_TOKENS,
}
#: Service tiers whose events have operations of their own, `<operation>-<tier>`; a field's name ends with the tier.
TIERS: Final = ("priority", "flex")
_INPUT_FIELD: Final = "input_cost_per_token"
#: An older name of the same price.
_CACHE_HIT_FIELD: Final = "input_cost_per_token_cache_hit"

_PRICE: Final = re.compile(r"cost|price|pricing|multiplier|provider_specific_entry")
_SERVICE_TIERS: Final = "batches|priority|flex|balanced|ultrafast|decisions"
#: The reason for a field without a place here, by what its name says; the first that fits.
_REASONS: Final = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (rf"_({_SERVICE_TIERS})$", "another price for a service tier that no event names"),
        (r"_above_\d+k_tokens|^tiered_pricing$", "a price by length of the input"),
        (r"^off_peak_pricing$", "a price by hour of the day"),
        (r"multiplier|provider_specific_entry", "a factor on other prices, by region or mode"),
        (r"^cache_creation_input_audio", "audio written to a cache, which no event counts apart"),
        (r"^cache_creation|^explicit_cache", "another way of writing to a cache, or a cache made explicitly"),
        (r"audio", "audio that is not counted in tokens of its own"),
        (r"image|pixel", "images"),
        (r"video", "video"),
        (r"_per_second", "seconds"),
        (r"_character", "characters"),
        (r"_quer(y|ies)|search|grounding", "queries"),
        (r"_per_request|_per_text_message", "a fee for each request"),
        (r"_page|_credit", "pages"),
        (r"session|_gb_|_calls", "tools: sessions, files, calls"),
        (r"_dbu_", "a price in another currency than USD"),
        (r"citation", "citations"),
    )
)
_NO_PLACE: Final = "a kind of price that is not known here"


def service_of(provider: str) -> str:
    """The service of an event for LiteLLM's name of a provider."""
    family = _family(provider)
    return SERVICES.get(provider) or SERVICES.get(family, family)


def model_of(key: str, provider: str) -> str:
    """The model as its provider names it: without LiteLLM's prefix."""
    first, slash, rest = key.partition("/")
    own = {provider, _family(provider), provider.replace("_", "-")}
    if provider in {"azure_text", "bedrock_converse", "cohere_chat"}:
        own.add(provider.partition("_")[0])
    return rest if slash and rest and first in own else key


def is_price(field: str) -> bool:
    """Does this field hold a price, or what changes one?"""
    return _PRICE.search(field) is not None


def why_not(fields: Mapping[str, Any]) -> str | None:
    """Why a model is left out as a whole, None where it is not."""
    provider, mode = fields.get("litellm_provider"), fields.get("mode")
    if "alias_of" in fields:
        return "an alias: events name the model itself"
    if not isinstance(provider, str) or not provider:
        return "no provider is named"
    if mode is None:
        return "no mode is named"
    if mode != EMBEDDING and mode not in TEXT_MODES:
        return f"mode {mode}: not text tokens alone"
    if not any(map(is_price, fields)):
        return "no prices"
    return None


def embedding_operation(model: str) -> str:
    """The operation of an embedding by this model."""
    return f"{EMBEDDING_PREFIX}{model}"


def operation_of(field: str, model: str, *, embedding: bool) -> str | None:
    """The operation that a field prices, None where it has none here."""
    if embedding:
        return embedding_operation(model) if field == _INPUT_FIELD else None
    base, tier = _without_tier(field)
    operation = FIELDS.get(base)
    return operation if operation is None or tier is None else f"{operation}-{tier}"


def why_not_flat(field: str, fields: Mapping[str, Any]) -> str | None:
    """Why one price for all tokens would be wrong for some requests of this model; None where it would not."""
    longer = re.compile(rf"{re.escape(_without_tier(field)[0])}_above_\d+k_tokens")
    if "tiered_pricing" in fields or any(map(longer.match, fields)):
        return "the price depends on the length of the input"
    if "off_peak_pricing" in fields:
        return "the price depends on the hour of the day"
    return None


def reason_for(field: str, *, embedding: bool) -> str:
    """Why a field that holds a price is left out."""
    if embedding and field in FIELDS:
        return "an embedding is charged by its input"
    if field == _CACHE_HIT_FIELD:
        return "an older name of cache_read_input_token_cost"
    return next((reason for pattern, reason in _REASONS if pattern.search(field)), _NO_PLACE)


def _without_tier(field: str) -> tuple[str, str | None]:
    """A field's name without the service tier at its end, and that tier."""
    base, underscore, tier = field.rpartition("_")
    return (base, tier) if underscore and tier in TIERS else (field, None)


def _family(provider: str) -> str:
    return next((family for family in _FAMILIES if provider.startswith(f"{family}-")), provider)
