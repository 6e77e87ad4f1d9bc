"""Prices of language models, from the data that the genai-prices library ships: offline, pinned to its version.

Kinds of tokens are disjoint here: `input` counts the text that was *not* read from the provider's cache,
`cached-input` that which was. (The library counts cached tokens within the input.) Cached tokens of a model without
a price of its own for them are charged as uncached ones of their kind: such a model gives no discount. Audio
and writes to the cache without a price of their own have none, where the library would charge them as text: audio
is dearer in every price it has, and writes mostly are.

The versions of these prices carry the hash of the library's data (see `snapshot`).
The library's history is thin: a time before a model's first recorded price gets that first price. The
`price_version` names what was used, and a price book laid over it wins.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Final

from genai_prices.data import providers as bundled_providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from costledger.producers.prices.rates import Rate, rate_of
from costledger.producers.prices.snapshot import installed_snapshot
from costledger.schemas.events import NAME_CHARACTERS_MAX
from costledger.schemas.times import from_microseconds

INPUT: Final = "input"
CACHED_INPUT: Final = "cached-input"
CACHE_WRITE: Final = "cache-write"
CACHE_WRITE_1H: Final = "cache-write-1h"
AUDIO_INPUT: Final = "audio-input"
CACHED_AUDIO_INPUT: Final = "cached-audio-input"
IMAGE_INPUT: Final = "image-input"
OUTPUT: Final = "output"
AUDIO_OUTPUT: Final = "audio-output"
REASONING: Final = "reasoning"
REQUEST: Final = "request"

TOKEN: Final = "token"  # noqa: S105 - a unit, not a secret

_TOKENS_PER_PRICE: Final = 1_000_000
_REQUESTS_PER_PRICE: Final = 1_000
#: Distinct models remembered; more than any service calls.
_MODELS_MAX: Final = 1024
_FIELDS: Final = {
    INPUT: ("input_mtok",),
    CACHED_INPUT: ("cache_read_mtok", "input_mtok"),
    CACHE_WRITE: ("cache_write_mtok",),
    CACHE_WRITE_1H: ("cache_write_1h_mtok",),
    AUDIO_INPUT: ("input_audio_mtok",),
    CACHED_AUDIO_INPUT: ("cache_audio_read_mtok", "input_audio_mtok"),
    IMAGE_INPUT: ("input_image_mtok",),
    OUTPUT: ("output_mtok",),
    AUDIO_OUTPUT: ("output_audio_mtok",),
    REASONING: ("output_reasoning_mtok",),
    REQUEST: ("requests_kcount",),
}

_OWNERS: Final = {provider.id: provider for provider in bundled_providers}
#: What the library's providers are also called. Any other name is another provider, whose prices are not known.
_OTHER_NAMES: Final = {
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "aws-bedrock": "aws",
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "fireworks-ai": "fireworks",
    "gemini": "google",
    "google-gemini": "google",
    "google-vertex": "google",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together-ai": "together",
    "vertex-ai": "google",
    "vertex_ai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}

#: A rate, and the version of the price that it came from.
VersionedRate = tuple[Rate, str]


class LlmPrices:
    """Rates of models by kind of token; one look into a dictionary or two once a model has been seen.

    Only the data bundled with the library is used, also where the host program has given the library newer
    data: a price then depends on versions alone, not on what else ran in the process.
    """

    def __init__(self) -> None:
        self.version: Final = installed_snapshot().label
        self._find = lru_cache(_MODELS_MAX)(_find_model)
        # By the identity of the library's own price objects, which live as long as the process: as many at
        # most as the library has prices. A rate's version names its provider, and two of them share one object
        # where the library falls back from one to the other (Azure's gpt-4o is OpenAI's): so by both.
        self._flat: dict[tuple[str, int, str], VersionedRate | None] = {}
        self._tiered: dict[int, bool] = {}
        self._apart: dict[tuple[int, str], bool] = {}

    def rate(
        self, provider: str, model: str, kind: str, occurred_at_us: int, request_input_tokens: int | None = None
    ) -> VersionedRate | None:
        """The rate of one token of this kind at a time (Unix microseconds), or None where it is not known.

        `request_input_tokens` is the whole input of the request, cached tokens included; models with prices
        by the length of the input have no price without it.
        """
        found = self._find(provider, model)
        if found is None:
            return None
        owner, info = found
        prices = _in_force(info, occurred_at_us)
        key = (owner.id, id(prices), kind)
        if key in self._flat:
            return self._flat[key]
        price = _price_of(prices, kind)
        if isinstance(price, TieredPrices):
            if request_input_tokens is None:
                return None
            return self._versioned(_of_tier(price, request_input_tokens), kind, owner, info, prices)
        rate = self._versioned(price, kind, owner, info, prices)
        self._flat[key] = rate
        return rate

    def is_tiered(self, provider: str, model: str, occurred_at_us: int) -> bool:
        """Do this model's prices depend on the length of the request's input?"""
        found = self._find(provider, model)
        if found is None:
            return False
        prices = _in_force(found[1], occurred_at_us)
        tiered = self._tiered.get(id(prices))
        if tiered is None:
            tiered = any(isinstance(_price_of(prices, kind), TieredPrices) for kind in _FIELDS)
            self._tiered[id(prices)] = tiered
        return tiered

    def charges_requests(self, provider: str, model: str, occurred_at_us: int) -> bool:
        """Does this model charge for each request besides its tokens?"""
        return self.prices_apart(provider, model, REQUEST, occurred_at_us)

    def prices_apart(self, provider: str, model: str, kind: str, occurred_at_us: int) -> bool:
        """Has this kind a price of its own, not that of another kind?"""
        found = self._find(provider, model)
        if found is None:
            return False
        prices = _in_force(found[1], occurred_at_us)
        key = (id(prices), kind)
        apart = self._apart.get(key)
        if apart is None:
            apart = self._apart[key] = getattr(prices, _FIELDS[kind][0]) is not None
        return apart

    def _versioned(
        self, price: Decimal | None, kind: str, owner: Provider, info: ModelInfo, prices: ModelPrice
    ) -> VersionedRate | None:
        if price is None:
            return None
        rate = rate_of(price, _REQUESTS_PER_PRICE if kind == REQUEST else _TOKENS_PER_PRICE)
        if rate is None:
            return None
        return rate, f"{self.version}/{owner.id}/{info.id}{_since(info, prices)}"[:NAME_CHARACTERS_MAX]


def _find_model(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    # Not the library's own cached look-up: that one remembers every unknown name for ever.
    # Nor its look-up of providers, which takes any name with "openai" in it for OpenAI.
    name = provider.lower().strip()
    owner = _OWNERS.get(_OTHER_NAMES.get(name, name))
    if owner is None:
        return None
    info = owner.find_model(model, all_providers=bundled_providers)
    return None if info is None else (owner, info)


def _in_force(info: ModelInfo, occurred_at_us: int) -> ModelPrice:
    prices = info.prices
    return prices if isinstance(prices, ModelPrice) else info.get_prices(from_microseconds(occurred_at_us))


def _price_of(prices: ModelPrice, kind: str) -> Decimal | TieredPrices | None:
    for field in _FIELDS[kind]:
        price: Decimal | TieredPrices | None = getattr(prices, field)
        if price is not None:
            return price
    return None


def _of_tier(price: TieredPrices, request_input_tokens: int) -> Decimal:
    """The price at this length: beyond a tier's start, all tokens pay that tier's price."""
    reached = [tier.price for tier in price.tiers if request_input_tokens > tier.start]
    return reached[-1] if reached else price.base


def _since(info: ModelInfo, prices: ModelPrice) -> str:
    """Which of a model's dated prices was used: `@2025-06-10`, `@16:30-00:30`, or nothing."""
    if isinstance(info.prices, ModelPrice):
        return ""
    for dated in info.prices:
        if dated.prices is prices:
            if isinstance(dated.constraint, StartDateConstraint):
                return f"@{dated.constraint.start_date}"
            if isinstance(dated.constraint, TimeOfDateConstraint):
                return f"@{dated.constraint.start_time:%H:%M}-{dated.constraint.end_time:%H:%M}"
    return ""
